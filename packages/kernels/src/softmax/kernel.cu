// Softmax over rows of n and its gradient. Words: input(s), output, rows, n.

extern "C" __global__ void __launch_bounds__(256) softmax(const __grid_constant__ Words<4> w) {
  const i64 row = row_index(), n = wide(w, 3);
  if (row >= wide(w, 2)) return;
  const float* x = pointer<const float>(w, 0) + row * n;
  float* y = pointer<float>(w, 1) + row * n;
  float top = __int_as_float(0xff800000);
  for (i64 i = row_lane(); i < n; i += ROW) top = max_(top, x[i]);
  top = row_max(top);
  float sum = 0.f;
  for (i64 i = row_lane(); i < n; i += ROW) sum += expf(x[i] - top);
  const float scale = 1.f / row_sum(sum);
  for (i64 i = row_lane(); i < n; i += ROW) y[i] = expf(x[i] - top) * scale;
}

extern "C" __global__ void __launch_bounds__(256) softmax_grad(const __grid_constant__ Words<5> w) {
  const i64 row = row_index(), n = wide(w, 4);
  if (row >= wide(w, 3)) return;
  const float* y = pointer<const float>(w, 0) + row * n;
  const float* dy = pointer<const float>(w, 1) + row * n;
  float* dx = pointer<float>(w, 2) + row * n;
  float dot = 0.f;
  for (i64 i = row_lane(); i < n; i += ROW) dot += y[i] * dy[i];
  dot = row_sum(dot);
  for (i64 i = row_lane(); i < n; i += ROW) dx[i] = y[i] * (dy[i] - dot);
}
