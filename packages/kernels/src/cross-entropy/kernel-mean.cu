// The mean cross-entropy of rows of logits, and its gradient. Defined before: E (element of the logits), LANES (of a row, a power of two).

__device__ __forceinline__ float lanes_sum(float x) {
  #pragma unroll
  for (int d = LANES / 2; d; d >>= 1) x += __shfl_xor_sync(~0u, x, d);
  return x;
}
__device__ __forceinline__ float lanes_max(float x) {
  #pragma unroll
  for (int d = LANES / 2; d; d >>= 1) x = max_(x, __shfl_xor_sync(~0u, x, d));
  return x;
}

// Words: logits, targets, lse, sums [blocks] of losses and of rows that count, rows, n, ignored, smoothing.
extern "C" __global__ void __launch_bounds__(256) mean_cross_entropy(const __grid_constant__ Words<8> w) {
  __shared__ float cells[32];
  const i64 row = (i64)blockIdx.x * (256 / LANES) + threadIdx.x / LANES;
  const int n = integer(w, 5), lane = threadIdx.x % LANES;
  const bool inside = row < wide(w, 4);
  const E* const x = pointer<const E>(w, 0) + (inside ? row : 0) * n;
  const int target = inside ? pointer<const int>(w, 1)[row] : 0;
  const float smoothing = number(w, 7);
  float top = __int_as_float(0xff800000), all = 0.f, sum = 0.f, loss = 0.f, counts = 0.f;
  if (inside) for (int i = lane; i < n; i += LANES) { top = max_(top, get(x[i])); all += get(x[i]); }
  top = lanes_max(top);
  if (inside) for (int i = lane; i < n; i += LANES) sum += expf(get(x[i]) - top);
  const float lse = top + logf(lanes_sum(sum)), mean = lanes_sum(all) / (float)n;
  if (inside && lane == 0) {
    pointer<float>(w, 2)[row] = lse;
    if (target != integer(w, 6)) {
      counts = 1.f;
      if (target < 0 || target >= n) loss = __int_as_float(0x7fffffff);
      else loss = lse - (1.f - smoothing) * get(x[target]) - (smoothing > 0.f ? smoothing * mean : 0.f);
    }
  }
  loss = block_sum(loss, cells);
  counts = block_sum(counts, cells);
  if (threadIdx.x == 0) { pointer<float>(w, 3)[2 * blockIdx.x] = loss; pointer<float>(w, 3)[2 * blockIdx.x + 1] = counts; }
}

// Words: sums, mean, rows that count, blocks.
extern "C" __global__ void __launch_bounds__(256) mean_of_rows(const __grid_constant__ Words<4> w) {
  __shared__ float cells[32];
  float loss = 0.f, counts = 0.f;
  for (int i = threadIdx.x; i < integer(w, 3); i += 256) { loss += pointer<const float>(w, 0)[2 * i]; counts += pointer<const float>(w, 0)[2 * i + 1]; }
  loss = block_sum(loss, cells);
  counts = block_sum(counts, cells);
  if (threadIdx.x == 0) { *pointer<float>(w, 1) = loss / counts; *pointer<float>(w, 2) = counts; }
}

// Words: logits, targets, lse, rows that count, dloss, dx, rows, n, ignored, smoothing.
extern "C" __global__ void __launch_bounds__(256) mean_cross_entropy_grad(const __grid_constant__ Words<10> w) {
  const i64 row = (i64)blockIdx.x * (256 / LANES) + threadIdx.x / LANES;
  if (row >= wide(w, 6)) return;
  const int n = integer(w, 7), target = pointer<const int>(w, 1)[row];
  const E* const x = pointer<const E>(w, 0) + row * n;
  E* const dx = pointer<E>(w, 5) + row * n;
  const float smoothing = number(w, 9), lse = pointer<const float>(w, 2)[row];
  const bool ignored = target == integer(w, 8), outside = !ignored && (target < 0 || target >= n);
  const float share = ignored ? 0.f : *pointer<const float>(w, 4) / *pointer<const float>(w, 3);
  for (int i = threadIdx.x % LANES; i < n; i += LANES) {
    const float p = expf(get(x[i]) - lse) - (i == target ? 1.f - smoothing : 0.f) - smoothing / (float)n;
    put(dx[i], outside ? __int_as_float(0x7fffffff) : ignored ? 0.f : share * p);
  }
}
