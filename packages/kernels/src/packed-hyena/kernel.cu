// Hyena's gates and convolution for sequences of up to 128 positions, as products with Toeplitz matrices on tensor cores: the signals of 16
// rows of the batch, per channel, times the matrix of the filter, whose blocks along a diagonal are the same. A block of 8 warps does 16 rows and 8 channels,
// a channel a warp. Defined before: E (half).
//
// Signals lie in shared memory as [channel][row of the batch][time], two positions a word, rows padded so that accesses below touch all banks.

constexpr int CHANNELS = 8, ROWS = 16, TIME = 128, WORDS = TIME / 2 + 4, SIGNAL = ROWS * WORDS, TABLE = TIME + 16, THREADS = 256;

struct __align__(16) Eight { E at[8]; };

/** Where part `which` of a position lies. */
struct Place { const E* u; i64 batch; int time, channels, batches, channel0, row0; };
__device__ __forceinline__ const E* part_of(const Place& p, int b, int t, int which) {
  return p.u + ((i64)(p.row0 + b) * p.time + t) * 3 * p.channels + which * p.channels + p.channel0;
}
__device__ __forceinline__ bool is_there(const Place& p, int b, int t) { return p.row0 + b < p.batches && t < p.time; }

/** Pairs of filter taps (k[x], k[x - 1]) for x = -16 .. 127 of a warp's channel, the skip on tap 0; zeros outside. */
__device__ __forceinline__ void make_table(u32* table, const float* k, const float* skip, int taps, int channels, int channel) {
  for (int i = threadIdx.x & 31; i < TABLE; i += 32) {
    const int x = i - 16;
    float high = x >= 0 && x < taps ? k[(i64)x * channels + channel] : 0.f, low = x >= 1 && x - 1 < taps ? k[(i64)(x - 1) * channels + channel] : 0.f;
    if (skip && x == 0) high += skip[channel];
    if (skip && x == 1) low += skip[channel];
    table[i] = pair(high, low);
  }
}

/** Rows g, g + 8 and positions of block n of a signal, as the left operand of a product. */
__device__ __forceinline__ void left_of(u32 (&a)[4], const u32* signal, int n) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const u32* const p = signal + g * WORDS + n * 8 + t;
  a[0] = p[0]; a[1] = p[8 * WORDS]; a[2] = p[4]; a[3] = p[8 * WORDS + 4];
}

/** out[b][t] = sum over s <= t of k[t - s] signal[b][s]. */
__device__ __forceinline__ void convolve(float (&out)[16][4], const u32* signal, const u32* table) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  u32 a[8][4];
  #pragma unroll
  for (int n = 0; n < 8; n++) left_of(a[n], signal, n);
  #pragma unroll
  for (int d = 0; d < 16; d++) {
    const u32 b0 = table[16 + 8 * d + g - 2 * t], b1 = table[8 + 8 * d + g - 2 * t];
    #pragma unroll
    for (int n = 0; n < 8; n++)
      if (2 * n + d < 16) multiply16(out[2 * n + d], a[n], b0, b1);
  }
}

/** out[b][t] = sum over s >= t of k[s - t] signal[b][s]. */
__device__ __forceinline__ void convolve_back(float (&out)[16][4], const u32* signal, const u32* table) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  u32 a[8][4];
  #pragma unroll
  for (int n = 0; n < 8; n++) left_of(a[n], signal, n);
  #pragma unroll
  for (int d = -1; d < 15; d++) {
    // (k[x], k[x + 1]) is the pair of x + 1 the other way round.
    const u32 p0 = table[17 + 8 * d + 2 * t - g], p1 = table[25 + 8 * d + 2 * t - g];
    const u32 b0 = p0 << 16 | p0 >> 16, b1 = p1 << 16 | p1 >> 16;
    #pragma unroll
    for (int n = 0; n < 8; n++)
      if (2 * n - d >= 0 && 2 * n - d < 16) multiply16(out[2 * n - d], a[n], b0, b1);
  }
}

/** Sums to a signal's place in shared memory. */
__device__ __forceinline__ void keep(u32* signal, const float (&out)[16][4]) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  #pragma unroll
  for (int j = 0; j < 16; j++) {
    signal[g * WORDS + j * 4 + t] = pair(out[j][0], out[j][1]);
    signal[(g + 8) * WORDS + j * 4 + t] = pair(out[j][2], out[j][3]);
  }
}

__device__ __forceinline__ float half_of(u32 word, int which) { E e; e.bits = (u16)(which ? word >> 16 : word); return get(e); }

/** Two positions of eight channels: the product of two rows of values, as words by channel. */
__device__ __forceinline__ void multiply_rows(u32* signals, int at, const Eight& a0, const Eight& b0, const Eight& a1, const Eight& b1) {
  #pragma unroll
  for (int c = 0; c < CHANNELS; c++)
    signals[c * SIGNAL + at] = pair(get(a0.at[c]) * get(b0.at[c]), get(a1.at[c]) * get(b1.at[c]));
}

