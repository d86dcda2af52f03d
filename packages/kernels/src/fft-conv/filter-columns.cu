// The last step of gradients of filters whose spectra come in S = SPLIT (2, 4 or 8) rows of R = 256 FACTOR coefficients (filter-gradient.cu has
// transformed the rows back): the DFTs over the rows, in float32. In front: `#define FACTOR m`, `#define SPLIT s`, `#define TWISTED 0|1`, `#define PACKED 0|1`
// (two channels are the parts of one complex transform), butterflies.cu, filter-units.cu.

constexpr int R = 256 * FACTOR, S = SPLIT;
// Both transforms were made of sequences times this in either case (tensor-spread.cu).
constexpr float FORWARD = S == 8 ? 1.f / 4 : 1.f / 2, BY = 1.f / (FORWARD * FORWARD * S);

// Words: rows, dk, channel stride, tap stride, taps, origin, where the second period of a circular filter in a twisted transform begins (else N),
// whether to add that; channels, exponents of units, how many of them a row has.
extern "C" __global__ void __launch_bounds__(256) gradient_columns(const __grid_constant__ Words<11> w) {
  const int column = blockIdx.x * 256 + threadIdx.x, taps = integer(w, 4), origin = integer(w, 5), second = integer(w, 6), add = integer(w, 7);
  const i64 step = wide(w, 3);
  const float2* in = pointer<const float2>(w, 0) + (i64)blockIdx.y * S * R + column;
  const int channel = PACKED ? 2 * blockIdx.y : blockIdx.y;
  float* dk = pointer<float>(w, 1) + channel * wide(w, 2);
  float* next = PACKED && channel + 1 < integer(w, 8) ? dk + wide(w, 2) : nullptr;
  const int* exponents = pointer<const int>(w, 9);
  const int parts = integer(w, 10);
  const Unit unit(exponents, channel * (i64)S, parts, PACKED), other(exponents, (channel + 1) * (i64)S, parts, next != nullptr);
  float re[16] = {}, im[16] = {};
  #pragma unroll
  for (int j = 0; j < S; j++) { const float2 v = in[j * R]; re[j * (16 / S)] = v.x; im[j * (16 / S)] = v.y; }
  butterflies<S>(im, re);
  #pragma unroll
  for (int p = 0; p < S; p++) {
    float x = re[p * (16 / S)] * BY, y = im[p * (16 / S)] * BY;
    if (TWISTED && p > 0) {
      float c, s;
      sincospif(2.f * 0.25f / S * p, &s, &c);
      times(x, y, c, s);
    }
    const int n = column + p * R, ahead = origin + n, behind = ahead - S * R;
    if (add) {
      if (n >= second && n - second < taps) dk[(n - second) * step] += y;
      continue;
    }
    // Lags below zero are indices modulo N; twisted, they carry the factor i.
    if (ahead < taps) dk[ahead * step] = unit.of(x);
    if (behind >= 0 && behind < origin) dk[behind * step] = TWISTED ? y : unit.of(x);
    if (!next) continue;
    if (ahead < taps) next[ahead * step] = other.of(y);
    if (behind >= 0 && behind < origin) next[behind * step] = other.of(y);
  }
}
