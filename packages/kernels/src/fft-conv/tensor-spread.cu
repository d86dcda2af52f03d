// Transforms of N S points that a cluster of S blocks holds, N = 256 M of them in each: `#define SPLIT s` (S: 2, 4 or 8), `#define TWISTED 0|1` (one
// real sequence modulo x^(N S) - i; otherwise two are the parts of one cyclic transform). In front: butterflies.cu, what tensor-columns.cu needs with
// PAIRED 1, tensor-columns.cu, cluster-instructions.cu.
//
// x^(N S) - i (or 1) splits into S factors x^N - root. Block j takes the remainder by the j-th as a cyclic transform:
//   z[n] = W_NS^((j + d) n) sum_p x[n + p N] W_S^((j + d) p), d = 1/4 or 0,
// of which it has the coefficients k = j + S k'. So every block reads the columns n of one S-th of [0, N) from all S parts of a sequence, makes
// DFTs of S points of them in float32, and writes result j into the memory of block j. On the way back it fetches its columns from all blocks.
//
// A thread has columns in fours (quads): 16 M i + 4 t of 4 M neighbouring threads t; block `rank` has i = rank 16/S + ...; `#define SIDES 1|2`: a
// block has SIDES 4 M threads.

constexpr int S = SPLIT, ALL_QUADS = 16 / S, QUADS = ALL_QUADS / SIDES, SEQUENCES = TWISTED ? 1 : 2;
constexpr float SHIFT = TWISTED ? 0.25f : 0.f;
// A power of two near 1 / sqrt(S).
constexpr float FORWARD = S == 8 ? 1.f / 4 : 1.f / 2;

// exp(-2 pi i x), x known to the compiler.
__device__ __forceinline__ void constant_root(float& c, float& s, float x) { sincospif(-2.f * x, &s, &c); }

// W_NS^((j + d) n) of four neighbouring columns, for one j after the other, times `scale`.
struct Turns {
  float c, s, by_c, by_s;
  __device__ __forceinline__ Turns(int n, float scale) {
    sincospif(-2.f / (N * S) * n, &by_s, &by_c);
    c = scale; s = 0.f;
    if constexpr (TWISTED) { sincospif(-2.f * SHIFT / (N * S) * n, &s, &c); c *= scale; s *= scale; }
  }
  // Neighbours are so close that the square of their angle does not count.
  __device__ __forceinline__ void get(float& re, float& im, int j, int x) const {
    const float angle = (j + SHIFT) * x * (-6.2831853f / (N * S));
    re = c - s * angle; im = s + c * angle;
  }
  __device__ __forceinline__ void next() { times(c, s, by_c, by_s); }
};