// Words: u, k, skip (0: none), y, batch, time, channels, taps.
__device__ __forceinline__ void packed_hyena_block(const Words<8>& w, u32 block) {
  const u32 groups = integer(w, 6) / CHANNELS;
  extern __shared__ __align__(16) unsigned char memory[];
  u32* const z = (u32*)memory;
  u32* const tables = z + CHANNELS * SIGNAL;
  const Place p = {pointer<const E>(w, 0), 0, integer(w, 5), integer(w, 6), integer(w, 4), (int)(block % groups) * CHANNELS, (int)(block / groups) * ROWS};
  const int warp = threadIdx.x >> 5;
  make_table(tables + warp * TABLE, pointer<const float>(w, 1), pointer<const float>(w, 2), integer(w, 7), p.channels, p.channel0 + warp);
  #pragma unroll 2
  for (int i = threadIdx.x; i < ROWS * TIME / 2; i += THREADS) {
    const int b = i / (TIME / 2), t = i % (TIME / 2) * 2;
    Eight gates[2] = {}, values[2] = {};
    #pragma unroll
    for (int e = 0; e < 2; e++)
      if (is_there(p, b, t + e)) { gates[e] = read_once((const Eight*)part_of(p, b, t + e, 1)); values[e] = read_once((const Eight*)part_of(p, b, t + e, 2)); }
    multiply_rows(z, b * WORDS + t / 2, gates[0], values[0], gates[1], values[1]);
  }
  __syncthreads();
  {
    float out[16][4] = {};
    convolve(out, z + warp * SIGNAL, tables + warp * TABLE);
    __syncwarp();
    keep(z + warp * SIGNAL, out);
  }
  __syncthreads();
  #pragma unroll 2
  for (int i = threadIdx.x; i < ROWS * TIME / 2; i += THREADS) {
    const int b = i / (TIME / 2), t = i % (TIME / 2) * 2;
    u32 words[CHANNELS];
    #pragma unroll
    for (int c = 0; c < CHANNELS; c++) words[c] = z[c * SIGNAL + b * WORDS + t / 2];
    #pragma unroll
    for (int e = 0; e < 2; e++) {
      if (!is_there(p, b, t + e)) continue;
      const Eight gate = read_once((const Eight*)part_of(p, b, t + e, 0));
      Eight y;
      #pragma unroll
      for (int c = 0; c < CHANNELS; c++) put(y.at[c], get(gate.at[c]) * half_of(words[c], e));
      *(Eight*)(pointer<E>(w, 3) + ((i64)(p.row0 + b) * p.time + t + e) * p.channels + p.channel0) = y;
    }
  }
}
extern "C" __global__ void __launch_bounds__(THREADS, 2) packed_hyena(const __grid_constant__ Words<8> w) { packed_hyena_block(w, blockIdx.x); }

