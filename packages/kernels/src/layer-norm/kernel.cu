// Layer norm and root-mean-square norm (`RMS` 1) over rows of n, with their gradients. In front of this file: `RMS`, `WEIGHT`, `BIAS` 0|1.

// Words: x, weight, bias, y, mean, rstd, rows, n, eps.
extern "C" __global__ void __launch_bounds__(256) row_norm(const __grid_constant__ Words<9> w) {
  const i64 row = row_index(), n = wide(w, 7);
  if (row >= wide(w, 6)) return;
  const float* x = pointer<const float>(w, 0) + row * n;
  float* y = pointer<float>(w, 3) + row * n;
  float mean = 0.f;
#if !RMS
  for (i64 i = row_lane(); i < n; i += ROW) mean += x[i];
  mean = row_sum(mean) / (float)n;
#endif
  float squares = 0.f;
  for (i64 i = row_lane(); i < n; i += ROW) { const float d = x[i] - mean; squares += d * d; }
  const float r = 1.f / sqrtf(row_sum(squares) / (float)n + number(w, 8));
  if (row_lane() == 0) {
    if (!RMS) pointer<float>(w, 4)[row] = mean;
    pointer<float>(w, 5)[row] = r;
  }
  for (i64 i = row_lane(); i < n; i += ROW) {
    float v = (x[i] - mean) * r;
#if WEIGHT
    v *= pointer<const float>(w, 1)[i];
#endif
#if BIAS
    v += pointer<const float>(w, 2)[i];
#endif
    y[i] = v;
  }
}

// Words: x, weight, mean, rstd, dy, dx, rows, n.
extern "C" __global__ void __launch_bounds__(256) row_norm_grad(const __grid_constant__ Words<8> w) {
  const i64 row = row_index(), n = wide(w, 7);
  if (row >= wide(w, 6)) return;
  const float* x = pointer<const float>(w, 0) + row * n;
  const float* dy = pointer<const float>(w, 4) + row * n;
  float* dx = pointer<float>(w, 5) + row * n;
  const float mean = RMS ? 0.f : pointer<const float>(w, 2)[row], r = pointer<const float>(w, 3)[row];
  float sum = 0.f, dot = 0.f;
  for (i64 i = row_lane(); i < n; i += ROW) {
    const float g = dy[i]
#if WEIGHT
      * pointer<const float>(w, 1)[i]
#endif
      ;
    sum += g;
    dot += g * (x[i] - mean) * r;
  }
  sum = RMS ? 0.f : row_sum(sum) / (float)n;
  dot = row_sum(dot) / (float)n;
  for (i64 i = row_lane(); i < n; i += ROW) {
    const float g = dy[i]
#if WEIGHT
      * pointer<const float>(w, 1)[i]
#endif
      ;
    dx[i] = r * (g - sum - (x[i] - mean) * r * dot);
  }
}

// Sums over a segment of the rows, 32 columns a block of 32 x 8 threads. Words: x, mean, rstd, dy, dweight partials, dbias partials, rows, n,
// rows a segment.
extern "C" __global__ void __launch_bounds__(256) norm_columns(const __grid_constant__ Words<9> w) {
  __shared__ float cells[2][8][33];
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32;
  const i64 n = wide(w, 7), rows = wide(w, 6), column = (i64)blockIdx.x * 32 + tx, from = (i64)blockIdx.y * wide(w, 8);
  const i64 to = from + wide(w, 8) < rows ? from + wide(w, 8) : rows;
  float scale = 0.f, shift = 0.f;
  if (column < n)
    for (i64 row = from + ty; row < to; row += 8) {
      const float d = pointer<const float>(w, 3)[row * n + column];
      const float mean = RMS ? 0.f : pointer<const float>(w, 1)[row];
      scale += d * (pointer<const float>(w, 0)[row * n + column] - mean) * pointer<const float>(w, 2)[row];
      shift += d;
    }
  cells[0][ty][tx] = scale;
  cells[1][ty][tx] = shift;
  __syncthreads();
  if (ty || column >= n) return;
  for (int i = 1; i < 8; i++) { scale += cells[0][i][tx]; shift += cells[1][i][tx]; }
#if WEIGHT
  pointer<float>(w, 4)[blockIdx.y * n + column] = scale;
#endif
#if BIAS
  pointer<float>(w, 5)[blockIdx.y * n + column] = shift;
#endif
}

// Adds the segments up, 32 columns a block of 32 x 8 threads; a plane of blocks for dweight, one for dbias. Words: dweight partials, dbias
// partials, dweight, dbias, n, segments, the first plane's sums (0: dweight, 1: dbias).
extern "C" __global__ void __launch_bounds__(256) norm_combine(const __grid_constant__ Words<7> w) {
  __shared__ float cells[8][33];
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32, which = integer(w, 6) + blockIdx.y, segments = integer(w, 5);
  const i64 n = wide(w, 4), column = (i64)blockIdx.x * 32 + tx;
  const float* const partials = pointer<const float>(w, which);
  float sum = 0.f;
  if (column < n)
    for (int s = ty; s < segments; s += 8) sum += partials[s * n + column];
  cells[ty][tx] = sum;
  __syncthreads();
  if (ty || column >= n) return;
  for (int i = 1; i < 8; i++) sum += cells[i][tx];
  pointer<float>(w, 2 + which)[column] = sum;
}
