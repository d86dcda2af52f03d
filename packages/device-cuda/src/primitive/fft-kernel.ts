// The FFT kernel: a block transforms a few lines in shared memory by Stockham passes of radix 2, 3, 4, 5, 7, 11 and 13, which need no bit
// reversal. The factors are run-time words, so all lengths share one kernel.

/** Threads of a block. */
export const FFT_THREADS = 256;

/** Words: re, im, out re, out im, table, n, lines, lines a block, L0, then (in: outer, line, step), (out: the same), twist, factors. */
export const FFT_FACTORS_AT = 16;
export const MAX_FACTORS = 16;

export const fftSource = (): string => `
struct Complex { float re, im; };
__device__ __forceinline__ Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
__device__ __forceinline__ Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
__device__ __forceinline__ Complex operator*(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }

template <int R> __device__ __forceinline__ void dft(Complex (&x)[R], const Complex* table, int n) {
  Complex y[R];
  const int step = n / R;
  #pragma unroll
  for (int j = 0; j < R; j++) {
    Complex sum = x[0];
    #pragma unroll
    for (int k = 1; k < R; k++) sum = sum + x[k] * table[j * k % R * step];
    y[j] = sum;
  }
  #pragma unroll
  for (int j = 0; j < R; j++) x[j] = y[j];
}
template <> __device__ __forceinline__ void dft<2>(Complex (&x)[2], const Complex*, int) {
  const Complex a = x[0] + x[1]; x[1] = x[0] - x[1]; x[0] = a;
}
template <> __device__ __forceinline__ void dft<4>(Complex (&x)[4], const Complex*, int) {
  const Complex a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = x[1] - x[3];
  x[0] = a + c; x[2] = a - c; x[1] = {b.re + d.im, b.im - d.re}; x[3] = {b.re - d.im, b.im + d.re};
}

// y[q + s (R p + j)] = W_m^(p j) sum_k x[q + s (p + m/R k)] W_R^(j k), m = n / s the length that is left.
template <int R> __device__ __forceinline__ void pass(const Complex* from, Complex* to, const Complex* table, int n, int s, int lines) {
  const int each = n / R, m = each / s;
  for (int i = threadIdx.x; i < each * lines; i += ${FFT_THREADS}) {
    const int line = i / each, b = i - line * each, p = b / s, q = b - p * s;
    const Complex* x = from + line * n + q + s * p;
    Complex v[R];
    #pragma unroll
    for (int k = 0; k < R; k++) v[k] = x[s * m * k];
    dft<R>(v, table, n);
    Complex* y = to + line * n + q + s * R * p;
    y[0] = v[0];
    #pragma unroll
    for (int j = 1; j < R; j++) y[s * j] = v[j] * table[p * j * s];
  }
}

extern "C" __global__ void __launch_bounds__(${FFT_THREADS}) fft(const __grid_constant__ Words<${FFT_FACTORS_AT + MAX_FACTORS}> w) {
  extern __shared__ Complex cells[];
  const int n = integer(w, 5), each = integer(w, 7);
  const i64 lines = wide(w, 6), l0 = wide(w, 8), first = (i64)blockIdx.x * each;
  const int here = lines - first < each ? (int)(lines - first) : each;
  const Complex* table = pointer<const Complex>(w, 4);
  Complex *from = cells, *to = cells + n * each;
  // Neighbouring threads take what lies together: elements of a line, or lines.
  const bool by_line = wide(w, 10) == 1 && here > 1, out_by_line = wide(w, 13) == 1 && here > 1;
  for (int i = threadIdx.x; i < n * here; i += ${FFT_THREADS}) {
    const int l = by_line ? i % here : i / n, e = by_line ? i / here : i % n;
    const i64 line = first + l, at = line / l0 * wide(w, 9) + line % l0 * wide(w, 10) + e * wide(w, 11);
    from[l * n + e] = {pointer<const float>(w, 0)[at], pointer<const float>(w, 1)[at]};
  }
  __syncthreads();
  int s = 1;
  for (int f = 0; f < ${MAX_FACTORS}; f++) {
    const int r = integer(w, ${FFT_FACTORS_AT} + f);
    if (r == 0) break;
    switch (r) {
      case 2: pass<2>(from, to, table, n, s, here); break;
      case 3: pass<3>(from, to, table, n, s, here); break;
      case 4: pass<4>(from, to, table, n, s, here); break;
      case 5: pass<5>(from, to, table, n, s, here); break;
      case 7: pass<7>(from, to, table, n, s, here); break;
      case 11: pass<11>(from, to, table, n, s, here); break;
      default: pass<13>(from, to, table, n, s, here); break;
    }
    __syncthreads();
    Complex* t = from; from = to; to = t;
    s *= r;
  }
  const i64 twist = wide(w, 15);
  for (int i = threadIdx.x; i < n * here; i += ${FFT_THREADS}) {
    const int l = out_by_line ? i % here : i / n, e = out_by_line ? i / here : i % n;
    const i64 line = first + l, at = line / l0 * wide(w, 12) + line % l0 * wide(w, 13) + e * wide(w, 14);
    Complex v = from[l * n + e];
    if (twist) {
      const i64 turn = line % l0 * e % twist;
      float sine, cosine;
      sincospif(-2.f * ((float)turn / (float)twist), &sine, &cosine);
      v = v * Complex{cosine, sine};
    }
    pointer<float>(w, 2)[at] = v.re;
    pointer<float>(w, 3)[at] = v.im;
  }
}`;

/** Bluestein's multiplications. `mode` 0: y = x chirp, padded; 1: y = x spectrum; 2: y = x chirp. Words: x re, im, y re, im, table, n in, n out, total. */
export const chirpSource = (): string => `
extern "C" __global__ void __launch_bounds__(256) chirp(const __grid_constant__ Words<8> w) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x, n_in = wide(w, 5), n_out = wide(w, 6);
  if (i >= wide(w, 7)) return;
  const i64 line = i / n_out, e = i % n_out;
  float re = 0.f, im = 0.f;
  if (e < n_in) {
    const float a = pointer<const float>(w, 0)[line * n_in + e], b = pointer<const float>(w, 1)[line * n_in + e];
    const float c = pointer<const float>(w, 4)[2 * e], d = pointer<const float>(w, 4)[2 * e + 1];
    re = a * c - b * d; im = a * d + b * c;
  }
  pointer<float>(w, 2)[i] = re;
  pointer<float>(w, 3)[i] = im;
}`;
