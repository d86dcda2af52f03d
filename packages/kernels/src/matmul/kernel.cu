// c = a b for matrices with any strides. A block of 256 threads makes tiles of 64 x 64, 4 x 4 results a thread; the sum over k runs in order.
// Blocks along the rows and over the batch are a grid's at most, and walk what is left. In front of this file: `typedef ... T` (storage) and
// `typedef ... V` (arithmetic).
// Words: a, b, c, m, n, k, strides of a, b and c (batch, row, column), batch.

constexpr int TILE = 64, DEPTH = 16;

extern "C" __global__ void __launch_bounds__(256) matmul(const __grid_constant__ Words<16> w) {
  __shared__ V left[DEPTH][TILE + 4], right[DEPTH][TILE + 4];
  const i64 m = wide(w, 3), n = wide(w, 4), k = wide(w, 5);
  const i64 a_row = wide(w, 7), a_col = wide(w, 8), b_row = wide(w, 10), b_col = wide(w, 11), col0 = (i64)blockIdx.x * TILE;
  const int tid = threadIdx.x, ty = tid / 16, tx = tid % 16;
  // Neighbouring threads load neighbouring elements, whichever way the operand lies.
  const bool a_rows = a_col != 1, b_rows = b_col != 1;
  for (i64 entry = blockIdx.z; entry < wide(w, 15); entry += gridDim.z)
    for (i64 row0 = (i64)blockIdx.y * TILE; row0 < m; row0 += (i64)gridDim.y * TILE) {
      const T* a = pointer<const T>(w, 0) + entry * wide(w, 6);
      const T* b = pointer<const T>(w, 1) + entry * wide(w, 9);
      T* c = pointer<T>(w, 2) + entry * wide(w, 12);
      V sum[4][4] = {};
      for (i64 k0 = 0; k0 < k; k0 += DEPTH) {
        #pragma unroll
        for (int e = 0; e < TILE * DEPTH / 256; e++) {
          const int i = tid + e * 256;
          const int ar = a_rows ? i % TILE : i / DEPTH, ak = a_rows ? i / TILE : i % DEPTH;
          left[ak][ar] = row0 + ar < m && k0 + ak < k ? get(a[(row0 + ar) * a_row + (k0 + ak) * a_col]) : (V)0;
          const int bc = b_rows ? i / DEPTH : i % TILE, bk = b_rows ? i % DEPTH : i / TILE;
          right[bk][bc] = col0 + bc < n && k0 + bk < k ? get(b[(k0 + bk) * b_row + (col0 + bc) * b_col]) : (V)0;
        }
        __syncthreads();
        #pragma unroll
        for (int d = 0; d < DEPTH; d++) {
          V x[4], y[4];
          #pragma unroll
          for (int i = 0; i < 4; i++) { x[i] = left[d][ty * 4 + i]; y[i] = right[d][tx * 4 + i]; }
          #pragma unroll
          for (int i = 0; i < 4; i++)
            #pragma unroll
            for (int j = 0; j < 4; j++) sum[i][j] += x[i] * y[j];
        }
        __syncthreads();
      }
      #pragma unroll
      for (int i = 0; i < 4; i++)
        #pragma unroll
        for (int j = 0; j < 4; j++) {
          const i64 r = row0 + ty * 4 + i, q = col0 + tx * 4 + j;
          if (r < m && q < n) put(c[r * wide(w, 13) + q * wide(w, 14)], sum[i][j]);
        }
    }
}