// Words: u, k, skip (0: none), dy, du, sums [blocks along the batch, 128, C] of the taps' gradients, batch, time, channels, taps.
__device__ __forceinline__ void packed_hyena_grad_block(const Words<10>& w, u32 block) {
  const u32 groups = integer(w, 8) / CHANNELS;
  extern __shared__ __align__(16) unsigned char memory[];
  // The gated input, and the gradient behind the output gate.
  u32* const z = (u32*)memory;
  u32* const g = z + CHANNELS * SIGNAL;
  u32* const tables = g + CHANNELS * SIGNAL;
  float* const scratch = (float*)(tables + CHANNELS * TABLE);
  const Place p = {pointer<const E>(w, 0), 0, integer(w, 7), integer(w, 8), integer(w, 6), (int)(block % groups) * CHANNELS, (int)(block / groups) * ROWS};
  const E* const dy = pointer<const E>(w, 3);
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  make_table(tables + warp * TABLE, pointer<const float>(w, 1), pointer<const float>(w, 2), integer(w, 9), p.channels, p.channel0 + warp);
  #pragma unroll 2
  for (int i = threadIdx.x; i < ROWS * TIME / 2; i += THREADS) {
    const int b = i / (TIME / 2), t = i % (TIME / 2) * 2;
    Eight parts[2][3] = {}, back[2] = {};
    #pragma unroll
    for (int e = 0; e < 2; e++)
      if (is_there(p, b, t + e)) {
        #pragma unroll
        for (int which = 0; which < 3; which++) parts[e][which] = read_once((const Eight*)part_of(p, b, t + e, which));
        back[e] = read_once((const Eight*)(dy + ((i64)(p.row0 + b) * p.time + t + e) * p.channels + p.channel0));
      }
    multiply_rows(z, b * WORDS + t / 2, parts[0][1], parts[0][2], parts[1][1], parts[1][2]);
    multiply_rows(g, b * WORDS + t / 2, parts[0][0], back[0], parts[1][0], back[1]);
  }
  __syncthreads();
  u32* const own_z = z + warp * SIGNAL;
  u32* const own_g = g + warp * SIGNAL;
  {
    // Sums over the batch of g[t] z[s]; blocks along a diagonal add up, then the places of one lag in them.
    float sums[16][4] = {};
    u32 right[16][2];
    #pragma unroll
    for (int j = 0; j < 16; j++) load_turned2(right[j][0], right[j][1], own_z + (lane & 15) * WORDS + j * 4);
    #pragma unroll
    for (int n = 0; n < 8; n++) {
      u32 left[4];
      load_turned4(left, own_g + ((lane & 7) + (lane >> 4) * 8) * WORDS + n * 8 + (lane >> 3 & 1) * 4);
      #pragma unroll
      for (int j = 0; j < 16; j++)
        if (2 * n - j >= -1) multiply16(sums[2 * n - j + 1], left, right[j][0], right[j][1]);
    }
    float* const own = scratch + warp * 16 * 128;
    #pragma unroll
    for (int d = 0; d < 16; d++) {
      *(float2*)(own + d * 128 + (lane >> 2) * 8 + 2 * (lane & 3)) = make_float2(sums[d][0], sums[d][1]);
      *(float2*)(own + d * 128 + ((lane >> 2) + 8) * 8 + 2 * (lane & 3)) = make_float2(sums[d][2], sums[d][3]);
    }
    __syncwarp();
    for (int lag = lane; lag < TIME; lag += 32) {
      float sum = 0.f;
      #pragma unroll
      for (int c = 0; c < 8; c++) {
        const int r = (lag + c) & 7, d = (lag + c - r) / 8;
        if (d <= 14) sum += own[(d + 1) * 128 + r * 8 + c];
        if (d <= 15) sum += own[d * 128 + (r + 8) * 8 + c];
      }
      pointer<float>(w, 5)[((i64)(block / groups) * TIME + lag) * p.channels + p.channel0 + warp] = sum;
    }
  }
  {
    float out[16][4] = {};
    convolve(out, own_z, tables + warp * TABLE);
    __syncwarp();
    keep(own_z, out);
  }
  {
    float out[16][4] = {};
    convolve_back(out, own_g, tables + warp * TABLE);
    __syncwarp();
    keep(own_g, out);
  }
  __syncthreads();
  #pragma unroll 2
  for (int i = threadIdx.x; i < ROWS * TIME / 2; i += THREADS) {
    const int b = i / (TIME / 2), t = i % (TIME / 2) * 2;
    u32 ahead[CHANNELS], behind[CHANNELS];
    #pragma unroll
    for (int c = 0; c < CHANNELS; c++) { ahead[c] = z[c * SIGNAL + b * WORDS + t / 2]; behind[c] = g[c * SIGNAL + b * WORDS + t / 2]; }
    #pragma unroll
    for (int e = 0; e < 2; e++) {
      if (!is_there(p, b, t + e)) continue;
      const Eight gate = read_once((const Eight*)part_of(p, b, t + e, 1)), value = read_once((const Eight*)part_of(p, b, t + e, 2));
      const Eight back = read_once((const Eight*)(dy + ((i64)(p.row0 + b) * p.time + t + e) * p.channels + p.channel0));
      Eight out[3];
      #pragma unroll
      for (int c = 0; c < CHANNELS; c++) {
        put(out[0].at[c], get(back.at[c]) * half_of(ahead[c], e));
        put(out[1].at[c], get(value.at[c]) * half_of(behind[c], e));
        put(out[2].at[c], get(gate.at[c]) * half_of(behind[c], e));
      }
      E* const du = pointer<E>(w, 4) + ((i64)(p.row0 + b) * p.time + t + e) * 3 * p.channels + p.channel0;
      #pragma unroll
      for (int which = 0; which < 3; which++) *(Eight*)(du + which * p.channels) = out[which];
    }
  }
}
extern "C" __global__ void __launch_bounds__(THREADS, 1) packed_hyena_grad(const __grid_constant__ Words<10> w) { packed_hyena_grad_block(w, blockIdx.x); }

// Adds the blocks' sums up. Words: sums, dk, dskip (0: none), blocks, taps, channels.
__device__ __forceinline__ void packed_hyena_sums_block(const Words<6>& w, u32 block) {
  const i64 i = (i64)block * THREADS + threadIdx.x, channels = wide(w, 5);
  if (i >= wide(w, 4) * channels) return;
  float sum = 0.f;
  #pragma unroll 4
  for (int b = 0; b < integer(w, 3); b++) sum += pointer<const float>(w, 0)[b * TIME * channels + i];
  pointer<float>(w, 1)[i] = sum;
  // The skip acts on lag 0.
  if (w.word[2] && i < channels) pointer<float>(w, 2)[i] = sum;
}
extern "C" __global__ void __launch_bounds__(THREADS) packed_hyena_sums(const __grid_constant__ Words<6> w) { packed_hyena_sums_block(w, blockIdx.x); }
