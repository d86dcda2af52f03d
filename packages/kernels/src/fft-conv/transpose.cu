// Sequences of two-byte elements between [B, L, D] and [B, D, L]: tiles of 64 x 64.
//
// Words: from, to; strides of `from` (batch, row, column); of `to` (batch, column; rows are neighbours there); rows, columns.
extern "C" __global__ void __launch_bounds__(256) transpose(const __grid_constant__ Words<9> w) {
  __shared__ u16 tile[64][66];
  const int rows = integer(w, 7), columns = integer(w, 8), row = blockIdx.y * 64, column = blockIdx.x * 64;
  const i64 down = wide(w, 3), across = wide(w, 4), to_column = wide(w, 6);
  const u16* from = pointer<const u16>(w, 0) + blockIdx.z * wide(w, 2) + row * down + column * across;
  u16* to = pointer<u16>(w, 1) + blockIdx.z * wide(w, 5) + column * to_column + row;
  const int x = threadIdx.x & 31, y = threadIdx.x >> 5;
  const bool full = row + 64 <= rows && column + 64 <= columns;
  // Two neighbours at a time where they share an aligned word.
  if (full && across == 1 && (((u64)from >> 1 | down) & 1) == 0) {
    #pragma unroll
    for (int i = 0; i < 8; i++) {
      const u32 v = *(const u32*)(from + (y + 8 * i) * down + 2 * x);
      tile[y + 8 * i][2 * x] = (u16)v; tile[y + 8 * i][2 * x + 1] = (u16)(v >> 16);
    }
  } else {
    for (int i = 0; i < 8; i++)
      for (int j = 0; j < 64; j += 32)
        if (row + y + 8 * i < rows && column + x + j < columns) tile[y + 8 * i][x + j] = from[(y + 8 * i) * down + (x + j) * across];
  }
  __syncthreads();
  if (full && (((u64)to >> 1 | to_column) & 1) == 0) {
    #pragma unroll
    for (int i = 0; i < 8; i++) {
      const int c = y + 8 * i;
      *(u32*)(to + c * to_column + 2 * x) = tile[2 * x][c] | (u32)tile[2 * x + 1][c] << 16;
    }
  } else {
    for (int i = 0; i < 8; i++)
      for (int j = 0; j < 64; j += 32)
        if (row + x + j < rows && column + y + 8 * i < columns) to[(y + 8 * i) * to_column + x + j] = tile[x + j][y + 8 * i];
  }
}
