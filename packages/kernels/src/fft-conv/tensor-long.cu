// Convolutions whose transform spans many blocks: N = S R points as S = 16 PARTS rows of R = 256 M, in f16 between three passes over memory.
// In front: `#define FACTOR m`, `#define PARTS 1|2|4|8|16`, `#define TWISTED 0|1` (one real sequence modulo x^N - i; otherwise two are the parts of one
// cyclic transform), `SIDE` s, `COLUMNS` 32|64, `CREWS` n, `PARTNER` 0|1, what tensor-sequences.cu needs, butterflies.cu, tensor-instructions.cu,
// tensor-sequences.cu.
//
// x^N - i (or 1) splits into S factors x^R - root. Row j, the remainder by the j-th, turned so that it goes through tensor-block.cu as a cyclic
// transform, is W_N^((j + d) n) sum_p x[n + p R] W_S^((j + d) p), d = 1/4 or 0. With p = p1 PARTS + q and j = j1 + 16 j2 that is
//   row j = W_N^((j + d) n) sum_q W_PARTS^(j2 q) W_S^((j1 + d) q) sum_p1 W_16^(j1 p1) W_16^(d p1) x[n + (p1 PARTS + q) R].
// COLUMNS / 2 neighbouring threads hold so many columns n of one q, later of 16 / PARTS of the j1, two each, in float32. A crew of WIDTH threads takes
// SIDE times as many columns; a block has CREWS crews, which work on their own.

constexpr int R = 256 * FACTOR, S = 16 * PARTS, LANES = COLUMNS / 2, WIDTH = LANES * PARTS * SIDE, SEQUENCES = TWISTED ? 1 : 2;
constexpr float SHIFT = TWISTED ? 0.25f : 0.f;
// A power of two near 1 / sqrt(S).
constexpr float FORWARD = PARTS == 16 ? 1.f / 16 : PARTS >= 4 ? 1.f / 8 : 1.f / 4;

// W_16^(d p1), `sign` -1 turns back.
__device__ __forceinline__ void twist_16(float& re, float& im, int p1, float sign) {
  if (!TWISTED || p1 == 0) return;
  float c, s;
  sincospif(-2.f * SHIFT / 16.f * p1, &s, &c);
  times(re, im, c, sign * s);
}
// Where a thread stands in its crew, and what it works on.
struct Crew {
  int which, tid;
  __device__ __forceinline__ Crew() : which(CREWS > 1 ? __shfl_sync(~0u, threadIdx.x / WIDTH, 0) : 0), tid(CREWS > 1 ? threadIdx.x - which * WIDTH : threadIdx.x) {}
  __device__ __forceinline__ void meet_all() const { if constexpr (CREWS == 1) __syncthreads(); else meet(1 + which, WIDTH); }
};
struct Place { int lane, q, side, n; };
__device__ __forceinline__ Place place_of(const Crew& crew, int block) {
  const int part = crew.tid / LANES, lane = crew.tid % LANES, side = part / PARTS;
  return {lane, part % PARTS, side, (block * SIDE + side) * COLUMNS + 2 * lane};
}
__device__ __forceinline__ float4* cell(float* cells, const Place& at, int q, int j1) {
  return (float4*)cells + ((at.side * PARTS + q) * 16 + j1) * LANES + at.lane;
}

