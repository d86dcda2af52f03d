// Convolutions whose transform spans many blocks: N = S R points as S = 16 PARTS rows of R = 256 M, in f16 between three passes over memory.
// In front: `#define FACTOR m`, `#define PARTS 1|2|4|8|16`, `#define PAIRED 0|1`, `PARTNER` 0|1, what tensor-sequences.cu needs,
// transform.cu, tensor-instructions.cu, tensor-sequences.cu.
//
// x^N - i (or 1) splits into S factors x^R - root. Row j, the remainder by the j-th, turned so that it goes through tensor-block.cu as a cyclic
// transform, is W_N^((j + d) n) sum_p x[n + p R] W_S^((j + d) p), d = 1/4 or 0. With p = p1 PARTS + q and j = j1 + 16 j2 that is
//   row j = W_N/16^(j2 n) sum_q W_PARTS^(j2 q) W_N^((j1 + d)(q R + n)) sum_p1 W_16^(j1 p1) W_16^(d p1) x[n + (p1 PARTS + q) R].
// A warp holds 64 columns n of one q, later of 16 / PARTS of the j1, two in a lane, in float32.

constexpr int R = 256 * FACTOR, S = 16 * PARTS, SIDE = PARTS < 8 ? 8 / PARTS : 1, WIDTH = 32 * PARTS * SIDE, ROWS = PAIRED ? 2 : 1;
constexpr float SHIFT = PAIRED ? 0.f : 0.25f;
// A power of two near 1 / sqrt(S).
constexpr float FORWARD = PARTS == 16 ? 1.f / 16 : PARTS >= 4 ? 1.f / 8 : 1.f / 4;

// Powers first w^0 .. first w^15 from exp(-2 pi i angle) and exp(-2 pi i step).
__device__ __forceinline__ void powers(float (&c)[16], float (&s)[16], float angle, float step) {
  float wc, ws;
  sincospif(-2.f * angle, &s[0], &c[0]);
  sincospif(-2.f * step, &ws, &wc);
  float pc[16], ps[16];
  pc[1] = wc; ps[1] = ws;
  #pragma unroll
  for (int j = 2; j < 16; j++) {
    pc[j] = pc[j / 2]; ps[j] = ps[j / 2];
    times(pc[j], ps[j], pc[j - j / 2], ps[j - j / 2]);
  }
  #pragma unroll
  for (int j = 1; j < 16; j++) { c[j] = c[0]; s[j] = s[0]; times(c[j], s[j], pc[j], ps[j]); }
}
// W_16^(d p1), `sign` -1 turns back.
__device__ __forceinline__ void twist_16(float& re, float& im, int p1, float sign) {
  if (PAIRED || p1 == 0) return;
  float c, s;
  sincospif(-2.f * SHIFT / 16.f * p1, &s, &c);
  times(re, im, c, sign * s);
}
// What a warp works on.
struct Place { int lane, q, side, n; };
__device__ __forceinline__ Place place_of() {
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, side = warp / PARTS;
  return {lane, warp % PARTS, side, (blockIdx.x * SIDE + side) * 64 + 2 * lane};
}
__device__ __forceinline__ float4* cell(float* cells, const Place& at, int q, int j1) {
  return (float4*)cells + ((at.side * PARTS + q) * 16 + j1) * 32 + at.lane;
}

