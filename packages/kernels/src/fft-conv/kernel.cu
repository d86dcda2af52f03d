// Long convolution in float32: one complex FFT of N points a sequence, in registers and shared memory.
//
// In front of this file: transform.cu, `#define CIRCULAR 0|1`, `#define PRE`, `POST` 0|1.
//
// Not circular: work modulo x^N - zeta^N with zeta = exp(-i pi / 2N), so that zeta^N = -i. What wraps around is imaginary, and the real
// part of the product is the linear convolution: no zero padding beyond N >= L. A tap of lag l < 0 stands at l + N with the factor i.
// Circular: two sequences are the real and the imaginary part of one transform; the filter is real, so they stay apart. Of other lengths than N
// (`#define WRAPS`): as not circular, with the tap of lag l at lag l - L too.

// zeta^(t + i T) = zeta^t exp(-i pi i / 32); `sign` -1 turns back.
__device__ __forceinline__ void twist(float (&re)[16], float (&im)[16], int t, float sign) {
  float c, s, dc, ds;
  sincospif(-sign * (float)t / (float)(2 * N), &s, &c);
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    sincospif(-sign * (float)i / 32.f, &ds, &dc);
    times(re[i], im[i], c * dc - s * ds, c * ds + s * dc);
  }
}

struct Walk { i64 batch, channel, time; };
template <int M> __device__ __forceinline__ Walk walk(const Words<M>& w, int i) { return {wide(w, i), wide(w, i + 1), wide(w, i + 2)}; }

// Spectra of the filters, divided by N; a skip is a weight at lag 0. Words: k, spectrum, channel stride, tap stride, taps, origin (WRAPS: L, the
// origin is 0), channels, skip, skip stride, whether there is a skip.
#ifdef ONLY_spectrum
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) spectrum(const __grid_constant__ Words<10> w) {
  extern __shared__ float shared[];
  const int line = threadIdx.x / T, t = threadIdx.x % T, lines = blockDim.x / T;
  const i64 d = (i64)blockIdx.x * lines + line, channels = wide(w, 6);
  const bool inside = d < channels;
  const float* k = pointer<const float>(w, 0) + (inside ? d : 0) * wide(w, 2);
  const i64 step = wide(w, 3);
  const int taps = integer(w, 4), origin = integer(w, 5);
  float re[16], im[16];
  #pragma unroll
  for (int i = 0; i < 16; i++) {
#ifdef WRAPS
    const int n = t + i * T, behind = origin + n - N;
    re[i] = inside && n < taps ? k[n * step] / (float)N : 0.f;
    im[i] = inside && behind > 0 && behind < taps ? k[behind * step] / (float)N : 0.f;
#else
    const int n = t + i * T, ahead = origin + n, behind = origin + n - N;
    re[i] = inside && ahead < taps ? k[ahead * step] / (float)N : 0.f;
    im[i] = inside && behind >= 0 && behind < origin ? k[behind * step] / (float)N : 0.f;
#endif
    if (n == 0 && inside && integer(w, 9)) re[i] += pointer<const float>(w, 7)[d * wide(w, 8)] / (float)N;
#if CIRCULAR
    re[i] += im[i]; im[i] = 0.f;
#endif
  }
#if !CIRCULAR
  twist(re, im, t, 1.f);
#endif
  transform<1>(re, im, shared + line * 2 * PITCH, t);
  if (!inside) return;
  float2* out = pointer<float2>(w, 1) + d * N;
  #pragma unroll
  for (int i = 0; i < 16; i++) out[t + i * T] = make_float2(re[i], im[i]);
}
#endif

// A row times its gate, zero beyond its length.
template <bool GATED> __device__ __forceinline__ void load(float (&x)[16], const float* u, i64 u_step, const float* gate, i64 gate_step, int t, int length, bool inside) {
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    const int n = t + i * T;
    x[i] = inside && n < length ? u[n * u_step] : 0.f;
    if constexpr (GATED) x[i] *= inside && n < length ? gate[n * gate_step] : 0.f;
  }
}

