// Convolutions through butterflies: the spectrum of a filter or of a sequence stays in shared memory beside the transform at work.
// Words behind the common nine: second sequences, their strides and length; filters, a 0, strides and length; batch, adjoint, parts,
// elements of a part.

constexpr int SECOND_AT = 9, FILTER_AT = 14, BATCH_AT = 19;

extern "C" __global__ void __launch_bounds__(THREADS) butterfly_convolve(const __grid_constant__ Arguments w) {
  Complex *const filter = planes, *const x = planes + ROWS * PITCH;
  const float sign = integer(w, BATCH_AT + 1) ? -1.f : 1.f;
  transform_up(filter, w, sequences_of(w, FILTER_AT, 0, blockIdx.x));
  for (int b = blockIdx.y; b < integer(w, BATCH_AT); b += gridDim.y) {
    const Sequences u = sequences_of(w, 0, b, blockIdx.x);
    transform_up(x, w, u);
    for (int i = threadIdx.x; i < ROWS * PITCH; i += THREADS) {
      const Complex a = x[i], f = {filter[i].re, sign * filter[i].im};
      x[i] = {a.re * f.re - a.im * f.im, a.im * f.re + a.re * f.im};
    }
    __syncthreads();
    STAGES_DOWN(x, w, rows_read(u.length))
    store_sequences(x, sequences_of(w, SECOND_AT, b, blockIdx.x), 1.f / SIZE);
  }
}

// The filters' gradient over every parts-th example: F^H of the sum of (F dy) conj(F u).
extern "C" __global__ void __launch_bounds__(THREADS) butterfly_filter_grad(const __grid_constant__ Arguments w) {
  Complex *const sum = planes, *const a = planes + ROWS * PITCH, *const g = planes + 2 * ROWS * PITCH;
  const int part = blockIdx.y;
  for (int i = threadIdx.x; i < ROWS * PITCH; i += THREADS) sum[i] = {0.f, 0.f};
  for (int b = part; b < integer(w, BATCH_AT); b += integer(w, BATCH_AT + 2)) {
    transform_up(a, w, sequences_of(w, 0, b, blockIdx.x));
    transform_up(g, w, sequences_of(w, SECOND_AT, b, blockIdx.x));
    for (int i = threadIdx.x; i < ROWS * PITCH; i += THREADS) {
      sum[i].re = fmaf(g[i].im, a[i].im, fmaf(g[i].re, a[i].re, sum[i].re));
      sum[i].im = fmaf(-g[i].re, a[i].im, fmaf(g[i].im, a[i].re, sum[i].im));
    }
    __syncthreads();
  }
  Sequences k = sequences_of(w, FILTER_AT, 0, blockIdx.x);
  k.at += part * wide(w, BATCH_AT + 3);
  __syncthreads();
  STAGES_DOWN(sum, w, rows_read(k.length))
  store_sequences(sum, k, 1.f / SIZE);
}