// DFTs over the elements of a quad, in place.
typedef float Quad[4][S];
__device__ __forceinline__ void spread(Quad& re, Quad& im) {
  // As many columns at once as there are elements for.
  constexpr int AT_ONCE = S == 8 ? 2 : 4;
  #pragma unroll
  for (int first = 0; first < 4; first += AT_ONCE) {
    float a[16], b[16];
    #pragma unroll
    for (int i = 0; i < 16; i++) a[i] = b[i] = 0.f;
    #pragma unroll
    for (int x = 0; x < AT_ONCE; x++)
      #pragma unroll
      for (int p = 0; p < S; p++) { a[x + p * (16 / S)] = re[first + x][p]; b[x + p * (16 / S)] = im[first + x][p]; }
    butterflies<S>(a, b);
    #pragma unroll
    for (int x = 0; x < AT_ONCE; x++)
      #pragma unroll
      for (int p = 0; p < S; p++) { re[first + x][p] = a[x + p * (16 / S)]; im[first + x][p] = b[x + p * (16 / S)]; }
  }
}
// x[p] to z[j]; real x where twisted.
__device__ __forceinline__ void spread_forward(Quad& re, Quad& im, int n) {
  if constexpr (TWISTED)
    #pragma unroll
    for (int p = 0; p < S; p++) {
      float c, s;
      constant_root(c, s, SHIFT / S * p);
      #pragma unroll
      for (int x = 0; x < 4; x++) { im[x][p] = re[x][p] * s; re[x][p] *= c; }
    }
  spread(re, im);
  Turns turns(n, FORWARD);
  #pragma unroll
  for (int j = 0; j < S; j++) {
    #pragma unroll
    for (int x = 0; x < 4; x++) { float c, s; turns.get(c, s, j, x); times(re[x][j], im[x][j], c, s); }
    if (j + 1 < S) turns.next();
  }
}
// z[j] to x[p]; of a twisted one the real part.
__device__ __forceinline__ void spread_back(Quad& re, Quad& im, int n) {
  Turns turns(n, 1.f / (FORWARD * S));
  #pragma unroll
  for (int j = 0; j < S; j++) {
    #pragma unroll
    for (int x = 0; x < 4; x++) { float c, s; turns.get(c, s, j, x); times(re[x][j], im[x][j], c, -s); }
    if (j + 1 < S) turns.next();
  }
  spread(im, re);
  if constexpr (TWISTED)
    #pragma unroll
    for (int p = 0; p < S; p++) {
      float c, s;
      constant_root(c, s, SHIFT / S * p);
      #pragma unroll
      for (int x = 0; x < 4; x++) re[x][p] = re[x][p] * c + im[x][p] * s;
    }
}

// Which columns a thread has.
struct Share {
  int rank, tid, t, first;
  __device__ __forceinline__ explicit Share(int block) : rank(block), tid(threadIdx.x), t(threadIdx.x % (4 * M)), first(block * ALL_QUADS + threadIdx.x / (4 * M)) {}
  __device__ __forceinline__ int column(int q) const { return 16 * M * (first + q * SIDES) + 4 * t; }
  // Where they lie in a plane.
  __device__ __forceinline__ u32 place(int q) const {
    const int i = first + q * SIDES, row = t / SLOTS;
    return (16 * i + row) * 2 * M + slot(t % SLOTS, turned(row, i >> 1 & 1, i >> 2 & 1, i >> 3));
  }
};
// A quad of a sequence, from all parts; `again`: it will be read again soon.
__device__ __forceinline__ void load_quad(uint2 (&to)[S], const u16* from, const Share& at, int q, int length, bool whole, bool again) {
  const int n = at.column(q);
  const u64 policy = again ? leaving_last() : leaving_first();
  if (whole) {
    #pragma unroll
    for (int p = 0; p < S; p++) { to[p] = make_uint2(0, 0); if (n + p * N < length) to[p] = load_once((const uint2*)(from + n + p * N), policy); }
  } else {
    #pragma unroll
    for (int p = 0; p < S; p++) to[p] = four_elements(from, n + p * N, length, false);
  }
}
// Brings what a block will read of a sequence nearer.
__device__ __forceinline__ void bring_columns(const u16* from, const Share& at, int length) {
  constexpr int LINES = 4 * M / S;
  const int n = at.t / LINES * N + at.rank * (N / S) + at.t % LINES * 64;
  if (n < length && (SIDES == 1 || at.tid < 4 * M)) bring(from + n);
}