// The factors W_S^((j1 + d) q), the same for all columns: two to a float4, eight of those for every q. Ends with a barrier.
__device__ __forceinline__ const float4* make_roots() {
  __shared__ float4 roots[8 * PARTS];
  for (int i = threadIdx.x; i < 16 * PARTS; i += blockDim.x) {
    float c, s;
    sincospif(-2.f * ((i & 15) + SHIFT) * (i >> 4) / S, &s, &c);
    ((float2*)roots)[i] = make_float2(c, s);
  }
  __syncthreads();
  return roots;
}
// Times those factors; `sign` -1 turns back.
__device__ __forceinline__ void turn_between(float (&re)[2][16], float (&im)[2][16], const float4* roots, const Place& at, float sign) {
  #pragma unroll
  for (int j = 0; j < 16; j += 2) {
    const float4 w = roots[8 * at.q + j / 2];
    #pragma unroll
    for (int x = 0; x < 2; x++) { times(re[x][j], im[x][j], w.x, sign * w.y); times(re[x][j + 1], im[x][j + 1], w.z, sign * w.w); }
  }
}
// Rows of a warp: element g + k 16 / PARTS is row q 16 / PARTS + g + 16 k.
__device__ __forceinline__ constexpr int row_of(int i) { return i % (16 / PARTS) + 16 * (i / (16 / PARTS)); }
__device__ __forceinline__ int row_at(const Place& at, int i) { return at.q * (16 / PARTS) + row_of(i); }
// exp(2 pi i x) to 20 bits, enough for results of 11.
__device__ __forceinline__ void coarse_root(float& c, float& s, float x) {
  const float angle = 6.2831853f * (x - rintf(x));
  s = __sinf(angle); c = __cosf(angle);
}
// Rows times W_N^((j + d) n).
__device__ __forceinline__ void turn_columns(float (&re)[2][16], float (&im)[2][16], const Place& at, float sign) {
  constexpr float STEP = -1.f / ((float)S * R), ANGLE = STEP * 6.2831853f;
  const float first = at.q * (16 / PARTS) + SHIFT;
  float c, s, by_c, by_s, far_c, far_s;
  coarse_root(c, s, STEP * first * at.n);
  coarse_root(by_c, by_s, STEP * at.n);
  coarse_root(far_c, far_s, 16.f * STEP * at.n);
  #pragma unroll
  for (int g = 0; g < 16 / PARTS; g++) {
    float wc = c, ws = s;
    #pragma unroll
    for (int k = 0; k < PARTS; k++) {
      const int i = g + k * (16 / PARTS);
      // A column and its neighbour are so close that the square of their angle does not count.
      const float angle = first * ANGLE + row_of(i) * ANGLE;
      times(re[0][i], im[0][i], wc, sign * ws);
      times(re[1][i], im[1][i], wc - ws * angle, sign * (ws + wc * angle));
      if (k + 1 < PARTS) times(wc, ws, far_c, far_s);
    }
    if (g + 1 < 16 / PARTS) times(c, s, by_c, by_s);
  }
}

// From x[p1] to rows. Not `turned`: without the factors W_N^((j + d) n). Calls `between` when it holds nothing in registers, where there are parts, and
// `after` when all threads of the crew have come out of that.
struct Nothing { __device__ __forceinline__ void operator()() const {} };
template <typename F = Nothing, typename G = Nothing>
__device__ __forceinline__ void columns_forward(float (&re)[2][16], float (&im)[2][16], const Crew& crew, const Place& at, bool turned, const float4* roots, float* cells, F between = F(), G after = G()) {
  #pragma unroll
  for (int x = 0; x < 2; x++) {
    #pragma unroll
    for (int p = 0; p < 16; p++) twist_16(re[x][p], im[x][p], p, 1.f);
    butterflies<16>(re[x], im[x]);
  }
  if constexpr (PARTS > 1) {
    turn_between(re, im, roots, at, 1.f);
    crew.meet_all();
    #pragma unroll
    for (int j = 0; j < 16; j++) *cell(cells, at, at.q, j) = make_float4(re[0][j], im[0][j], re[1][j], im[1][j]);
    between();
    crew.meet_all();
    after();
    #pragma unroll
    for (int i = 0; i < 16; i++) {
      const float4 v = *cell(cells, at, i / (16 / PARTS), at.q * (16 / PARTS) + i % (16 / PARTS));
      re[0][i] = v.x; im[0][i] = v.y; re[1][i] = v.z; im[1][i] = v.w;
    }
    butterflies<PARTS>(re[0], im[0]); butterflies<PARTS>(re[1], im[1]);
  }
  if (turned) turn_columns(re, im, at, 1.f);
}
__device__ __forceinline__ void columns_inverse(float (&re)[2][16], float (&im)[2][16], const Crew& crew, const Place& at, bool turned, const float4* roots, float* cells) {
  if (turned) turn_columns(re, im, at, -1.f);
  if constexpr (PARTS > 1) {
    butterflies<PARTS>(im[0], re[0]); butterflies<PARTS>(im[1], re[1]);
    crew.meet_all();
    #pragma unroll
    for (int i = 0; i < 16; i++)
      *cell(cells, at, i / (16 / PARTS), at.q * (16 / PARTS) + i % (16 / PARTS)) = make_float4(re[0][i], im[0][i], re[1][i], im[1][i]);
    crew.meet_all();
    #pragma unroll
    for (int j = 0; j < 16; j++) {
      const float4 v = *cell(cells, at, at.q, j);
      re[0][j] = v.x; im[0][j] = v.y; re[1][j] = v.z; im[1][j] = v.w;
    }
    turn_between(re, im, roots, at, -1.f);
  }
  #pragma unroll
  for (int x = 0; x < 2; x++) {
    butterflies<16>(im[x], re[x]);
    #pragma unroll
    for (int p = 0; p < 16; p++) twist_16(re[x][p], im[x][p], p, -1.f);
  }
}

