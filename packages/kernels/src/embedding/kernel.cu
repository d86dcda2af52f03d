// Rows of a table by number, and the gradient of the table. Defined before: Index (u32 where positions fit), E (element of rows),
// WIDTH (neighbours that a thread of the lookup moves).

struct __align__(sizeof(E) * WIDTH) Some { E at[WIDTH]; };

// Words: table, ids, y, groups of neighbours, rows, groups of a row.
extern "C" __global__ void __launch_bounds__(256) embedding(const __grid_constant__ Words<6> w) {
  const Index i = (Index)blockIdx.x * 256 + threadIdx.x, width = (Index)wide(w, 5);
  if (i >= (Index)wide(w, 3)) return;
  const Index at = i / width;
  const i64 rows = wide(w, 4);
  i64 id = pointer<const int>(w, 1)[at];
  id = id < 0 ? 0 : id >= rows ? rows - 1 : id;
  pointer<Some>(w, 2)[i] = pointer<const Some>(w, 0)[id * width + (i - at * width)];
}

// A block sums, for one row of the table and 128 columns, what a segment of the ids sends there, in order: the same bits every time.
// Words: ids, dy, sums [segments, rows, width], count, rows, width, ids a segment.
extern "C" __global__ void __launch_bounds__(128) embedding_grad(const __grid_constant__ Words<7> w) {
  __shared__ int ids[128];
  const i64 rows = wide(w, 4), width = wide(w, 5), count = wide(w, 3), row = blockIdx.x;
  const i64 from = (i64)blockIdx.y * wide(w, 6), to = from + wide(w, 6) < count ? from + wide(w, 6) : count;
  const i64 column = (i64)blockIdx.z * 128 + threadIdx.x;
  float sum = 0.f;
  for (i64 at = from; at < to; at += 128) {
    __syncthreads();
    if (at + threadIdx.x < to) {
      const int id = pointer<const int>(w, 0)[at + threadIdx.x];
      ids[threadIdx.x] = id < 0 ? 0 : id >= rows ? (int)rows - 1 : id;
    }
    __syncthreads();
    const int here = to - at < 128 ? (int)(to - at) : 128;
    if (column < width)
      for (int j = 0; j < here; j++) if (ids[j] == row) sum += get(pointer<const E>(w, 1)[(at + j) * width + column]);
  }
  if (column < width) pointer<float>(w, 2)[((i64)blockIdx.y * rows + row) * width + column] = sum;
}

// Words: partials, sums, elements, segments.
extern "C" __global__ void __launch_bounds__(256) embedding_combine(const __grid_constant__ Words<4> w) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x, n = wide(w, 2);
  if (i >= n) return;
  float sum = 0.f;
  for (i64 s = 0; s < wide(w, 3); s++) sum += pointer<const float>(w, 0)[s * n + i];
  pointer<float>(w, 1)[i] = sum;
}