// Times w^(n k), w = exp(-2 pi i / points), for a column and its neighbour; their angles are so close that the square of the difference does not
// count. `sign` -1 turns back.
__device__ __forceinline__ void turn_columns(float& r0, float& i0, float& r1, float& i1, float c, float s, float k, float points, float sign) {
  const float angle = k * (-6.2831853f / points), c1 = c - s * angle, s1 = s + c * angle;
  times(r0, i0, c, sign * s);
  times(r1, i1, c1, sign * s1);
}
// The factors W_N^((j1 + d)(q R + n)); `turned`: otherwise those of n = 0.
__device__ __forceinline__ void turn_first(float (&re)[2][16], float (&im)[2][16], const Place& at, bool turned, float sign) {
  float c[16], s[16];
  const float turn = (at.q * R + (turned ? at.n : 0)) / ((float)S * R);
  powers(c, s, SHIFT * turn, turn);
  #pragma unroll
  for (int j = 0; j < 16; j++) turn_columns(re[0][j], im[0][j], re[1][j], im[1][j], c[j], s[j], turned ? j + SHIFT : 0.f, (float)S * R, sign);
}
// The factors W_N/16^(j2 n).
__device__ __forceinline__ void turn_second(float (&re)[2][16], float (&im)[2][16], const Place& at, float sign) {
  float c, s, by_c, by_s;
  sincospif(-2.f * (float)at.n / ((float)PARTS * R), &by_s, &by_c);
  c = by_c; s = by_s;
  #pragma unroll
  for (int k = 1; k < PARTS; k++) {
    #pragma unroll
    for (int g = 0; g < 16 / PARTS; g++) { const int i = g + k * (16 / PARTS); turn_columns(re[0][i], im[0][i], re[1][i], im[1][i], c, s, k, (float)PARTS * R, sign); }
    times(c, s, by_c, by_s);
  }
}

// From x[p1] to rows; element g + k 16 / PARTS is row j1 + 16 k with j1 = q 16 / PARTS + g. Not `turned`: without the factors W_N^((j + d) n).
__device__ __forceinline__ void columns_forward(float (&re)[2][16], float (&im)[2][16], const Place& at, bool turned, float* cells) {
  #pragma unroll
  for (int x = 0; x < 2; x++) {
    #pragma unroll
    for (int p = 0; p < 16; p++) twist_16(re[x][p], im[x][p], p, 1.f);
    butterflies<16>(re[x], im[x]);
  }
  turn_first(re, im, at, turned, 1.f);
  if constexpr (PARTS > 1) {
    __syncthreads();
    #pragma unroll
    for (int j = 0; j < 16; j++) *cell(cells, at, at.q, j) = make_float4(re[0][j], im[0][j], re[1][j], im[1][j]);
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < 16; i++) {
      const float4 v = *cell(cells, at, i / (16 / PARTS), at.q * (16 / PARTS) + i % (16 / PARTS));
      re[0][i] = v.x; im[0][i] = v.y; re[1][i] = v.z; im[1][i] = v.w;
    }
    butterflies<PARTS>(re[0], im[0]); butterflies<PARTS>(re[1], im[1]);
    if (turned) turn_second(re, im, at, 1.f);
  }
}
__device__ __forceinline__ void columns_inverse(float (&re)[2][16], float (&im)[2][16], const Place& at, bool turned, float* cells) {
  if constexpr (PARTS > 1) {
    if (turned) turn_second(re, im, at, -1.f);
    butterflies<PARTS>(im[0], re[0]); butterflies<PARTS>(im[1], re[1]);
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < 16; i++)
      *cell(cells, at, i / (16 / PARTS), at.q * (16 / PARTS) + i % (16 / PARTS)) = make_float4(re[0][i], im[0][i], re[1][i], im[1][i]);
    __syncthreads();
    #pragma unroll
    for (int j = 0; j < 16; j++) {
      const float4 v = *cell(cells, at, at.q, j);
      re[0][j] = v.x; im[0][j] = v.y; re[1][j] = v.z; im[1][j] = v.w;
    }
  }
  turn_first(re, im, at, turned, -1.f);
  #pragma unroll
  for (int x = 0; x < 2; x++) {
    butterflies<16>(im[x], re[x]);
    #pragma unroll
    for (int p = 0; p < 16; p++) twist_16(re[x][p], im[x][p], p, -1.f);
  }
}
__device__ __forceinline__ int row_at(const Place& at, int i) { return at.q * (16 / PARTS) + i % (16 / PARTS) + 16 * (i / (16 / PARTS)); }

