// Sorts numbers of rows together with their places, stable, a digit at a time from the lowest: blocks count the digits of their segment of
// the list, then move it to where it belongs. The order that comes out does not depend on how the list is cut.

constexpr int WARPS = 16, EACH = 4, TILE = WARPS * 32 * EACH;
constexpr u32 ALL = ~0u;

// Words: keys, places (0: as they stand), sorted keys, sorted places, counts [segments, digits], count, keys a segment, rows, shift, bits.
typedef Words<10> Args;

/** What a thread has of a tile: neighbouring lanes have neighbouring keys, a warp has EACH runs of 32 behind each other. */
struct Keys {
  int key[EACH], digit[EACH];
  __device__ __forceinline__ static i64 place(i64 tile, int k) { return tile + (threadIdx.x >> 5) * (32 * EACH) + k * 32 + (threadIdx.x & 31); }
  __device__ __forceinline__ Keys(const Args& w, i64 tile, i64 to) {
    const int most = integer(w, 7) - 1, shift = integer(w, 8), bits = integer(w, 9);
    #pragma unroll
    for (int k = 0; k < EACH; k++) {
      const i64 i = place(tile, k);
      const int id = i < to ? pointer<const int>(w, 0)[i] : 0;
      key[k] = id < 0 ? 0 : id > most ? most : id;
      digit[k] = i < to ? key[k] >> shift & ((1 << bits) - 1) : 1 << bits;
    }
  }
  /** Adds the warp's keys to its counts; `before` becomes how many of the same digit the warp had before each. */
  __device__ __forceinline__ void count(u32* own, int bits, u32 (&before)[EACH]) const {
    #pragma unroll
    for (int k = 0; k < EACH; k++) {
      u32 same = ALL;
      for (int b = 0; b <= bits; b++) {
        const int set = digit[k] >> b & 1;
        const u32 with = __ballot_sync(ALL, set);
        same &= set ? with : ~with;
      }
      const bool there = !(digit[k] >> bits);
      const int lower = __popc(same & ((1u << (threadIdx.x & 31)) - 1));
      before[k] = (there ? own[digit[k]] : 0) + lower;
      __syncwarp();
      if (there && lower == 0) own[digit[k]] += __popc(same);
      __syncwarp();
    }
  }
};

extern "C" __global__ void __launch_bounds__(512) embedding_count(const __grid_constant__ Args w) {
  extern __shared__ u32 cells[];
  const int bits = integer(w, 9), digits = 1 << bits;
  const i64 from = blockIdx.x * wide(w, 6), to = from + wide(w, 6) < wide(w, 5) ? from + wide(w, 6) : wide(w, 5);
  for (int i = threadIdx.x; i < WARPS * digits; i += 512) cells[i] = 0;
  __syncthreads();
  u32 before[EACH];
  for (i64 tile = from; tile < to; tile += TILE) Keys(w, tile, to).count(cells + (threadIdx.x >> 5) * digits, bits, before);
  __syncthreads();
  for (int d = threadIdx.x; d < digits; d += 512) {
    u32 sum = 0;
    for (int v = 0; v < WARPS; v++) sum += cells[v * digits + d];
    pointer<u32>(w, 4)[(i64)blockIdx.x * digits + d] = sum;
  }
}

extern "C" __global__ void __launch_bounds__(512) embedding_place(const __grid_constant__ Args w) {
  extern __shared__ u32 cells[];
  __shared__ u32 sums[WARPS];
  const int bits = integer(w, 9), digits = 1 << bits, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const i64 from = blockIdx.x * wide(w, 6), to = from + wide(w, 6) < wide(w, 5) ? from + wide(w, 6) : wide(w, 5);
  u32 *const own = cells + warp * digits, *const next = cells + WARPS * digits;
  // A digit's first key of this segment goes behind all keys of lower digits, and those of its own in the segments before.
  for (int d = threadIdx.x; d < digits; d += 512) {
    const u32* const counts = pointer<const u32>(w, 4) + d;
    u32 before = 0, all = 0;
    #pragma unroll 16
    for (u32 s = 0; s < gridDim.x; s++) {
      const u32 count = counts[(i64)s * digits];
      before += s < blockIdx.x ? count : 0;
      all += count;
    }
    next[d] = before;
    cells[d] = all;
  }
  __syncthreads();
  const int two = 2 * threadIdx.x;
  const u32 low = two < digits ? cells[two] : 0, high = two < digits ? cells[two + 1] : 0;
  u32 sum = low + high;
  #pragma unroll
  for (int by = 1; by < 32; by *= 2) {
    const u32 other = __shfl_up_sync(ALL, sum, by);
    if (lane >= by) sum += other;
  }
  if (lane == 31) sums[warp] = sum;
  __syncthreads();
  u32 start = sum - low - high;
  for (int v = 0; v < warp; v++) start += sums[v];
  if (two < digits) {
    next[two] += start;
    next[two + 1] += start + low;
  }
  for (i64 tile = from; tile < to; tile += TILE) {
    __syncthreads();
    for (int i = threadIdx.x; i < WARPS * digits; i += 512) cells[i] = 0;
    __syncthreads();
    const Keys x(w, tile, to);
    u32 before[EACH];
    x.count(own, bits, before);
    __syncthreads();
    for (int d = threadIdx.x; d < digits; d += 512) {
      u32 at = next[d];
      for (int v = 0; v < WARPS; v++) {
        const u32 count = cells[v * digits + d];
        cells[v * digits + d] = at;
        at += count;
      }
      next[d] = at;
    }
    __syncthreads();
    const u32* const places = pointer<const u32>(w, 1);
    #pragma unroll
    for (int k = 0; k < EACH; k++) {
      const i64 i = Keys::place(tile, k);
      if (i >= to) continue;
      const u32 at = own[x.digit[k]] + before[k];
      pointer<int>(w, 2)[at] = x.key[k];
      pointer<u32>(w, 3)[at] = places ? places[i] : (u32)i;
    }
  }
}

// Where each row's places begin in the sorted list; one more, the end. Words: sorted keys, starts, count, rows.
extern "C" __global__ void __launch_bounds__(256) embedding_starts(const __grid_constant__ Words<4> w) {
  const i64 row = (i64)blockIdx.x * 256 + threadIdx.x;
  if (row > wide(w, 3)) return;
  i64 from = 0, to = wide(w, 2);
  while (from < to) {
    const i64 middle = (from + to) >> 1;
    if (pointer<const int>(w, 0)[middle] < row) from = middle + 1;
    else to = middle;
  }
  pointer<u32>(w, 1)[row] = (u32)from;
}
