// Cross-entropy of rows of logits with class numbers, and its gradient.

// Words: logits, targets, losses, lse, rows, n, ignored, smoothing.
extern "C" __global__ void __launch_bounds__(256) cross_entropy(const __grid_constant__ Words<8> w) {
  const i64 row = row_index(), n = wide(w, 5);
  if (row >= wide(w, 4)) return;
  const float* x = pointer<const float>(w, 0) + row * n;
  const int target = pointer<const int>(w, 1)[row];
  const float smoothing = number(w, 7);
  float top = __int_as_float(0xff800000), total = 0.f;
  for (i64 i = row_lane(); i < n; i += ROW) { top = max_(top, x[i]); total += x[i]; }
  top = row_max(top);
  float sum = 0.f;
  for (i64 i = row_lane(); i < n; i += ROW) sum += expf(x[i] - top);
  const float lse = top + logf(row_sum(sum));
  const float mean = row_sum(total) / (float)n;
  if (row_lane()) return;
  pointer<float>(w, 3)[row] = lse;
  float loss = 0.f;
  if (target != integer(w, 6)) {
    if (target < 0 || target >= n) loss = __int_as_float(0x7fffffff);
    else loss = lse - (1.f - smoothing) * x[target] - (smoothing > 0.f ? smoothing * mean : 0.f);
  }
  pointer<float>(w, 2)[row] = loss;
}

// Words: logits, targets, lse, dloss, dx, rows, n, ignored, smoothing.
extern "C" __global__ void __launch_bounds__(256) cross_entropy_grad(const __grid_constant__ Words<9> w) {
  const i64 row = row_index(), n = wide(w, 6);
  if (row >= wide(w, 5)) return;
  const float* x = pointer<const float>(w, 0) + row * n;
  float* dx = pointer<float>(w, 4) + row * n;
  const int target = pointer<const int>(w, 1)[row];
  const float smoothing = number(w, 8), lse = pointer<const float>(w, 2)[row], slope = pointer<const float>(w, 3)[row];
  const bool ignored = target == integer(w, 7), outside = !ignored && (target < 0 || target >= n);
  for (i64 i = row_lane(); i < n; i += ROW) {
    const float p = expf(x[i] - lse) - (i == target ? 1.f - smoothing : 0.f) - smoothing / (float)n;
    dx[i] = outside ? __int_as_float(0x7fffffff) : ignored ? 0.f : slope * p;
  }
}
