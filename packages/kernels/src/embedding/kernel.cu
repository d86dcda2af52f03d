// Rows of a table by number, and the gradient of the table. Defined before: Index (u32 where positions fit), E (element of rows),
// WIDTH (neighbours that a thread of the lookup moves).

struct __align__(sizeof(E) * WIDTH) Some { E at[WIDTH]; };

// Words: table, ids, y, groups of neighbours, rows, groups of a row.
__device__ __forceinline__ void embedding_block(const Words<6>& w, u32 block) {
  const Index i = (Index)block * 256 + threadIdx.x, width = (Index)wide(w, 5);
  if (i >= (Index)wide(w, 3)) return;
  const Index at = i / width;
  const i64 rows = wide(w, 4);
  i64 id = pointer<const int>(w, 1)[at];
  id = id < 0 ? 0 : id >= rows ? rows - 1 : id;
  pointer<Some>(w, 2)[i] = pointer<const Some>(w, 0)[id * width + (i - at * width)];
}

extern "C" __global__ void __launch_bounds__(256) embedding(const __grid_constant__ Words<6> w) { embedding_block(w, blockIdx.x); }

// A block sums, for one row of the table and 128 columns, what the ids send there, in order: the same bits every time.
// Words: ids, dy, sums, count, rows, width, groups of columns.
extern "C" __global__ void __launch_bounds__(128) embedding_grad(const __grid_constant__ Words<7> w) {
  __shared__ int ids[128];
  const u32 groups = (u32)wide(w, 6);
  const i64 rows = wide(w, 4), width = wide(w, 5), count = wide(w, 3), row = blockIdx.x / groups;
  const i64 column = (i64)(blockIdx.x % groups) * 128 + threadIdx.x;
  float sum = 0.f;
  for (i64 at = 0; at < count; at += 128) {
    __syncthreads();
    if (at + threadIdx.x < count) {
      const int id = pointer<const int>(w, 0)[at + threadIdx.x];
      ids[threadIdx.x] = id < 0 ? 0 : id >= rows ? (int)rows - 1 : id;
    }
    __syncthreads();
    const int here = count - at < 128 ? (int)(count - at) : 128;
    if (column < width)
      for (int j = 0; j < here; j++) if (ids[j] == row) sum += get(pointer<const E>(w, 1)[(at + j) * width + column]);
  }
  if (column < width) pointer<float>(w, 2)[row * width + column] = sum;
}

// For tables of few rows, which a block holds whole: a thread owns a column and walks the ids of a segment.
// Words: ids, dy, sums [segments, rows, width], count, rows, width, ids a segment, segments.
__device__ __forceinline__ void embedding_grad_few_block(const Words<8>& w, u32 block) {
  extern __shared__ float table[];
  const int rows = integer(w, 4), segment = block % (u32)wide(w, 7);
  const i64 width = wide(w, 5), count = wide(w, 3), column = (i64)(block / (u32)wide(w, 7)) * 128 + threadIdx.x;
  const i64 from = (i64)segment * wide(w, 6), to = from + wide(w, 6) < count ? from + wide(w, 6) : count;
  if (column >= width) return;
  float* const own = table + threadIdx.x;
  for (int r = 0; r < rows; r++) own[r * 128] = 0.f;
  for (i64 at = from; at < to; at += 8) {
    float x[8];
    int id[8];
    #pragma unroll
    for (int j = 0; j < 8; j++) {
      const i64 p = at + j < to ? at + j : to - 1;
      x[j] = at + j < to ? get(pointer<const E>(w, 1)[p * width + column]) : 0.f;
      id[j] = pointer<const int>(w, 0)[p];
    }
    #pragma unroll
    for (int j = 0; j < 8; j++) own[(id[j] < 0 ? 0 : id[j] >= rows ? rows - 1 : id[j]) * 128] += x[j];
  }
  for (int r = 0; r < rows; r++) pointer<float>(w, 2)[((i64)segment * rows + r) * width + column] = own[r * 128];
}
extern "C" __global__ void __launch_bounds__(128) embedding_grad_few(const __grid_constant__ Words<8> w) { embedding_grad_few_block(w, blockIdx.x); }

// Adds segments up, 32 elements a block of 32 x 32 threads. Words: partials, sums, elements, segments.
__device__ __forceinline__ void embedding_combine_block(const Words<4>& w, u32 block) {
  __shared__ float cells[32][33];
  const i64 n = wide(w, 2), i = (i64)block * 32 + threadIdx.x % 32;
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32, segments = integer(w, 3);
  float sum = 0.f;
  if (i < n)
    for (int s = ty; s < segments; s += 32) sum += pointer<const float>(w, 0)[s * n + i];
  cells[ty][tx] = sum;
  __syncthreads();
  sum = warp_sum(cells[tx][ty]);
  const i64 to = (i64)block * 32 + ty;
  if (tx == 0 && to < n) pointer<float>(w, 1)[to] = sum;
}
extern "C" __global__ void __launch_bounds__(1024) embedding_combine(const __grid_constant__ Words<4> w) { embedding_combine_block(w, blockIdx.x); }