// Two neighbours of a row, in one word where `whole`.
__device__ __forceinline__ bool even(const Rows& r, int length) { return ((((u64)r.at >> 1) | (u64)r.batch | (u64)r.channel | (u64)length) & 1) == 0; }
// The elements of a lane from rows p1, zeros beyond the length; all loads are under way before the first is used.
__device__ __forceinline__ void load_columns(u32 (&v)[16], const u16* row, const Place& at, int length, bool whole) {
  if (whole) {
    #pragma unroll
    for (int p = 0; p < 16; p++) { const i64 n = at.n + (i64)(p * PARTS + at.q) * R; v[p] = __ldcs((const u32*)(row + (n < length ? n : 0))); }
    #pragma unroll
    for (int p = 0; p < 16; p++) { const i64 n = at.n + (i64)(p * PARTS + at.q) * R; if (n >= length) v[p] = 0; }
  } else {
    #pragma unroll
    for (int p = 0; p < 16; p++) {
      const i64 n = at.n + (i64)(p * PARTS + at.q) * R;
      v[p] = (n < length ? row[n] : 0) | (n + 1 < length ? (u32)row[n + 1] << 16 : 0);
    }
  }
}

// Peaks of 32 parts of every row, as float32 whatever the rows are. Words: u, pre, peaks; strides (batch, channel) of u, pre; length, first row.
#ifdef ONLY_row_peaks
extern "C" __global__ void __launch_bounds__(256) row_peaks(const __grid_constant__ Words<9> w) {
  __shared__ u32 peaks[8];
  const Rows u = rows_of(w, 0, 3), pre = rows_of(w, 1, 5);
  const int length = integer(w, 7), per = (length + 127) / 128 * 4, begin = blockIdx.x * per, end = min_(length, begin + per);
  const bool u_whole = aligned(u, length), pre_whole = PRE && aligned(pre, length);
  const i64 b = wide(w, 8) + blockIdx.z;
  const u16* from = u.at + b * u.batch + blockIdx.y * u.channel;
  const u16* gates = pre.at + b * pre.batch + blockIdx.y * pre.channel;
  u32 peak = 0;
  #pragma unroll 4
  for (int n = begin + 4 * threadIdx.x; n < end; n += 1024) {
    uint2 gate = {0, 0};
    if constexpr (PRE) gate = four_elements(gates, n, length, pre_whole);
    peak = raise(peak, four_elements(from, n, length, u_whole), gate);
  }
  peak = warp_peak(peak);
  if ((threadIdx.x & 31) == 0) peaks[threadIdx.x >> 5] = peak;
  __syncthreads();
  peak = __reduce_max_sync(~0u, peaks[threadIdx.x & 7]);
  if (threadIdx.x == 0) pointer<u32>(w, 2)[(b * gridDim.y + blockIdx.y) * 32 + blockIdx.x] = CONVERTED ? peak : __float_as_uint(low_half(peak));
}
#endif
__device__ __forceinline__ float row_scale(const u32* peaks, i64 row) { return scale_of_single(__reduce_max_sync(~0u, peaks[row * 32 + (threadIdx.x & 31)]), 1); }