// Quads times powers of two, and gates, to where block j has them: in z's planes of real and imaginary parts.
template <bool GATED> __device__ __forceinline__ void spread_quad(const uint2 (&v)[SEQUENCES][S], const uint2 (&gate)[SEQUENCES][S], const float (&scale)[SEQUENCES], u32 plane, const Share& at, int q) {
  Quad re, im;
  #pragma unroll
  for (int r = 0; r < SEQUENCES; r++)
    #pragma unroll
    for (int p = 0; p < S; p++) {
      uint2 y = v[r][p];
      // Exact but for what is too small for the row anyway.
      if constexpr (!BRAIN && !GATED) { const half2 by = packed(scale[r], scale[r]); y.x = product(y.x, by); y.y = product(y.y, by); }
      float x[4] = {first(y.x), second(y.x), first(y.y), second(y.y)};
      if constexpr (GATED) { x[0] *= first(gate[r][p].x); x[1] *= second(gate[r][p].x); x[2] *= first(gate[r][p].y); x[3] *= second(gate[r][p].y); }
      #pragma unroll
      for (int i = 0; i < 4; i++) {
        if constexpr (BRAIN || GATED) x[i] *= scale[r];
        (r ? im : re)[i][p] = x[i];
        if (SEQUENCES == 1) im[i][p] = 0.f;
      }
    }
  spread_forward(re, im, at.column(q));
  const u32 here = plane + at.place(q);
  #pragma unroll
  for (int j = 0; j < S; j++) {
    const u32 to = remote_address(here, j);
    store_remote(to, packed(re[0][j], re[1][j]), packed(re[2][j], re[3][j]));
    store_remote(to + PLANE, packed(im[0][j], im[1][j]), packed(im[2][j], im[3][j]));
  }
}
// A quad of the results as it comes from all blocks, the real parts being the first sequence's.
struct Gathered { Quad re, im; };
__device__ __forceinline__ void gather_quad(Gathered& z, u32 plane, const Share& at, int q) {
  const u32 here = plane + at.place(q);
  uint2 a[S], b[S];
  #pragma unroll
  for (int j = 0; j < S; j++) {
    const u32 from = remote_address(here, j);
    a[j] = load_remote(from);
    b[j] = load_remote(from + PLANE);
  }
  #pragma unroll
  for (int j = 0; j < S; j++) {
    z.re[0][j] = low_half(a[j].x); z.re[1][j] = high_half(a[j].x); z.re[2][j] = low_half(a[j].y); z.re[3][j] = high_half(a[j].y);
    z.im[0][j] = low_half(b[j].x); z.im[1][j] = high_half(b[j].x); z.im[2][j] = low_half(b[j].y); z.im[3][j] = high_half(b[j].y);
  }
  spread_back(z.re, z.im, at.column(q));
}
// What is stored of it, times a power of two and a gate.
__device__ __forceinline__ uint2 of_sequence(const Gathered& z, int r, int p, float factor, uint2 gate) {
  const Quad& v = r ? z.im : z.re;
  float x[4];
  #pragma unroll
  for (int i = 0; i < 4; i++) x[i] = v[i][p] * factor;
  if constexpr (POST) { x[0] *= first(gate.x); x[1] *= second(gate.x); x[2] *= first(gate.y); x[3] *= second(gate.y); }
  return make_uint2(stored(x[0], x[1]), stored(x[2], x[3]));
}

// The largest of the peaks that threads of all blocks have found of K sequences, by way of `notes`, (warps + S) 4 K bytes. Ends with a barrier of
// the cluster.
template <int K> __device__ __forceinline__ void cluster_peaks(u32 (&peak)[K], u32 notes, int warps, const Share& at) {
  const int lane = at.tid & 31, warp = at.tid >> 5;
  const u32 all = notes + 4 * K * warps;
  #pragma unroll
  for (int k = 0; k < K; k += 2) {
    peak[k] = warp_peak(peak[k]); peak[k + 1] = warp_peak(peak[k + 1]);
    if (lane == 0) store_shared(notes + 4 * (K * warp + k), peak[k], peak[k + 1]);
  }
  __syncthreads();
  if (warp == 0)
    #pragma unroll
    for (int k = 0; k < K; k += 2) {
      const uint2 v = load_shared(notes + 4 * (K * (lane % warps) + k));
      const u32 a = __reduce_max_sync(~0u, v.x), b = __reduce_max_sync(~0u, v.y);
      if (lane < S) store_remote(remote_address(all + 4 * (K * at.rank + k), lane), a, b);
    }
  cluster_barrier();
  #pragma unroll
  for (int k = 0; k < K; k += 2) {
    const uint2 v = load_shared(all + 4 * (K * (lane % S) + k));
    peak[k] = __reduce_max_sync(~0u, v.x); peak[k + 1] = __reduce_max_sync(~0u, v.y);
  }
}
