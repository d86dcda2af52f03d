// Sums over the batch of conj(U) D, U and D the spectra of two sequences, in f16: what the gradient of a filter is made of.
//
// In front: tensor-instructions.cu, tensor-sequences.cu, `#define PAIRED 0|1`, `#define JOINED 0|1`: the two rows are parts of one complex
// sequence, in one scale; `#define GROWTH g` where transforms were made of others, which makes peaks g times as large.
//
// Rows are scaled by powers of two, each by its own, so products come in units of their own too. A block's sums have the smallest such unit
// so far: a product in a larger one gets a weight, and when a smaller one comes, the sums are scaled down. U is scaled down by 2^SPREAD, so that the
// sum of MOST products stays within range. Where two rows share a transform their units must be equal: u's row gets what is left. dy keeps its own scale, so that each row of du is as precise as
// its own magnitude allows.

constexpr int MOST = 16;
__device__ __forceinline__ constexpr int spread_of(int bound) { int s = 0; for (; (bound >> s) > 32768 / MOST; s++) {} return s; }
#ifndef GROWTH
#define GROWTH 1
#endif
// Peaks of spectra: 2 N / 64, of 1024 points 2 N / 16 (one DFT of 16 points less, which is scaled by 1/4).
constexpr int PEAK = 2 * N * GROWTH / (N > 1024 ? 64 : 16), SPREAD = spread_of((PAIRED ? 2 : 1) * PEAK * PEAK);

struct Unit {
  // Exponents: of the sums' unit, of the rows' scales; how much u's rows are scaled down.
  int sums, u[ROWS], dy[ROWS], lower[ROWS];
  half2 weight;
  // What the sums have to be multiplied by before, if at all.
  float down;
};
// Takes up the scales of the next rows; `more` is added to the exponent of their product.
__device__ __forceinline__ void next_rows(Unit& unit, const float (&u)[ROWS], const float (&dy)[ROWS], int more) {
  #pragma unroll
  for (int row = 0; row < ROWS; row++) { unit.u[row] = exponent(u[row]); unit.dy[row] = exponent(dy[row]); unit.lower[row] = 0; }
  if constexpr (JOINED) {
    unit.u[0] = unit.u[ROWS - 1] = min_(unit.u[0], unit.u[ROWS - 1]);
    unit.dy[0] = unit.dy[ROWS - 1] = min_(unit.dy[0], unit.dy[ROWS - 1]);
  }
  int all = unit.u[0] + unit.dy[0];
  if constexpr (PAIRED && !JOINED) {
    const int other = unit.u[ROWS - 1] + unit.dy[ROWS - 1], least = min_(all, other);
    unit.lower[0] = least - all; unit.lower[ROWS - 1] = least - other;
    all = least;
  }
  all += more;
  const int sums = min_(unit.sums, all);
  unit.down = power(sums - unit.sums);
  unit.sums = sums;
  const float weight = power(sums - all);
  unit.weight = packed(weight, weight);
}
// sum += weight conj(u) d for two pairs each.
__device__ __forceinline__ void add_product(half2& re, half2& im, half2 ur, half2 ui, half2 dr, half2 di, half2 weight) {
  re = fused(fused(ur, dr, product(ui, di)), weight, re);
  im = fused(fused(ur, di, product(negated(ui), dr)), weight, im);
}
__device__ __forceinline__ void scale_sums(u32 at, float by) {
  const half2 factor = packed(by, by);
  uint4 v = load_shared_wide(at);
  v.x = product(v.x, factor); v.y = product(v.y, factor); v.z = product(v.z, factor); v.w = product(v.w, factor);
  store_shared_wide(at, v);
}