// Words: u, pre, peaks, rows; strides of u, pre; batch, length, first row; the peaks of partners, exponents (PARTNER).
//
// PARTNER: what comes of the rows is multiplied by what comes of others. The two rows of a pair then must have one unit together with their
// partners, the smaller one, whose exponent is written down.
#ifdef ONLY_columns_half
extern "C" __global__ void __launch_bounds__(WIDTH, 512 / WIDTH) columns_half(const __grid_constant__ Words<13> w) {
  extern __shared__ float cells[];
  const Place at = place_of();
  const Rows u = rows_of(w, 0, 4), pre = rows_of(w, 1, 6);
  const int batch = integer(w, 8), length = integer(w, 9);
  const i64 d = blockIdx.y, channels = gridDim.y;
  const bool u_whole = even(u, length), pre_whole = PRE && even(pre, length);
  float re[2][16], im[2][16];
  int lower[ROWS] = {};
  if constexpr (PARTNER) {
    int least = 4096;
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
      const i64 b = wide(w, 10) + (i64)blockIdx.z * ROWS + r, row = b < batch ? b * channels + d : d;
      lower[r] = exponent(row_scale(pointer<const u32>(w, 2), row)) + exponent(row_scale(pointer<const u32>(w, 11), row));
      if (b < batch) least = min_(least, lower[r]);
    }
    #pragma unroll
    for (int r = 0; r < ROWS; r++) lower[r] = min_(least - lower[r], 0);
    if (blockIdx.x == 0 && threadIdx.x == 0) pointer<int>(w, 12)[blockIdx.z * channels + d] = least;
  }
  #pragma unroll
  for (int r = 0; r < ROWS; r++) {
    const i64 b = wide(w, 10) + (i64)blockIdx.z * ROWS + r;
    const bool inside = b < batch;
    float scale = FORWARD * row_scale(pointer<const u32>(w, 2), inside ? b * channels + d : d);
    if constexpr (PARTNER) scale *= power(lower[r]);
    const u16* from = u.at + (inside ? b : 0) * u.batch + d * u.channel;
    const u16* gates = pre.at + (inside ? b : 0) * pre.batch + d * pre.channel;
    u32 v[16], gate[16];
    load_columns(v, from, at, inside ? length : 0, u_whole);
    if constexpr (PRE) load_columns(gate, gates, at, inside ? length : 0, pre_whole);
    #pragma unroll
    for (int p = 0; p < 16; p++) {
      float a = first(v[p]) * scale, c = second(v[p]) * scale;
      if constexpr (PRE) { a *= first(gate[p]); c *= second(gate[p]); }
      if (r == 0) { re[0][p] = a; re[1][p] = c; im[0][p] = im[1][p] = 0.f; } else { im[0][p] = a; im[1][p] = c; }
    }
  }
  columns_forward(re, im, at, true, cells);
  u16* out = pointer<u16>(w, 3) + (2 * (i64)blockIdx.z * channels + d) * S * R + at.n;
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    u16* to = out + (i64)row_at(at, i) * R;
    *(u32*)to = packed(re[0][i], re[1][i]);
    *(u32*)(to + channels * S * R) = packed(im[0][i], im[1][i]);
  }
}
#endif

// Words: rows, peaks, gains, post, y; strides of post, y; batch, length, first row.
#ifdef ONLY_columns_back_half
extern "C" __global__ void __launch_bounds__(WIDTH, 512 / WIDTH) columns_back_half(const __grid_constant__ Words<12> w) {
  extern __shared__ float cells[];
  const Place at = place_of();
  const Rows post = rows_of(w, 3, 5), y = rows_of(w, 4, 7);
  const int batch = integer(w, 9), length = integer(w, 10);
  const i64 d = blockIdx.y, channels = gridDim.y;
  const bool post_whole = POST && even(post, length), y_whole = even(y, length);
  const u16* in = pointer<const u16>(w, 0) + (2 * (i64)blockIdx.z * channels + d) * S * R + at.n;
  float re[2][16], im[2][16];
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    const u16* from = in + (i64)row_at(at, i) * R;
    const u32 a = *(const u32*)from, b = *(const u32*)(from + channels * S * R);
    re[0][i] = low_half(a); re[1][i] = high_half(a); im[0][i] = low_half(b); im[1][i] = high_half(b);
  }
  columns_inverse(re, im, at, true, cells);
  #pragma unroll
  for (int r = 0; r < ROWS; r++) {
    const i64 b = wide(w, 11) + (i64)blockIdx.z * ROWS + r;
    if (b >= batch) break;
    const float factor = pointer<const float>(w, 2)[d] / (FORWARD * S * row_scale(pointer<const u32>(w, 1), b * channels + d));
    u16* to = (u16*)y.at + b * y.batch + d * y.channel;
    const u16* gates = post.at + b * post.batch + d * post.channel;
    u32 gate[16];
    if constexpr (POST) load_columns(gate, gates, at, length, post_whole);
    #pragma unroll
    for (int p = 0; p < 16; p++) {
      const i64 n = at.n + (i64)(p * PARTS + at.q) * R;
      float a = (r ? im[0][p] : re[0][p]) * factor, c = (r ? im[1][p] : re[1][p]) * factor;
      if constexpr (POST) { a *= first(gate[p]); c *= second(gate[p]); }
      const u32 v = stored(a, c);
      if (y_whole) { if (n < length) __stcs((u32*)(to + n), v); }
      else { if (n < length) to[n] = (u16)v; if (n + 1 < length) to[n + 1] = (u16)(v >> 16); }
    }
  }
}
#endif

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
// Words k, skip, out; channel stride, tap stride, taps, origin, reach, circular, skip stride, whether there is a skip; sums.
__device__ __forceinline__ Filter filter_of(const Words<12>& w) {
  const i64 d = blockIdx.y;
  return {pointer<const float>(w, 0) + d * wide(w, 3), wide(w, 4), integer(w, 5), integer(w, 6), integer(w, 7), integer(w, 8),
          integer(w, 10) ? pointer<const float>(w, 1)[d * wide(w, 9)] : 0.f};
}
// Sums of magnitudes of 32 parts of every filter.
#ifdef ONLY_filter_sums
extern "C" __global__ void __launch_bounds__(256) filter_sums(const __grid_constant__ Words<12> w) {
  __shared__ float sums[32];
  const Filter k = filter_of(w);
  constexpr int PER = S * R / 32;
  float sum = 0.f;
  for (int i = threadIdx.x; i < PER; i += 256) { const float2 v = tap(k, (i64)blockIdx.x * PER + i); sum += fabsf(v.x) + fabsf(v.y); }
  sum = block_sum(sum, sums);
  if (threadIdx.x == 0) pointer<float>(w, 11)[blockIdx.y * 32 + blockIdx.x] = sum;
}
#endif
#ifdef ONLY_columns_of_filter
extern "C" __global__ void __launch_bounds__(WIDTH, 512 / WIDTH) columns_of_filter(const __grid_constant__ Words<12> w) {
  extern __shared__ float cells[];
  const Place at = place_of();
  const Filter k = filter_of(w);
  float re[2][16], im[2][16];
  #pragma unroll
  for (int p = 0; p < 16; p++)
    #pragma unroll
    for (int x = 0; x < 2; x++) {
      const float2 v = tap(k, at.n + x + (i64)(p * PARTS + at.q) * R);
      re[x][p] = PAIRED ? v.x + v.y : v.x;
      im[x][p] = PAIRED ? 0.f : v.y;
    }
  columns_forward(re, im, at, false, cells);
  float2* out = pointer<float2>(w, 2) + (i64)blockIdx.y * S * R + at.n;
  // Of a real cyclic sequence the first half of the rows is enough (spectrum-half.cu).
  #pragma unroll
  for (int i = 0; i < 16; i++) if (!PAIRED || row_at(at, i) <= S / 2) *(float4*)(out + (i64)row_at(at, i) * R) = make_float4(re[0][i], im[0][i], re[1][i], im[1][i]);
}
#endif