// Whether two neighbours lie in one aligned word of a row.
__device__ __forceinline__ bool even(const Rows& r, int length) { return ((((u64)r.at >> 1) | (u64)r.batch | (u64)r.channel | (u64)length) & 1) == 0; }
// Where a lane's elements of row p1 = 0 lie, those of the others p1 PARTS R further on; and how many there are from there.
__device__ __forceinline__ i64 first_element(const Place& at) { return at.n + (i64)at.q * R; }
// The elements of a lane from rows p1, zeros beyond the length; all loads are under way before the first is used.
__device__ __forceinline__ void load_columns(u32 (&v)[16], const u16* row, const Place& at, int length, bool whole) {
  const int left = length - (int)first_element(at);
  row += first_element(at);
  kept_as_it_is(row);
  #pragma unroll
  for (int p = 0; p < 16; p++) v[p] = 0;
  if (whole) {
    #pragma unroll
    for (int p = 0; p < 16; p++) if (p * PARTS * R < left) v[p] = __ldcs((const u32*)(row + p * PARTS * R));
  } else {
    #pragma unroll
    for (int p = 0; p < 16; p++) {
      if (p * PARTS * R < left) v[p] = row[p * PARTS * R];
      if (p * PARTS * R + 1 < left) v[p] |= (u32)row[p * PARTS * R + 1] << 16;
    }
  }
}
__device__ __forceinline__ void store_columns(u16* row, const u32 (&v)[16], const Place& at, int length, bool whole) {
  const int left = length - (int)first_element(at);
  row += first_element(at);
  kept_as_it_is(row);
  if (whole) {
    #pragma unroll
    for (int p = 0; p < 16; p++) if (p * PARTS * R < left) __stcs((u32*)(row + p * PARTS * R), v[p]);
  } else {
    #pragma unroll
    for (int p = 0; p < 16; p++) {
      if (p * PARTS * R < left) row[p * PARTS * R] = (u16)v[p];
      if (p * PARTS * R + 1 < left) row[p * PARTS * R + 1] = (u16)(v[p] >> 16);
    }
  }
}

// Peaks that warps find in one of 32 parts of a row, as float32 whatever the row is.
__device__ __forceinline__ void measure(const Rows& u, const Rows& pre, i64 b, i64 d, int part, int length, int tid, int threads, u32* found) {
  // Loads of 16 bytes that are under way at once.
  constexpr int EACH = PRE ? 4 : 8;
  const int per = (length + 255) / 256 * 8, begin = part * per, end = min_(length, begin + per);
  const u16* from = u.at + b * u.batch + d * u.channel;
  const u16* gates = pre.at + b * pre.batch + d * pre.channel;
  u32 peak = 0;
  if ((((u64)from >> 1 | (PRE ? (u64)gates >> 1 : 0) | length) & 7) == 0) {
    #pragma unroll 1
    for (int first = begin + 8 * tid; first < end; first += 8 * EACH * threads) {
      uint4 v[EACH], gate[EACH];
      #pragma unroll
      for (int i = 0; i < EACH; i++) {
        // Measured twice rather than not at once.
        const int n = first + 8 * threads * i < end ? first + 8 * threads * i : first;
        v[i] = load_passing((const uint4*)(from + n));
        gate[i] = PRE ? load_passing((const uint4*)(gates + n)) : v[i];
      }
      #pragma unroll
      for (int i = 0; i < EACH; i++) {
        peak = raise(peak, make_uint2(v[i].x, v[i].y), make_uint2(gate[i].x, gate[i].y));
        peak = raise(peak, make_uint2(v[i].z, v[i].w), make_uint2(gate[i].z, gate[i].w));
      }
    }
  } else {
    const bool u_whole = aligned(u, length), pre_whole = PRE && aligned(pre, length);
    #pragma unroll 4
    for (int n = begin + 4 * tid; n < end; n += 4 * threads) {
      uint2 gate = {0, 0};
      if constexpr (PRE) gate = four_elements(gates, n, length, pre_whole);
      peak = raise(peak, four_elements(from, n, length, u_whole), gate);
    }
  }
  peak = warp_peak(peak);
  if ((tid & 31) == 0) found[tid >> 5] = CONVERTED ? peak : __float_as_uint(low_half(peak));
}
// Words: u, pre, peaks; strides (batch, channel) of u, pre; length, first row.
#ifdef ONLY_row_peaks
extern "C" __global__ void __launch_bounds__(256) row_peaks(const __grid_constant__ Words<9> w) {
  __shared__ u32 found[8];
  const i64 b = wide(w, 8) + blockIdx.z;
  measure(rows_of(w, 0, 3), rows_of(w, 1, 5), b, blockIdx.y, blockIdx.x, integer(w, 7), threadIdx.x, 256, found);
  __syncthreads();
  const u32 peak = __reduce_max_sync(~0u, found[threadIdx.x & 7]);
  if (threadIdx.x == 0) pointer<u32>(w, 2)[(b * gridDim.y + blockIdx.y) * 32 + blockIdx.x] = peak;
}
#endif
__device__ __forceinline__ float row_scale(const u32* peaks, i64 row) { return scale_of_single(__reduce_max_sync(~0u, peaks[row * 32 + (threadIdx.x & 31)]), 1); }

