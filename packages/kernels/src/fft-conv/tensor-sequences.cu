// Sequences in memory as the tensor-core kernels see them, four elements (8 bytes) at a time, and the power of two that keeps a row in range.
//
// In front: `#define BRAIN 0|1` (bf16 storage), `PRE`, `POST` 0|1 (gates), `SCALED` 0|1.
//
// f16 holds values up to 65504, and a constant row of N elements has a coefficient sqrt(N) times as large. So a row is scaled to a peak
// within [1, 2) first, and back at the end; scaling by powers of two rounds nothing. A transform keeps the sum of squares, hence no value on
// the way exceeds 2 sqrt(N) times the largest one of the filter's spectrum (16, see spectrum-half.cu). The peak of a gated row is that of the
// products, in float32.

constexpr bool CONVERTED = SCALED && (BRAIN || PRE);

struct Rows { const u16* at; i64 batch, channel; };
template <int W> __device__ __forceinline__ Rows rows_of(const Words<W>& w, int pointer_word, int stride_word) {
  return {pointer<const u16>(w, pointer_word), wide(w, stride_word), wide(w, stride_word + 1)};
}
// Whether four elements lie in one aligned word of 8 bytes.
__device__ __forceinline__ bool aligned(const Rows& r, int length) { return ((((u64)r.at >> 1) | (u64)r.batch | (u64)r.channel | (u64)length) & 3) == 0; }

__device__ __forceinline__ uint2 four_elements(const u16* row, int n, int length, bool whole) {
  uint2 v = {0, 0};
  if (whole) { if (n < length) v = *(const uint2*)(row + n); return v; }
  if (n < length) v.x = row[n];
  if (n + 1 < length) v.x |= (u32)row[n + 1] << 16;
  if (n + 2 < length) v.y = row[n + 2];
  if (n + 3 < length) v.y |= (u32)row[n + 3] << 16;
  return v;
}
__device__ __forceinline__ void store_elements(u16* row, int n, int length, bool whole, uint2 v) {
  if (whole) { if (n < length) __stcs((uint2*)(row + n), v); return; }
  if (n < length) row[n] = (u16)v.x;
  if (n + 1 < length) row[n + 1] = (u16)(v.x >> 16);
  if (n + 2 < length) row[n + 2] = (u16)v.y;
  if (n + 3 < length) row[n + 3] = (u16)(v.y >> 16);
}

// Stored pairs as float32.
__device__ __forceinline__ float first(u32 x) { if constexpr (BRAIN) return __uint_as_float(x << 16); else return low_half(x); }
__device__ __forceinline__ float second(u32 x) { if constexpr (BRAIN) return __uint_as_float(x & 0xffff0000u); else return high_half(x); }
__device__ __forceinline__ u32 stored(float a, float b) { if constexpr (BRAIN) return packed_bf16(a, b); else return packed(a, b); }

