// One position of an online convolution. The clock is read here, so that one plan serves all positions; launches that it gives nothing to
// do end at once. Lanes are channels.
//
// Words: u, taps, held before, held, y, clock, batch, slots, channels.

constexpr int BLOCK = 32, TILE = 16, WARPS = 8;

struct Clock { int now, next, low; bool inside, completes; };

__device__ __forceinline__ Clock clock_of(const Words<9>& w) {
  const int now = *pointer<const int>(w, 5), slots = integer(w, 7), next = now + 1, low = next & -next;
  const bool inside = now >= 0 && now < slots;
  return {now, next, low, inside, inside && next < slots && low >= BLOCK};
}

// Where nobody gave the buffer away, what is held is copied first.
extern "C" __global__ void __launch_bounds__(256) online_copy(const __grid_constant__ Words<9> w) {
  const float* const from = pointer<const float>(w, 2);
  float* const to = pointer<float>(w, 3);
  if (from == to) return;
  const i64 count = wide(w, 6) * wide(w, 7) * wide(w, 8);
  for (i64 i = (i64)blockIdx.x * 256 + threadIdx.x; i < count; i += (i64)gridDim.x * 256) to[i] = from[i];
}

// The output: what older blocks owe, and the inputs of this block. The input takes the slot.
extern "C" __global__ void __launch_bounds__(128) online_present(const __grid_constant__ Words<9> w) {
  const Clock k = clock_of(w);
  const int slots = integer(w, 7), channels = integer(w, 8), c = blockIdx.x * 128 + threadIdx.x;
  const i64 b = (i64)blockIdx.z * gridDim.y + blockIdx.y;
  if (c >= channels || b >= wide(w, 6)) return;
  float* const y = pointer<float>(w, 4) + b * channels + c;
  if (!k.inside) { *y = __int_as_float(0x7fc00000); return; }
  const float* const taps = pointer<const float>(w, 1) + c;
  float* const held = pointer<float>(w, 3) + b * slots * channels + c;
  const float u = pointer<const float>(w, 0)[b * channels + c];
  float total = fmaf(taps[0], u, held[(i64)k.now * channels]);
  #pragma unroll 8
  for (int s = k.now & -BLOCK; s < k.now; s++) total = fmaf(taps[(i64)(k.now - s) * channels], held[(i64)s * channels], total);
  *y = total;
  held[(i64)k.now * channels] = u;
}

// The share of a completed block in the next: a warp makes TILE outputs of 32 channels, with a window of taps that moves along the inputs.
extern "C" __global__ void __launch_bounds__(32 * WARPS) online_share(const __grid_constant__ Words<9> w) {
  const Clock k = clock_of(w);
  if (!k.completes) return;
  const int batch = integer(w, 6), slots = integer(w, 7), channels = integer(w, 8);
  const int tiles = (min_(k.low, slots - k.next) + TILE - 1) / TILE, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int across = (tiles + WARPS - 1) / WARPS, groups = (channels + 31) / 32;
  for (i64 item = blockIdx.x; item < (i64)across * groups * batch; item += gridDim.x) {
    const int tile = (int)(item % across) * WARPS + warp, c = (int)(item / across % groups) * 32 + lane, b = (int)(item / across / groups);
    if (tile >= tiles || c >= channels) continue;
    const int first = k.next + tile * TILE;
    const float* const taps = pointer<const float>(w, 1) + c;
    float* const held = pointer<float>(w, 3) + (i64)b * slots * channels + c;
    const auto tap = [&](int lag) { return lag < slots ? taps[(i64)lag * channels] : 0.f; };
    // Input i meets output j at window[TILE - 1 + j - i].
    float window[2 * TILE - 1], sum[TILE] = {};
    int lag = first - (k.next - k.low);
    #pragma unroll
    for (int i = 0; i < TILE - 1; i++) window[i + TILE] = tap(lag + 1 + i);
    #pragma unroll 1
    for (int s = k.next - k.low; s < k.next; s += TILE, lag -= TILE) {
      float input[TILE];
      #pragma unroll
      for (int i = 0; i < TILE; i++) {
        window[i] = tap(lag - (TILE - 1) + i);
        input[i] = held[(i64)(s + i) * channels];
      }
      #pragma unroll
      for (int i = 0; i < TILE; i++)
        #pragma unroll
        for (int j = 0; j < TILE; j++) sum[j] = fmaf(window[TILE - 1 + j - i], input[i], sum[j]);
      #pragma unroll
      for (int i = 0; i < TILE - 1; i++) window[i + TILE] = window[i];
    }
    #pragma unroll
    for (int j = 0; j < TILE; j++)
      if (first + j < slots) held[(i64)(first + j) * channels] += sum[j];
  }
}
