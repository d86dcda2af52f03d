// Long convolution of sequences that one block cannot hold, after kernel.cu: M = COLUMNS N points as COLUMNS rows of N (`#define COLUMNS 2 | 4 |
// 8 | 16`). Three passes over memory: transforms along columns with the twist and the twiddles, in registers; row by row forward, times the
// filter, back; and the columns back. Element n = n1 N + n2; a thread of the column passes holds the 16 elements t + i M/16, whose butterflies
// of radix COLUMNS are over n1.

constexpr int M = COLUMNS * N, TT = M / 16;

// exp(-i pi n / 2M), n = t + i TT; `sign` -1 turns back.
__device__ __forceinline__ void twist_long(float (&re)[16], float (&im)[16], int t, float sign) {
  float c, s, dc, ds;
  sincospif(-sign * (float)t / (float)(2 * M), &s, &c);
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    sincospif(-sign * (float)i / 32.f, &ds, &dc);
    times(re[i], im[i], c * dc - s * ds, c * ds + s * dc);
  }
}

// W_M^(n2 k1) at element i = g + k1 16/COLUMNS, n2 = t + g TT.
__device__ __forceinline__ void twiddle_long(float (&re)[16], float (&im)[16], int t, float sign) {
  #pragma unroll
  for (int i = 16 / COLUMNS; i < 16; i++) {
    const int g = i % (16 / COLUMNS), k1 = i / (16 / COLUMNS);
    float c, s;
    sincospif(-2.f * sign * (float)((t + g * TT) * k1 % M) / (float)M, &s, &c);
    times(re[i], im[i], c, s);
  }
}

__device__ __forceinline__ void columns_forward(float (&re)[16], float (&im)[16], int t, float2* out) {
#if !CIRCULAR
  twist_long(re, im, t, 1.f);
#endif
  butterflies<COLUMNS>(re, im);
  twiddle_long(re, im, t, 1.f);
  #pragma unroll
  for (int i = 0; i < 16; i++) out[t + i * TT] = make_float2(re[i], im[i]);
}

// Words: k, spectrum, channel stride, tap stride, taps, origin (WRAPS: L, the origin is 0), skip, skip stride,
// whether there is a skip.
#ifdef ONLY_filter_columns
extern "C" __global__ void __launch_bounds__(256) filter_columns(const __grid_constant__ Words<9> w) {
  const int t = blockIdx.x * 256 + threadIdx.x, taps = integer(w, 4), origin = integer(w, 5);
  const float* k = pointer<const float>(w, 0) + (i64)blockIdx.y * wide(w, 2);
  const i64 step = wide(w, 3);
  float re[16], im[16];
  #pragma unroll
  for (int i = 0; i < 16; i++) {
#ifdef WRAPS
    const int n = t + i * TT, behind = origin + n - M;
    re[i] = n < taps ? k[n * step] / (float)M : 0.f;
    im[i] = behind > 0 && behind < taps ? k[behind * step] / (float)M : 0.f;
#else
    const int n = t + i * TT, ahead = origin + n, behind = origin + n - M;
    re[i] = ahead < taps ? k[ahead * step] / (float)M : 0.f;
    im[i] = behind >= 0 && behind < origin ? k[behind * step] / (float)M : 0.f;
#endif
    if (n == 0 && integer(w, 8)) re[i] += pointer<const float>(w, 6)[blockIdx.y * wide(w, 7)] / (float)M;
#if CIRCULAR
    re[i] += im[i]; im[i] = 0.f;
#endif
  }
  columns_forward(re, im, t, pointer<float2>(w, 1) + (i64)blockIdx.y * M);
}
#endif

// Words: spectrum.
#ifdef ONLY_filter_rows
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) filter_rows(const __grid_constant__ Words<1> w) {
  extern __shared__ float shared[];
  const int t = threadIdx.x;
  float2* x = pointer<float2>(w, 0) + ((i64)blockIdx.y * COLUMNS + blockIdx.x) * N;
  float re[16], im[16];
  #pragma unroll
  for (int i = 0; i < 16; i++) { const float2 v = x[t + i * T]; re[i] = v.x; im[i] = v.y; }
  transform<1>(re, im, shared, t);
  #pragma unroll
  for (int i = 0; i < 16; i++) x[t + i * T] = make_float2(re[i], im[i]);
}
#endif

