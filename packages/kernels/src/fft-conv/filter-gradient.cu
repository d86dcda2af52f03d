// Gradients of filters out of sums of products of spectra (tensor-backward.cu, tensor-backward-warp.cu): the parts of the batch added up in order, and
// transforms back in float32. In front: what spectrum-order.cu needs and spectrum-order.cu.

// The DFTs of 16 points of either spectrum were scaled by 1/4.
constexpr float SCALE = M == 4 ? 256.f : 4096.f;

// Of the transform of a channel (or of a row of it) the values n = p N + t + i T, N times as large.
struct Sums { const uint2* at; const int* exponents; int parts, adjoint; };
__device__ __forceinline__ void transform_back(float (&re)[RESIDUES][16], float (&im)[RESIDUES][16], const Sums& sums, i64 line, float root, float* cells, int t) {
  #pragma unroll
  for (int p = 0; p < RESIDUES; p++)
    #pragma unroll
    for (int i = 0; i < 16; i++) re[p][i] = im[p][i] = 0.f;
  #pragma unroll 1
  for (int j = 0; j < RESIDUES; j++) {
    __syncthreads();
    #pragma unroll 4
    for (int i = t; i < N / 2; i += T) {
      const Coefficients at = coefficients(i, j);
      float ar = 0.f, ai = 0.f, br = 0.f, bi = 0.f;
      for (int part = 0; part < sums.parts; part++) {
        const i64 which = line * sums.parts + part;
        const uint2 v = sums.at[which * (WHOLE / 2) + at.to];
        // The exponent may be beyond what one factor can hold.
        const int e = -sums.exponents[which], half = e / 2;
        const float by = ldexpf(1.f, half), again = ldexpf(1.f, e - half);
        ar += low_half(v.x) * by * again; ai += low_half(v.y) * by * again;
        br += high_half(v.x) * by * again; bi += high_half(v.y) * by * again;
      }
      cells[at.low] = ar; cells[PITCH + at.low] = sums.adjoint ? -ai : ai;
      cells[at.high] = br; cells[PITCH + at.high] = sums.adjoint ? -bi : bi;
    }
    __syncthreads();
    float zr[16], zi[16];
    #pragma unroll
    for (int i = 0; i < 16; i++) { zr[i] = cells[t + i * T]; zi[i] = cells[PITCH + t + i * T]; }
    transform<1>(zi, zr, cells, t);
    const float shift = j + root;
    // Real and imaginary parts change places: turned back.
    if (shift != 0.f) twist_rows(zi, zr, t, shift);
    #pragma unroll
    for (int p = 0; p < RESIDUES; p++) {
      float c = 1.f, s = 0.f;
      if (p > 0) sincospif(2.f * shift * p / RESIDUES, &s, &c);
      #pragma unroll
      for (int i = 0; i < 16; i++) { re[p][i] += zr[i] * c - zi[i] * s; im[p][i] += zr[i] * s + zi[i] * c; }
    }
  }
}

// Words: sums, exponents, dk, parts, adjoint, channel stride, tap stride, taps, origin, period of a circular filter in a twisted transform (else 0).
#ifdef ONLY_filter_gradient_half
extern "C" __global__ void __launch_bounds__(T, T >= 512 ? 1 : 512 / T) filter_gradient_half(const __grid_constant__ Words<10> w) {
  extern __shared__ float cells[];
  const int t = threadIdx.x, taps = integer(w, 7), origin = integer(w, 8), period = integer(w, 9);
  const i64 d = blockIdx.x, step = wide(w, 6);
  const Sums sums = {pointer<const uint2>(w, 0), pointer<const int>(w, 1), integer(w, 3), integer(w, 4)};
  float re[RESIDUES][16], im[RESIDUES][16];
  transform_back(re, im, sums, d, TWISTED ? 0.25f : 0.f, cells, t);
  float* dk = pointer<float>(w, 2) + d * wide(w, 5);
  if (TWISTED && period) {
    __syncthreads();
    #pragma unroll
    for (int p = 0; p < RESIDUES; p++)
      #pragma unroll
      for (int i = 0; i < 16; i++) cells[p * N + t + i * T] = im[p][i];
    __syncthreads();
  }
  #pragma unroll
  for (int p = 0; p < RESIDUES; p++)
    #pragma unroll
    for (int i = 0; i < 16; i++) {
      const int n = p * N + t + i * T, ahead = origin + n, behind = ahead - WHOLE;
      float v = re[p][i];
      if (TWISTED && period && ahead < taps) v += cells[WHOLE - period + n];
      if (ahead < taps) dk[ahead * step] = v * (SCALE / WHOLE);
      // Lags below zero are indices modulo N; twisted, they carry the factor i.
      if (behind >= 0 && behind < origin) dk[behind * step] = (TWISTED ? im[p][i] : v) * (SCALE / WHOLE);
    }
}
#endif

// The same for rows of a longer transform, into complex rows (columns_of_gradient in tensor-long.cu). Words: sums, exponents, rows, parts, adjoint, split.
#ifdef ONLY_gradient_rows
extern "C" __global__ void __launch_bounds__(T, T >= 512 ? 1 : 512 / T) gradient_rows(const __grid_constant__ Words<6> w) {
  extern __shared__ float cells[];
  const int t = threadIdx.x, split = integer(w, 5);
  const i64 line = blockIdx.x;
  const Sums sums = {pointer<const uint2>(w, 0), pointer<const int>(w, 1), integer(w, 3), integer(w, 4)};
  float re[RESIDUES][16], im[RESIDUES][16];
  transform_back(re, im, sums, line, (line % split + (TWISTED ? 0.25f : 0.f)) / split, cells, t);
  float2* out = pointer<float2>(w, 2) + line * WHOLE;
  #pragma unroll
  for (int p = 0; p < RESIDUES; p++)
    #pragma unroll
    for (int i = 0; i < 16; i++) out[p * N + t + i * T] = make_float2(re[p][i] * (SCALE / WHOLE), im[p][i] * (SCALE / WHOLE));
}
#endif
