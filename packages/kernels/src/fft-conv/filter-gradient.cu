// Gradients of filters out of sums of products of spectra (tensor-backward.cu, tensor-backward-warp.cu): the parts of the batch added up in order, and
// transforms back in float32. In front: what spectrum-order.cu needs and spectrum-order.cu, `#define PACKED 0|1` (two channels are one complex transform).

// The DFTs of 16 points of either spectrum were scaled by 1/4.
constexpr float SCALE = M == 4 ? 256.f : 4096.f;

struct Sums { const uint2* at; const int* exponents; int parts, adjoint; };
// The exponent of the largest unit of a line's parts.
__device__ __forceinline__ int unit_of(const Sums& sums, i64 line) {
  int least = sums.exponents[line * sums.parts];
  for (int part = 1; part < sums.parts; part++) least = min_(least, sums.exponents[line * sums.parts + part]);
  return least;
}
// A line of one part of the batch, and what its values have to be multiplied by, beside 2^-unit: two factors, as the exponent may be beyond what one can hold.
struct Line {
  const uint2* at;
  float one, two;
  __device__ __forceinline__ Line(const Sums& sums, i64 line, int part, int unit) {
    const i64 which = line * sums.parts + part;
    const int e = unit - sums.exponents[which], half = e / 2;
    at = sums.at + which * (WHOLE / 2);
    one = ldexpf(1.f, half); two = ldexpf(1.f, e - half);
  }
  __device__ __forceinline__ float of(float x) const { return x * one * two; }
};
// Two lines of which the second is multiplied by i (or none) to where their coefficients k = j + p k' are waited for, or added to what is there; conjugates
// with CONJUGATED, backwards.
template <bool CONJUGATED> __device__ __forceinline__ void read_lines(const Line& a, const Line& b, bool both, bool adjoint, bool add, bool first, float* cells, int j, int t) {
  const float sign = CONJUGATED != adjoint ? -1.f : 1.f;
  constexpr int BATCH = 4;
  #pragma unroll 1
  for (int begin = t; begin < N / 2; begin += BATCH * T) {
    uint2 x[BATCH], y[BATCH] = {};
    #pragma unroll
    for (int i = 0; i < BATCH; i++) {
      const int to = coefficients(begin + i * T, j).to;
      x[i] = a.at[to];
      if (both) y[i] = b.at[to];
    }
    #pragma unroll
    for (int i = 0; i < BATCH; i++) {
      const Coefficients at = coefficients(begin + i * T, j);
      auto put = [&](int k, float ar, float ai, float br, float bi) {
        if (CONJUGATED) k = first ? (N - k) % N : N - 1 - k;
        k = cell(k);
        const float re = a.of(ar) - sign * b.of(bi), im = sign * a.of(ai) + b.of(br);
        cells[k] = add ? cells[k] + re : re;
        cells[PITCH + k] = add ? cells[PITCH + k] + im : im;
      };
      put(at.low, low_half(x[i].x), low_half(x[i].y), low_half(y[i].x), low_half(y[i].y));
      put(at.high, high_half(x[i].x), high_half(x[i].y), high_half(y[i].x), high_half(y[i].y));
    }
  }
}

// Of the transform of a channel (or of a row of it) the values n = p N + t + i T, N times as large. PACKED: of two channels `next` lines apart, the second
// being there or not, from real sums, which are the real and the imaginary part of what comes back twice as large; `mirror` is the line with the conjugates
// of theirs, backwards, `first` whether the first coefficient of either is its own. Either keeps its `unit`, which the last step takes away: a small channel would be lost in the
// roundings of a large one.
static_assert(!PACKED || RESIDUES == 1, "a mirror image is of a whole line");
struct Lines { i64 line, mirror, next; bool both, first; int unit, next_unit; };
__device__ __forceinline__ void transform_back(float (&re)[RESIDUES][16], float (&im)[RESIDUES][16], const Sums& sums, const Lines& from, float root, float* cells, int t) {
  #pragma unroll
  for (int p = 0; p < RESIDUES; p++)
    #pragma unroll
    for (int i = 0; i < 16; i++) re[p][i] = im[p][i] = 0.f;
  #pragma unroll 1
  for (int j = 0; j < RESIDUES; j++) {
    __syncthreads();
    for (int part = 0; part < sums.parts; part++) {
      const Line a(sums, from.line, part, from.unit), b(sums, from.both ? from.line + from.next : from.line, part, from.next_unit);
      read_lines<false>(a, b, PACKED && from.both, sums.adjoint, part > 0, false, cells, j, t);
    }
    if constexpr (PACKED) {
      __syncthreads();
      for (int part = 0; part < sums.parts; part++) {
        const Line a(sums, from.mirror, part, from.unit), b(sums, from.both ? from.mirror + from.next : from.mirror, part, from.next_unit);
        read_lines<true>(a, b, from.both, sums.adjoint, true, from.first, cells, j, t);
      }
    }
    __syncthreads();
    float zr[16], zi[16];
    #pragma unroll
    for (int i = 0; i < 16; i++) { const int at = cell(t + i * T); zr[i] = cells[at]; zi[i] = cells[PITCH + at]; }
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
  transform_back(re, im, sums, {d}, TWISTED ? 0.25f : 0.f, cells, t);
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

// The same for rows of a longer transform, into complex rows (columns_of_gradient in tensor-long-filters.cu, filter-columns.cu). Words: sums, exponents, rows, parts,
// adjoint, split, channels.
#ifdef ONLY_gradient_rows
extern "C" __global__ void __launch_bounds__(T, WHOLE >= 16384 ? 1 : 16384 / WHOLE) gradient_rows(const __grid_constant__ Words<7> w) {
  extern __shared__ float cells[];
  const int t = threadIdx.x, split = integer(w, 5), channels = integer(w, 6);
  const i64 line = blockIdx.x, of = line / split;
  const int row = line % split;
  const Sums sums = {pointer<const uint2>(w, 0), pointer<const int>(w, 1), integer(w, 3), integer(w, 4)};
  // The lines of the first channel of a pair; row 0 is its own mirror image.
  const i64 first = PACKED ? line + of * split : line;
  float re[RESIDUES][16], im[RESIDUES][16];
  const bool both = 2 * of + 1 < channels;
  const int unit = PACKED ? unit_of(sums, first - row) : 0, next_unit = PACKED && both ? unit_of(sums, first - row + split) : unit;
  transform_back(re, im, sums, {first, first - row + (split - row) % split, split, both, row == 0, unit, next_unit}, (row + (TWISTED ? 0.25f : 0.f)) / split, cells, t);
  constexpr float BY = (PACKED ? 0.5f : 1.f) * SCALE / WHOLE;
  float2* out = pointer<float2>(w, 2) + line * WHOLE;
  #pragma unroll
  for (int p = 0; p < RESIDUES; p++)
    #pragma unroll
    for (int i = 0; i < 16; i++) out[p * N + t + i * T] = make_float2(re[p][i] * BY, im[p][i] * BY);
}
#endif