template <bool GATED> __device__ __forceinline__ void load_long(float (&x)[16], const float* u, i64 u_step, const float* gate, i64 gate_step, int t, int length, bool inside) {
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    const int n = t + i * TT;
    x[i] = inside && n < length ? u[n * u_step] : 0.f;
    if constexpr (GATED) x[i] *= inside && n < length ? gate[n * gate_step] : 0.f;
  }
}

// Words: u, pre, scratch, walks of u and pre (3 each), batch, length, first row.
#ifdef ONLY_columns
extern "C" __global__ void __launch_bounds__(256) columns(const __grid_constant__ Words<12> w) {
  constexpr int ROWS = CIRCULAR ? 2 : 1;
  const int t = blockIdx.x * 256 + threadIdx.x, batch = integer(w, 9), length = integer(w, 10);
  const i64 d = blockIdx.y, row = wide(w, 11) + (i64)blockIdx.z * ROWS;
  const Walk us = walk(w, 3), ps = walk(w, 6);
  float re[16], im[16];
  load_long<PRE>(re, pointer<const float>(w, 0) + row * us.batch + d * us.channel, us.time, pointer<const float>(w, 1) + row * ps.batch + d * ps.channel, ps.time, t, length, row < batch);
  if constexpr (ROWS == 2)
    load_long<PRE>(im, pointer<const float>(w, 0) + (row + 1) * us.batch + d * us.channel, us.time, pointer<const float>(w, 1) + (row + 1) * ps.batch + d * ps.channel, ps.time, t, length, row + 1 < batch);
  else
    #pragma unroll
    for (int i = 0; i < 16; i++) im[i] = 0.f;
  columns_forward(re, im, t, pointer<float2>(w, 2) + ((i64)blockIdx.z * gridDim.y + d) * M);
}
#endif

// Words: scratch, spectrum, adjoint.
#ifdef ONLY_rows
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) rows(const __grid_constant__ Words<3> w) {
  extern __shared__ float shared[];
  const int t = threadIdx.x;
  const float conjugate = integer(w, 2) ? -1.f : 1.f;
  float2* x = pointer<float2>(w, 0) + (((i64)blockIdx.z * gridDim.y + blockIdx.y) * COLUMNS + blockIdx.x) * N;
  const float2* k = pointer<const float2>(w, 1) + ((i64)blockIdx.y * COLUMNS + blockIdx.x) * N;
  float re[16], im[16];
  #pragma unroll
  for (int i = 0; i < 16; i++) { const float2 v = x[t + i * T]; re[i] = v.x; im[i] = v.y; }
  transform<1>(re, im, shared, t);
  #pragma unroll
  for (int i = 0; i < 16; i++) { const float2 f = k[t + i * T]; times(re[i], im[i], f.x, conjugate * f.y); }
  transform<1>(im, re, shared, t);
  #pragma unroll
  for (int i = 0; i < 16; i++) x[t + i * T] = make_float2(re[i], im[i]);
}
#endif

// Words: scratch, post, y, walks of post and y (3 each), batch, length, first row.
#ifdef ONLY_columns_back
extern "C" __global__ void __launch_bounds__(256) columns_back(const __grid_constant__ Words<12> w) {
  constexpr int ROWS = CIRCULAR ? 2 : 1;
  const int t = blockIdx.x * 256 + threadIdx.x, batch = integer(w, 9), length = integer(w, 10);
  const i64 d = blockIdx.y, row = wide(w, 11) + (i64)blockIdx.z * ROWS;
  const Walk qs = walk(w, 3), ys = walk(w, 6);
  const float2* x = pointer<const float2>(w, 0) + ((i64)blockIdx.z * gridDim.y + d) * M;
  float re[16], im[16];
  #pragma unroll
  for (int i = 0; i < 16; i++) { const float2 v = x[t + i * TT]; re[i] = v.x; im[i] = v.y; }
  twiddle_long(re, im, t, -1.f);
  butterflies<COLUMNS>(im, re);
#if !CIRCULAR
  twist_long(re, im, t, -1.f);
#endif
  #pragma unroll
  for (int r = 0; r < ROWS; r++) {
    if (row + r >= batch) continue;
    const i64 at = row + r;
    #pragma unroll
    for (int i = 0; i < 16; i++) {
      const int n = t + i * TT;
      if (n >= length) continue;
      float v = r ? im[i] : re[i];
#if POST
      v *= pointer<const float>(w, 1)[at * qs.batch + d * qs.channel + n * qs.time];
#endif
      pointer<float>(w, 2)[at * ys.batch + d * ys.channel + n * ys.time] = v;
    }
  }
}
#endif