// Words: rows, dk, channel stride, tap stride, taps, origin, where the second period of a circular filter in a twisted transform begins (else N),
// whether to add that.
#ifdef ONLY_columns_of_gradient
extern "C" __global__ void __launch_bounds__(WIDTH, 512 / WIDTH) columns_of_gradient(const __grid_constant__ Words<8> w) {
  extern __shared__ float cells[];
  const Place at = place_of();
  const int taps = integer(w, 4), origin = integer(w, 5), second = integer(w, 6), add = integer(w, 7);
  const i64 step = wide(w, 3);
  const float2* in = pointer<const float2>(w, 0) + (i64)blockIdx.y * S * R + at.n;
  float* dk = pointer<float>(w, 1) + blockIdx.y * wide(w, 2);
  float re[2][16], im[2][16];
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    const float4 v = *(const float4*)(in + (i64)row_at(at, i) * R);
    re[0][i] = v.x; im[0][i] = v.y; re[1][i] = v.z; im[1][i] = v.w;
  }
  columns_inverse(re, im, at, false, cells);
  constexpr float BY = 1.f / (FORWARD * FORWARD * S);
  #pragma unroll
  for (int p = 0; p < 16; p++)
    #pragma unroll
    for (int x = 0; x < 2; x++) {
      const int n = at.n + x + (p * PARTS + at.q) * R, ahead = origin + n, behind = ahead - S * R;
      if (add) {
        if (n >= second && n - second < taps) dk[(n - second) * step] += im[x][p] * BY;
        continue;
      }
      if (ahead < taps) dk[ahead * step] = re[x][p] * BY;
      if (behind >= 0 && behind < origin) dk[behind * step] = (PAIRED ? re[x][p] : im[x][p]) * BY;
    }
}
#endif