// Sequences of a channel and what gates them; `first`: which of the batch are to be transformed.
struct Lines {
  Rows of, gate;
  int batch, length;
  i64 first, d, channels;
  __device__ __forceinline__ i64 b(int r) const { return first + r; }
  __device__ __forceinline__ i64 row(int r) const { return (b(r) < batch ? b(r) : 0) * channels + d; }
  __device__ __forceinline__ const u16* line(int r) const { return of.at + (b(r) < batch ? b(r) : 0) * of.batch + d * of.channel; }
  __device__ __forceinline__ const u16* gates(int r) const { return gate.at + (b(r) < batch ? b(r) : 0) * gate.batch + d * gate.channel; }
};
// By what they are multiplied; and with PARTNER the exponent of the unit that they have then.
//
// PARTNER: what comes of the rows is multiplied by what comes of others. The two rows of a pair then must have one unit together with their
// partners, the smaller one.
__device__ __forceinline__ int scales_of(const Lines& u, const u32* peaks, const u32* partners, float (&scale)[SEQUENCES]) {
  #pragma unroll
  for (int r = 0; r < SEQUENCES; r++) scale[r] = row_scale(peaks, u.row(r));
  if constexpr (!PARTNER) return 0;
  int exponents[SEQUENCES], least = 4096;
  #pragma unroll
  for (int r = 0; r < SEQUENCES; r++) {
    exponents[r] = exponent(scale[r]) + exponent(row_scale(partners, u.row(r)));
    if (u.b(r) < u.batch) least = min_(least, exponents[r]);
  }
  #pragma unroll
  for (int r = 0; r < SEQUENCES; r++) scale[r] *= power(min_(least - exponents[r], 0));
  return least;
}
// What multiplies them in turn, and where the exponents of units go (PARTNER).
struct Partners { const u32* peaks; int* exponent; };
// Their columns to rows: real parts at `out`, imaginary ones `apart` further on.
template <typename F = Nothing, typename G = Nothing>
__device__ __forceinline__ void columns_to_rows(const Lines& u, const u32* peaks, const Partners& partners, u16* out, i64 apart, const Crew& crew, const Place& at, const float4* roots, float* cells, F between = F(), G after = G()) {
  const bool whole = even(u.of, u.length), gate_whole = PRE && even(u.gate, u.length);
  u32 v[SEQUENCES][16], gate[SEQUENCES][16];
  auto load = [&](int r) {
    const int length = u.b(r) < u.batch ? u.length : 0;
    load_columns(v[r], u.line(r), at, length, whole);
    if constexpr (PRE) load_columns(gate[r], u.gates(r), at, length, gate_whole);
  };
  // Loads are under way before peaks are waited for, but gated ones of several crews, which have no registers for that.
  constexpr bool AT_ONCE = !PRE || CREWS == 1;
  if constexpr (AT_ONCE)
    #pragma unroll
    for (int r = 0; r < SEQUENCES; r++) load(r);
  float scale[SEQUENCES];
  const int unit = scales_of(u, peaks, partners.peaks, scale);
  if (PARTNER && at.n == 0 && at.q == 0) *partners.exponent = unit;
  float re[2][16], im[2][16];
  #pragma unroll
  for (int r = 0; r < SEQUENCES; r++) {
    if constexpr (!AT_ONCE) load(r);
    const float by = FORWARD * scale[r];
    #pragma unroll
    for (int p = 0; p < 16; p++) {
      float a = first(v[r][p]) * by, c = second(v[r][p]) * by;
      if constexpr (PRE) { a *= first(gate[r][p]); c *= second(gate[r][p]); }
      if (r == 0) { re[0][p] = a; re[1][p] = c; im[0][p] = im[1][p] = 0.f; } else { im[0][p] = a; im[1][p] = c; }
    }
  }
  columns_forward(re, im, crew, at, true, roots, cells, between, after);
  out += at.n + at.q * (16 / PARTS) * R;
  u16* imaginary = out + apart;
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    const u32 a = packed(re[0][i], re[1][i]), b = packed(im[0][i], im[1][i]);
    // In passes of their own nobody reads them soon.
    if constexpr (CREWS == 1) { __stcs((u32*)(out + row_of(i) * R), a); __stcs((u32*)(imaginary + row_of(i) * R), b); }
    else { *(u32*)(out + row_of(i) * R) = a; *(u32*)(imaginary + row_of(i) * R) = b; }
  }
}
// And back, times `gain` and a gate.
__device__ __forceinline__ void rows_to_columns(const u16* in, i64 apart, const Lines& y, const u32* peaks, float gain, const Crew& crew, const Place& at, const float4* roots, float* cells) {
  const bool whole = even(y.of, y.length), gate_whole = POST && even(y.gate, y.length);
  float re[2][16], im[2][16];
  in += at.n + at.q * (16 / PARTS) * R;
  const u16* imaginary = in + apart;
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    const u32 a = *(const u32*)(in + row_of(i) * R), b = *(const u32*)(imaginary + row_of(i) * R);
    re[0][i] = low_half(a); re[1][i] = high_half(a); im[0][i] = low_half(b); im[1][i] = high_half(b);
  }
  float scale[SEQUENCES];
  #pragma unroll
  for (int r = 0; r < SEQUENCES; r++) scale[r] = row_scale(peaks, y.row(r));
  columns_inverse(re, im, crew, at, true, roots, cells);
  #pragma unroll
  for (int r = 0; r < SEQUENCES; r++) {
    if (y.b(r) >= y.batch) break;
    const float factor = gain / (FORWARD * S * scale[r]);
    u32 v[16], gate[16];
    if constexpr (POST) load_columns(gate, y.gates(r), at, y.length, gate_whole);
    #pragma unroll
    for (int p = 0; p < 16; p++) {
      float a = (r ? im[0][p] : re[0][p]) * factor, c = (r ? im[1][p] : re[1][p]) * factor;
      if constexpr (POST) { a *= first(gate[p]); c *= second(gate[p]); }
      v[p] = stored(a, c);
    }
    store_columns((u16*)y.line(r), v, at, y.length, whole);
  }
}

