// Filters of long transforms and their gradients, in float32: columns to rows, which spectrum-half.cu goes on with, and back from what filter-gradient.cu makes. In
// front: what tensor-long.cu needs with CREWS 1, tensor-long.cu, filter-units.cu.

// The value of a filter at point n: the lag n, and the lag n - N, which carries the factor i when twisted.
struct Filter { const float* at; i64 step; int taps, origin, reach, circular; float skip; };
__device__ __forceinline__ float2 tap(const Filter& k, i64 n) {
  const i64 ahead = k.origin + n, behind = k.reach + n - (i64)S * R;
  // Loaded in any case, so that many loads are under way at once.
  float a = k.at[(ahead < k.taps ? ahead : 0) * k.step], b = 0.f;
  if (ahead >= k.taps) a = 0.f;
  if (k.reach > 0 && behind >= k.circular && behind < (k.circular ? k.taps : k.origin)) b = k.at[behind * k.step];
  if (n == 0) a += k.skip;
  return make_float2(a, b);
}
// Words: k, skip, out; channel stride, tap stride, taps, origin, reach, circular, skip stride, whether there is a skip; sums of the magnitudes of
// every filter that its blocks find.
__device__ __forceinline__ Filter filter_of(const Words<12>& w) {
  const i64 d = blockIdx.y;
  return {pointer<const float>(w, 0) + d * wide(w, 3), wide(w, 4), integer(w, 5), integer(w, 6), integer(w, 7), integer(w, 8),
          integer(w, 10) ? pointer<const float>(w, 1)[d * wide(w, 9)] : 0.f};
}
#ifdef ONLY_columns_of_filter
extern "C" __global__ void __launch_bounds__(WIDTH, 512 / WIDTH) columns_of_filter(const __grid_constant__ Words<12> w) {
  extern __shared__ float cells[];
  __shared__ float sums[32];
  const Crew crew;
  const Place at = place_of(crew, blockIdx.x);
  const float4* roots = make_roots();
  const Filter k = filter_of(w);
  float re[2][16], im[2][16], sum = 0.f;
  const int begin = (int)first_element(at);
  // Neighbouring taps of lags 0 to N - 1.
  if (k.step == 1 && k.origin == 0 && k.reach == 0 && k.taps == S * R && ((u64)k.at & 7) == 0) {
    #pragma unroll
    for (int p = 0; p < 16; p++) {
      const float2 v = *(const float2*)(k.at + begin + p * PARTS * R);
      re[0][p] = v.x; re[1][p] = v.y; im[0][p] = im[1][p] = 0.f;
    }
    if (begin == 0) re[0][0] += k.skip;
  } else {
    #pragma unroll
    for (int p = 0; p < 16; p++)
      #pragma unroll
      for (int x = 0; x < 2; x++) {
        const float2 v = tap(k, begin + x + p * PARTS * R);
        re[x][p] = TWISTED ? v.x : v.x + v.y;
        im[x][p] = TWISTED ? v.y : 0.f;
      }
  }
  #pragma unroll
  for (int p = 0; p < 16; p++) sum += fabsf(re[0][p]) + fabsf(im[0][p]) + fabsf(re[1][p]) + fabsf(im[1][p]);
  sum = block_sum(sum, sums);
  if (threadIdx.x == 0) pointer<float>(w, 11)[blockIdx.y * gridDim.x + blockIdx.x] = sum;
  columns_forward(re, im, crew, at, false, roots, cells);
  float2* out = pointer<float2>(w, 2) + (i64)blockIdx.y * S * R + at.n;
  // Of a real cyclic sequence the first half of the rows is enough (spectrum-half.cu).
  #pragma unroll
  for (int i = 0; i < 16; i++) if (TWISTED || row_at(at, i) <= S / 2) *(float4*)(out + (i64)row_at(at, i) * R) = make_float4(re[0][i], im[0][i], re[1][i], im[1][i]);
}
#endif

// Words: rows, dk, channel stride, tap stride, taps, origin, where the second period of a circular filter in a twisted transform begins (else N),
// whether to add that; channels, exponents of units, how many of them a row has. `PACKED` 0|1: the gradients of two circular filters are the parts of one
// transform.
#ifdef ONLY_columns_of_gradient
extern "C" __global__ void __launch_bounds__(WIDTH, 512 / WIDTH) columns_of_gradient(const __grid_constant__ Words<11> w) {
  extern __shared__ float cells[];
  const Crew crew;
  const Place at = place_of(crew, blockIdx.x);
  const float4* roots = make_roots();
  const int taps = integer(w, 4), origin = integer(w, 5), second = integer(w, 6), add = integer(w, 7);
  const i64 step = wide(w, 3);
  const float2* in = pointer<const float2>(w, 0) + (i64)blockIdx.y * S * R + at.n;
  const int channel = PACKED ? 2 * blockIdx.y : blockIdx.y;
  float* dk = pointer<float>(w, 1) + channel * wide(w, 2);
  float* other = PACKED && channel + 1 < integer(w, 8) ? dk + wide(w, 2) : nullptr;
  float re[2][16], im[2][16];
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    const float4 v = *(const float4*)(in + (i64)row_at(at, i) * R);
    re[0][i] = v.x; im[0][i] = v.y; re[1][i] = v.z; im[1][i] = v.w;
  }
  columns_inverse(re, im, crew, at, false, roots, cells);
  constexpr float BY = 1.f / (FORWARD * FORWARD * S);
  const int* exponents = pointer<const int>(w, 9);
  const int parts = integer(w, 10);
  const Unit unit(exponents, channel * (i64)S, parts, PACKED), other_unit(exponents, (channel + 1) * (i64)S, parts, other != nullptr);
  #pragma unroll
  for (int p = 0; p < 16; p++)
    #pragma unroll
    for (int x = 0; x < 2; x++) {
      re[x][p] = unit.of(re[x][p] * BY);
      im[x][p] = other ? other_unit.of(im[x][p] * BY) : im[x][p] * BY;
    }
  // Neighbouring taps of lags 0 to N - 1.
  if (!add && step == 1 && origin == 0 && taps == S * R && ((u64)dk & 7) == 0 && (!other || ((u64)other & 7) == 0)) {
    const int begin = (int)first_element(at);
    #pragma unroll
    for (int p = 0; p < 16; p++) {
      __stcs((float2*)(dk + begin + p * PARTS * R), make_float2(re[0][p], re[1][p]));
      if (other) __stcs((float2*)(other + begin + p * PARTS * R), make_float2(im[0][p], im[1][p]));
    }
    return;
  }
  #pragma unroll
  for (int p = 0; p < 16; p++)
    #pragma unroll
    for (int x = 0; x < 2; x++) {
      const int n = at.n + x + (p * PARTS + at.q) * R, ahead = origin + n, behind = ahead - S * R;
      if (add) {
        if (n >= second && n - second < taps) dk[(n - second) * step] += im[x][p];
        continue;
      }
      if (ahead < taps) dk[ahead * step] = re[x][p];
      if (behind >= 0 && behind < origin) dk[behind * step] = TWISTED ? im[x][p] : re[x][p];
      if (!other) continue;
      if (ahead < taps) other[ahead * step] = im[x][p];
      if (behind >= 0 && behind < origin) other[behind * step] = im[x][p];
    }
}
#endif
