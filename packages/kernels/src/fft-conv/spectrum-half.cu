// Spectra of filters for the tensor-core kernels: transforms in float32, results in f16 in the order in which lanes multiply by them. In front:
// `#define SPLIT s` (rows that a transform is split into), what spectrum-order.cu needs and spectrum-order.cu.
//
// With a power of two above a sixteenth of the sum of a filter's magnitudes as unit nothing exceeds 16, and what the unit is goes into `gains`.

// The power of two above a sixteenth of a sum of magnitudes.
__device__ __forceinline__ float unit_of(float sum) {
  const u32 bits = __float_as_uint(sum / 16.f);
  return bits == 0 || bits >= 0x7e800000u ? sum / 16.f : __uint_as_float((bits & 0x7f800000u) + 0x800000u);
}

// Coefficients k = j + p k' of a filter, k' = t + i T of a thread, in f16 to their places; where `mirror` is, also conjugates of them, as those at
// k = p - 1 - j + p (N - 1 - k').
__device__ __forceinline__ void write_coefficients(const float (&re)[16], const float (&im)[16], float by, int j, int t, float* cells, uint2* out, uint2* mirror) {
  u32* half = (u32*)cells;
  __syncthreads();
  #pragma unroll
  for (int i = 0; i < 16; i++) half[cell(t + i * T)] = packed(re[i] * by, im[i] * by);
  __syncthreads();
  for (int i = t; i < N / 2; i += T) {
    const Coefficients at = coefficients(i, j);
    const u32 a = half[cell(at.low)], b = half[cell(at.high)];
    out[at.to] = make_uint2(halves(a, b, 0), halves(a, b, 1));
  }
  if (!mirror) return;
  for (int i = t; i < N / 2; i += T) {
    const Coefficients at = coefficients(i, RESIDUES - 1 - j);
    const u32 a = half[cell(N - 1 - at.low)], b = half[cell(N - 1 - at.high)];
    mirror[at.to] = make_uint2(halves(a, b, 0), halves(a, b, 1) ^ SIGNS);
  }
}
// Where a row's mirror image goes: the coefficients of a real cyclic sequence are conjugates of each other, so rows beyond split / 2 need no transform
// of their own.
__device__ __forceinline__ uint2* mirror_of(uint2* spectrum, int row, int split) {
  return TWISTED || row == 0 || 2 * row == split ? nullptr : spectrum + (i64)(split - row) * (WHOLE / 2);
}

// Residues of all rows.
constexpr int ALL = RESIDUES * SPLIT;

// A filter as sums over the residues, at n = t + i T. FULL: neighbouring taps of lags 0 to ALL N - 1; SHORTER: fewer of them; ANY: also other steps and
// lags below zero.
enum Shape { FULL, SHORTER, ANY };
struct Taps { const float* at; i64 step; int taps, origin, reach, circular; float skip; };
template <Shape SHAPE> __device__ __forceinline__ void gather(float (&re)[16], float (&im)[16], float& sum, const Taps& k, const float (&c)[ALL], const float (&s)[ALL], int t) {
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    re[i] = im[i] = 0.f;
    #pragma unroll
    for (int p = 0; p < ALL; p++) {
      const int n = p * N + t + i * T;
      if constexpr (SHAPE != ANY) {
        const float a = SHAPE == FULL || n < k.taps ? k.at[n] : 0.f;
        sum += fabsf(a);
        re[i] += a * c[p];
        im[i] += a * s[p];
      } else {
        float b = 0.f;
        const int ahead = k.origin + n, behind = k.reach + n - ALL * N;
        float a = ahead < k.taps ? k.at[ahead * k.step] : 0.f;
        if (behind >= k.circular && behind < (k.circular ? k.taps : k.origin)) b = k.at[behind * k.step];
        if (n == 0) a += k.skip;
        sum += fabsf(a) + fabsf(b);
        // Without a twist negative lags are indices modulo N; with it they carry the factor i.
        const float x = TWISTED ? a : a + b, y = TWISTED ? b : 0.f;
        re[i] += x * c[p] - y * s[p];
        im[i] += x * s[p] + y * c[p];
      }
    }
  }
  if (SHAPE != ANY && t == 0 && k.skip != 0.f) {
    const float a = k.taps > 0 ? k.at[0] : 0.f;
    re[0] += k.skip;
    sum += fabsf(a + k.skip) - fabsf(a);
  }
}