// Words: u, pre, post, spectrum, y, walks of u, pre, post, y (3 each), batch, length, items, adjoint.
#ifdef ONLY_convolve
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) convolve(const __grid_constant__ Words<21> w) {
  extern __shared__ float shared[];
  const int line = threadIdx.x / T, t = threadIdx.x % T, lines = blockDim.x / T;
  const i64 d = blockIdx.x;
  const int batch = integer(w, 17), length = integer(w, 18), items = integer(w, 19);
  const float conjugate = integer(w, 20) ? -1.f : 1.f;
  const Walk us = walk(w, 5), ps = walk(w, 8), qs = walk(w, 11), ys = walk(w, 14);
  constexpr int ROWS = CIRCULAR ? 2 : 1;
  float* cells = shared + line * 2 * PITCH;
  const float2* k = pointer<const float2>(w, 3) + d * N;
  for (int item = 0; item < items; item++) {
    const int row = (((int)blockIdx.y * items + item) * lines + line) * ROWS;
    const bool one = row < batch, two = row + 1 < batch;
    float re[16], im[16];
    load<PRE>(re, pointer<const float>(w, 0) + row * us.batch + d * us.channel, us.time, pointer<const float>(w, 1) + row * ps.batch + d * ps.channel, ps.time, t, length, one);
    if constexpr (ROWS == 2)
      load<PRE>(im, pointer<const float>(w, 0) + (row + 1) * us.batch + d * us.channel, us.time, pointer<const float>(w, 1) + (row + 1) * ps.batch + d * ps.channel, ps.time, t, length, two);
    else
      #pragma unroll
      for (int i = 0; i < 16; i++) im[i] = 0.f;
#if !CIRCULAR
    twist(re, im, t, 1.f);
#endif
    transform<1>(re, im, cells, t);
    #pragma unroll
    for (int i = 0; i < 16; i++) { const float2 f = k[t + i * T]; times(re[i], im[i], f.x, conjugate * f.y); }
    transform<1>(im, re, cells, t);
#if !CIRCULAR
    twist(re, im, t, -1.f);
#endif
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
      if (!(r ? two : one)) continue;
      float* y = pointer<float>(w, 4) + (row + r) * ys.batch + d * ys.channel;
      const float* post = pointer<const float>(w, 2) + (row + r) * qs.batch + d * qs.channel;
      #pragma unroll
      for (int i = 0; i < 16; i++) {
        const int n = t + i * T;
        if (n >= length) continue;
        float v = r ? im[i] : re[i];
#if POST
        v *= post[n * qs.time];
#endif
        y[n * ys.time] = v;
      }
    }
  }
}
#endif

// Gradient of the filters: the sum over the batch of conj(Z) D, one inverse transform a channel. Words: u, pre, dy, post, dk, walks of u, pre,
// dy, post, batch, length, taps, origin, channel stride, tap stride.
#ifdef ONLY_filter_gradient
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) filter_gradient(const __grid_constant__ Words<23> w) {
  extern __shared__ float shared[];
  const int line = threadIdx.x / T, t = threadIdx.x % T, lines = blockDim.x / T;
  const i64 d = blockIdx.x;
  const int batch = integer(w, 17), length = integer(w, 18), taps = integer(w, 19), origin = integer(w, 20);
  const Walk us = walk(w, 5), ps = walk(w, 8), ds = walk(w, 11), qs = walk(w, 14);
  float* cells = shared + line * 2 * PITCH;
  float sum_re[16] = {}, sum_im[16] = {};
  for (int first = 0; first < batch; first += lines) {
    const i64 row = first + line;
    const bool inside = row < batch;
    float zr[16], zi[16], re[16], im[16];
    load<PRE>(zr, pointer<const float>(w, 0) + row * us.batch + d * us.channel, us.time, pointer<const float>(w, 1) + row * ps.batch + d * ps.channel, ps.time, t, length, inside);
    load<POST>(re, pointer<const float>(w, 2) + row * ds.batch + d * ds.channel, ds.time, pointer<const float>(w, 3) + row * qs.batch + d * qs.channel, qs.time, t, length, inside);
    #pragma unroll
    for (int i = 0; i < 16; i++) zi[i] = im[i] = 0.f;
#if !CIRCULAR
    twist(zr, zi, t, 1.f);
    twist(re, im, t, 1.f);
#endif
    transform<1>(zr, zi, cells, t);
    transform<1>(re, im, cells, t);
    #pragma unroll
    for (int i = 0; i < 16; i++) { times(re[i], im[i], zr[i], -zi[i]); sum_re[i] += re[i]; sum_im[i] += im[i]; }
  }
  // Lines of the block add up in order.
  for (int other = 1; other < lines; other++) {
    float* place = shared + other * 2 * PITCH;
    __syncthreads();
    if (line == other)
      #pragma unroll
      for (int i = 0; i < 16; i++) { place[t + i * T] = sum_re[i]; place[PITCH + t + i * T] = sum_im[i]; }
    __syncthreads();
    if (line == 0)
      #pragma unroll
      for (int i = 0; i < 16; i++) { sum_re[i] += place[t + i * T]; sum_im[i] += place[PITCH + t + i * T]; }
  }
  transform<1>(sum_im, sum_re, cells, t);
#ifdef WRAPS
  // A tap has the sums of its lag and of that a period before, which is the imaginary part at another place.
  twist(sum_re, sum_im, t, -1.f);
  __syncthreads();
  #pragma unroll
  for (int i = 0; i < 16; i++) cells[t + i * T] = sum_im[i];
  __syncthreads();
  if (line) return;
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    const int n = t + i * T;
    if (n < taps) pointer<float>(w, 4)[d * wide(w, 21) + n * wide(w, 22)] = (sum_re[i] + (n ? cells[n + N - length] : 0.f)) / (float)N;
  }
#else
  if (line) return;
#if !CIRCULAR
  twist(sum_re, sum_im, t, -1.f);
#endif
  float* dk = pointer<float>(w, 4) + d * wide(w, 21);
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    const int n = t + i * T, ahead = origin + n, behind = origin + n - N;
    if (ahead < taps) dk[ahead * wide(w, 22)] = sum_re[i] / (float)N;
#if CIRCULAR
    if (behind >= 0 && behind < origin) dk[behind * wide(w, 22)] = sum_re[i] / (float)N;
#else
    if (behind >= 0 && behind < origin) dk[behind * wide(w, 22)] = sum_im[i] / (float)N;
#endif
  }
#endif
}
#endif