// Words: u, pre, peaks, rows; strides of u, pre; batch, length, first row; the peaks of partners, exponents (PARTNER).
#ifdef ONLY_columns_half
extern "C" __global__ void __launch_bounds__(WIDTH, 512 / WIDTH) columns_half(const __grid_constant__ Words<13> w) {
  extern __shared__ float cells[];
  const i64 channels = gridDim.y;
  const Lines u = {rows_of(w, 0, 4), rows_of(w, 1, 6), integer(w, 8), integer(w, 9), wide(w, 10) + (i64)blockIdx.z * SEQUENCES, blockIdx.y, channels};
  const Partners partners = {pointer<const u32>(w, 11), pointer<int>(w, 12) + blockIdx.z * channels + u.d};
  columns_to_rows(u, pointer<const u32>(w, 2), partners, pointer<u16>(w, 3) + (2 * (i64)blockIdx.z * channels + u.d) * S * R, channels * S * R, Crew(), place_of(Crew(), blockIdx.x), make_roots(), cells);
}
#endif

// Words: rows, peaks, gains, post, y; strides of post, y; batch, length, first row.
#ifdef ONLY_columns_back_half
extern "C" __global__ void __launch_bounds__(WIDTH, 512 / WIDTH) columns_back_half(const __grid_constant__ Words<12> w) {
  extern __shared__ float cells[];
  const i64 channels = gridDim.y;
  const Lines y = {rows_of(w, 4, 7), rows_of(w, 3, 5), integer(w, 9), integer(w, 10), wide(w, 11) + (i64)blockIdx.z * SEQUENCES, blockIdx.y, channels};
  rows_to_columns(pointer<const u16>(w, 0) + (2 * (i64)blockIdx.z * channels + y.d) * S * R, channels * S * R, y, pointer<const u32>(w, 1), pointer<const float>(w, 2)[y.d], Crew(), place_of(Crew(), blockIdx.x), make_roots(), cells);
}
#endif