// Words: k, spectra, gains, skip, channel stride, tap stride, taps, origin, how far taps reach back (origin, or the period of a circular filter),
// circular, skip stride, whether there is a skip.
#ifdef ONLY_spectrum_half
extern "C" __global__ void __launch_bounds__(T, T >= 1024 ? 1 : T >= 512 ? 2 : 512 / T) spectrum_half(const __grid_constant__ Words<12> w) {
  extern __shared__ float cells[];
  __shared__ float sums[32];
  constexpr int MADE = TWISTED || SPLIT == 1 ? SPLIT : SPLIT / 2 + 1;
  const int t = threadIdx.x, row = blockIdx.x % MADE, inner = blockIdx.x / MADE, j = row + SPLIT * inner;
  const i64 d = blockIdx.y, step = wide(w, 5);
  const float* k = pointer<const float>(w, 0) + d * wide(w, 4);
  const int taps = integer(w, 6), origin = integer(w, 7), reach = integer(w, 8), circular = integer(w, 9);
  const float skip = integer(w, 11) ? pointer<const float>(w, 3)[d * wide(w, 10)] : 0.f;
  const float shift = j + (TWISTED ? 0.25f : 0.f);
  float re[16], im[16], sum = 0.f;
  // W_ALL^(shift p), and the twist W^(shift n), n = t + i T.
  float c[ALL], q[ALL];
  #pragma unroll
  for (int p = 0; p < ALL; p++) sincospif(-2.f * shift * p / ALL, &q[p], &c[p]);
  const Taps all = {k, step, taps, origin, reach, circular, skip};
  if (step != 1 || origin != 0 || reach != 0 || taps > ALL * N) gather<ANY>(re, im, sum, all, c, q, t);
  else if (taps == ALL * N) gather<FULL>(re, im, sum, all, c, q, t);
  else gather<SHORTER>(re, im, sum, all, c, q, t);
  if (TWISTED || ALL > 1) twist_rows(re, im, t, shift / SPLIT);
  const float unit = unit_of(block_sum(sum, sums));
  if (t == 0 && j == 0) pointer<float>(w, 2)[d] = unit;
  transform<1>(re, im, cells, t);
  // What the 1/4 of every DFT-16 leaves of 1 / N.
  const float by = unit > 0.f ? (M == 4 ? 1.f : 16.f) / M / unit : 0.f;
  // k = j + ALL k' is coefficient `inner` + RESIDUES k' of the row.
  uint2* out = pointer<uint2>(w, 1) + d * SPLIT * (WHOLE / 2);
  write_coefficients(re, im, by, inner, t, cells, out + row * (WHOLE / 2), SPLIT > 1 ? mirror_of(out, row, SPLIT) : nullptr);
}
#endif

// The same for rows of a longer transform (columns_of_filter in tensor-long-filters.cu): block (j, row, d) makes the coefficients of a row with
// root (row + shift) / split. Words: rows, spectra, gains, parts of the sums of magnitudes, split, parts of a filter.
#ifdef ONLY_spectrum_rows
extern "C" __global__ void __launch_bounds__(T, T < 512 ? 512 / T : T < 1024 && RESIDUES == 1 ? 2 : 1) spectrum_rows(const __grid_constant__ Words<6> w) {
  extern __shared__ float cells[];
  const int t = threadIdx.x, j = blockIdx.x, row = blockIdx.y, split = integer(w, 4), parts = integer(w, 5);
  const i64 d = blockIdx.z, line = d * split + row;
  const float2* x = pointer<const float2>(w, 0) + line * WHOLE;
  const float shift = j + (row + (TWISTED ? 0.25f : 0.f)) / split;
  float re[16], im[16];
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    re[i] = im[i] = 0.f;
    #pragma unroll
    for (int p = 0; p < RESIDUES; p++) {
      const float2 v = x[p * N + t + i * T];
      float c = 1.f, s = 0.f;
      if (p > 0) sincospif(-2.f * shift * p / RESIDUES, &s, &c);
      re[i] += v.x * c - v.y * s;
      im[i] += v.x * s + v.y * c;
    }
  }
  twist_rows(re, im, t, shift);
  float sum = 0.f;
  for (int i = t & 31; i < parts; i += 32) sum += pointer<const float>(w, 3)[d * parts + i];
  const float unit = unit_of(warp_sum(sum));
  const float by = unit > 0.f ? 16.f / M / unit : 0.f;
  if (t == 0 && j == 0 && row == 0) pointer<float>(w, 2)[d] = unit;
  transform<1>(re, im, cells, t);
  uint2* out = pointer<uint2>(w, 1) + d * split * (WHOLE / 2);
  write_coefficients(re, im, by, j, t, cells, out + (i64)row * (WHOLE / 2), mirror_of(out, row, split));
}
#endif