// The larger of a running peak and the magnitudes of four elements: as float bits, gated; as a pair of f16.
__device__ __forceinline__ u32 raise_single(u32 peak, uint2 v, uint2 gate) {
  float a = first(v.x), b = second(v.x), c = first(v.y), d = second(v.y);
  if constexpr (PRE) { a *= first(gate.x); b *= second(gate.x); c *= first(gate.y); d *= second(gate.y); }
  return __float_as_uint(fmaxf(fmaxf(fmaxf(fabsf(a), fabsf(b)), fmaxf(fabsf(c), fabsf(d))), __uint_as_float(peak)));
}
__device__ __forceinline__ u32 raise_half(u32 peak, uint2 v) { return larger(peak, larger(magnitude(v.x), magnitude(v.y))); }
__device__ __forceinline__ u32 raise(u32 peak, uint2 v, uint2 gate) { return CONVERTED ? raise_single(peak, v, gate) : raise_half(peak, v); }
// The peak of a warp as an integer that grows with it.
__device__ __forceinline__ u32 half_peak(u32 peak) { return __reduce_max_sync(~0u, (peak & 0xffffu) > (peak >> 16) ? peak & 0xffffu : peak >> 16); }
__device__ __forceinline__ u32 warp_peak(u32 peak) { return CONVERTED ? __reduce_max_sync(~0u, peak) : half_peak(peak); }
// Peaks of products in f16 with which rows are as precise as others.
constexpr u32 LEAST_PEAK = 0x1c00, MOST_PEAK = 0x7bff;
// Two ones as they are stored.
constexpr u32 ONES = BRAIN ? 0x3f803f80u : 0x3c003c00u;
// A power of two by its exponent, zero where it is too small; and the exponent of one.
__device__ __forceinline__ float power(int e) { return e < -126 ? 0.f : __uint_as_float((u32)(min_(e, 127) + 127) << 23); }
__device__ __forceinline__ int exponent(float x) { return (int)(__float_as_uint(x) >> 23) - 127; }
// 2^-e for a peak within [2^e, 2^(e + 1)), as far as the format in which rows are multiplied by it goes.
__device__ __forceinline__ float scale_of_single(u32 peak, u32 least) {
  u32 e = peak >> 23;
  e = e < least ? least : e > 253 ? 253 : e;
  return __uint_as_float((254 - e) << 23);
}
__device__ __forceinline__ float scale_of_half(u32 peak) { return scale_of_single(__float_as_uint(low_half(peak)), 112); }
__device__ __forceinline__ float scale_of(u32 peak) { return CONVERTED ? scale_of_single(peak, 1) : scale_of_half(peak); }
// Four elements, gated, scaled, in f16.
__device__ __forceinline__ uint2 converted(uint2 v, uint2 gate, float scale) {
  float a = first(v.x), b = second(v.x), c = first(v.y), d = second(v.y);
  if constexpr (PRE) { a *= first(gate.x); b *= second(gate.x); c *= first(gate.y); d *= second(gate.y); }
  return {packed(a * scale, b * scale), packed(c * scale, d * scale)};
}
// A power of two as two factors of f16.
struct Factor { half2 one, two; float all; };
__device__ __forceinline__ Factor factor_of(float all) {
  if constexpr (BRAIN || POST) return {0, 0, all};
  const int e = exponent(all), a = e < -14 ? -14 : e > 15 ? 15 : e, b = e - a < -14 ? -14 : e - a > 15 ? 15 : e - a;
  // Not one: zero, or out of range.
  if (all == 0.f || e > 126) return {packed(all, all), packed(1.f, 1.f), all};
  return {(u32)(a + 15) * 0x04000400u, (u32)(b + 15) * 0x04000400u, all};
}
__device__ __forceinline__ uint2 finished_single(uint2 v, uint2 gate, float factor) {
  float a = low_half(v.x) * factor, b = high_half(v.x) * factor, c = low_half(v.y) * factor, d = high_half(v.y) * factor;
  if constexpr (POST) { a *= first(gate.x); b *= second(gate.x); c *= first(gate.y); d *= second(gate.y); }
  return {stored(a, b), stored(c, d)};
}
// Four results to what is stored.
__device__ __forceinline__ uint2 finished(uint2 v, uint2 gate, const Factor& by) {
  if constexpr (!BRAIN && !POST) return {product(product(v.x, by.one), by.two), product(product(v.y, by.one), by.two)};
  return finished_single(v, gate, by.all);
}

// How results become what is stored: times two powers of two with the gate between them, in f16 where that is as precise.
struct Finish { half2 one, two; float all; bool fast; };
__device__ __forceinline__ Finish finish_of(float all) {
  const Factor factor = factor_of(all);
  return {factor.one, factor.two, all, true};
}
template <int COUNT> __device__ __forceinline__ Finish finish_of(float all, const uint2 (&gate)[COUNT]) {
  if constexpr (BRAIN) return {0, 0, all, true};
  u32 peak = 0;
  #pragma unroll
  for (int i = 0; i < COUNT; i++) peak = raise_half(peak, gate[i]);
  const int g = exponent(low_half(half_peak(peak))), a = g > 0 ? -g : 0, b = exponent(all) - a;
  return {(u32)(a + 15) * 0x04000400u, (u32)(b + 15) * 0x04000400u, all, g >= -8 && g <= 8 && b >= -14 && b <= 15};
}
__device__ __forceinline__ uint2 finished(uint2 v, uint2 gate, const Finish& by) {
  if constexpr (BRAIN) return finished_single(v, gate, by.all);
  if constexpr (!POST) return {product(product(v.x, by.one), by.two), product(product(v.y, by.one), by.two)};
  return {product(product(product(v.x, by.one), gate.x), by.two), product(product(product(v.y, by.one), gate.y), by.two)};
}
