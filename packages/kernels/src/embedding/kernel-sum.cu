// Adds up, for every row of a table, the rows of dy at its places, in order. The places of a row are cut into parts of 2^SHIFT from its first
// on, so that one row may have them all: the first part makes the row, any further part k a partial sum. The sorted list is also cut into
// chunks of 2^SHIFT places: at most one further part begins in a chunk, so the chunk numbers it, and a row's partial sums are neighbours.
//
// Defined before: E (element of dy), WIDTH (neighbouring columns of a lane), SLABS (how often a lane has them).

struct __align__(sizeof(E) * WIDTH) Some { E at[WIDTH]; };
constexpr int SPAN = 32 * WIDTH, DEEP = 8 / SLABS;
// The compiler takes plain stores of four apart.
__device__ __forceinline__ void store(float* to, const float (&x)[1]) { *to = x[0]; }
__device__ __forceinline__ void store(float* to, const float (&x)[4]) { __stcg((float4*)to, make_float4(x[0], x[1], x[2], x[3])); }

// A warp has one part and SLABS SPAN columns. Words: sorted keys, sorted places, starts, dy, sums [rows, width], partials [chunks, width],
// rows, width, chunks, SHIFT, groups of columns.
extern "C" __global__ void __launch_bounds__(256, 4) embedding_sum(const __grid_constant__ Words<11> w) {
  const u32 groups = (u32)wide(w, 10), lane = threadIdx.x & 31;
  const i64 job = (i64)(blockIdx.x / groups) * 8 + (threadIdx.x >> 5), rows = wide(w, 6), width = wide(w, 7);
  const int shift = integer(w, 9);
  const i64 part = 1ll << shift;
  const i64 column = (i64)(blockIdx.x % groups) * (SLABS * SPAN) + lane * WIDTH;
  const u32* const starts = pointer<const u32>(w, 2);
  i64 from, to;
  float* out;
  if (job < rows) {
    from = starts[job];
    to = starts[job + 1];
    out = pointer<float>(w, 4) + job * width;
  } else {
    const i64 chunk = job - rows, first = chunk << shift;
    if (chunk >= wide(w, 8)) return;
    const int row = pointer<const int>(w, 0)[first];
    from = starts[row];
    to = starts[row + 1];
    // A row that begins with the chunk has its first part here.
    if (from == first) return;
    from += first - from + part - 1 >> shift << shift;
    if (from >= to) return;
    out = pointer<float>(w, 5) + chunk * width;
  }
  if (to - from > part) to = from + part;
  // Loads are never left out, so that they run beside each other: past the end they take the last place again, or the last columns.
  const E* column_at[SLABS];
  #pragma unroll
  for (int s = 0; s < SLABS; s++) column_at[s] = pointer<const E>(w, 3) + (column + s * SPAN < width ? column + s * SPAN : width - WIDTH);
  float sum[SLABS][WIDTH] = {};
  for (i64 at = from; at < to; at += 32) {
    const int here = to - at < 32 ? (int)(to - at) : 32;
    const u32 places = pointer<const u32>(w, 1)[at + (lane < here ? lane : here - 1)];
    for (int j = 0; j < here; j += DEEP) {
      Some x[DEEP][SLABS];
      #pragma unroll
      for (int k = 0; k < DEEP; k++) {
        const i64 place = __shfl_sync(~0u, places, j + k);
        #pragma unroll
        for (int s = 0; s < SLABS; s++) x[k][s] = *(const Some*)(column_at[s] + place * width);
      }
      #pragma unroll
      for (int k = 0; k < DEEP; k++)
        #pragma unroll
        for (int s = 0; s < SLABS; s++)
          #pragma unroll
          for (int v = 0; v < WIDTH; v++) sum[s][v] += j + k < here ? get(x[k][s].at[v]) : 0.f;
    }
  }
  #pragma unroll
  for (int s = 0; s < SLABS; s++)
    if (column + s * SPAN < width) store(out + column + s * SPAN, sum[s]);
}

// Adds partial sums to the row that begins in a chunk and goes on behind its end: 8 warps take turns, 128 columns a block.
// Words: sorted keys, starts, sums, partials, width, count, SHIFT, groups of columns.
extern "C" __global__ void __launch_bounds__(256) embedding_finish(const __grid_constant__ Words<8> w) {
  __shared__ float cells[8][128];
  const u32 groups = (u32)wide(w, 7), lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int shift = integer(w, 6);
  const i64 width = wide(w, 4), part = 1ll << shift, chunk = blockIdx.x / groups, from = chunk << shift;
  const i64 last = (from + part < wide(w, 5) ? from + part : wide(w, 5)) - 1;
  const int row = pointer<const int>(w, 0)[last];
  const i64 start = pointer<const u32>(w, 1)[row], places = pointer<const u32>(w, 1)[row + 1] - start;
  if (start < from || places <= part) return;
  const i64 further = places - 1 >> shift, column = (i64)(blockIdx.x % groups) * 128;
  const float* const partials = pointer<const float>(w, 3) + chunk * width;
  float sum[4] = {};
  #pragma unroll 4
  for (i64 k = 1 + warp; k <= further; k += 8)
    #pragma unroll
    for (int c = 0; c < 4; c++) {
      const i64 own = column + c * 32 + lane;
      if (own < width) sum[c] += partials[k * width + own];
    }
  #pragma unroll
  for (int c = 0; c < 4; c++) cells[warp][c * 32 + lane] = sum[c];
  __syncthreads();
  const i64 own = column + threadIdx.x;
  if (threadIdx.x >= 128 || own >= width) return;
  float* const to = pointer<float>(w, 2) + (i64)row * width + own;
  float all = *to;
  for (int v = 0; v < 8; v++) all += cells[v][threadIdx.x];
  *to = all;
}
