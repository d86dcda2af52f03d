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

// As many columns of a quad as go through at once, in float32: 16 elements.
constexpr int AT_ONCE = S == 8 ? 2 : 4;
typedef float Columns[AT_ONCE][S];
// DFTs over their elements, in place.
__device__ __forceinline__ void spread(Columns& re, Columns& im) {
  float a[16], b[16];
  #pragma unroll
  for (int i = 0; i < 16; i++) a[i] = b[i] = 0.f;
  #pragma unroll
  for (int x = 0; x < AT_ONCE; x++)
    #pragma unroll
    for (int p = 0; p < S; p++) { a[x + p * (16 / S)] = re[x][p]; b[x + p * (16 / S)] = im[x][p]; }
  butterflies<S>(a, b);
  #pragma unroll
  for (int x = 0; x < AT_ONCE; x++)
    #pragma unroll
    for (int p = 0; p < S; p++) { re[x][p] = a[x + p * (16 / S)]; im[x][p] = b[x + p * (16 / S)]; }
}
// x[p] of the columns n + first, ... to z[j]; real x where twisted.
__device__ __forceinline__ void spread_forward(Columns& re, Columns& im, Turns turns, int first) {
  if constexpr (TWISTED)
    #pragma unroll
    for (int p = 0; p < S; p++) {
      float c, s;
      constant_root(c, s, SHIFT / S * p);
      #pragma unroll
      for (int x = 0; x < AT_ONCE; x++) { im[x][p] = re[x][p] * s; re[x][p] *= c; }
    }
  spread(re, im);
  #pragma unroll
  for (int j = 0; j < S; j++) {
    #pragma unroll
    for (int x = 0; x < AT_ONCE; x++) { float c, s; turns.get(c, s, j, first + x); times(re[x][j], im[x][j], c, s); }
    if (j + 1 < S) turns.next();
  }
}
// z[j] to x[p]; of a twisted one the real part.
__device__ __forceinline__ void spread_back(Columns& re, Columns& im, Turns turns, int first) {
  #pragma unroll
  for (int j = 0; j < S; j++) {
    #pragma unroll
    for (int x = 0; x < AT_ONCE; x++) { float c, s; turns.get(c, s, j, first + x); times(re[x][j], im[x][j], c, -s); }
    if (j + 1 < S) turns.next();
  }
  spread(im, re);
  if constexpr (TWISTED)
    #pragma unroll
    for (int p = 0; p < S; p++) {
      float c, s;
      constant_root(c, s, SHIFT / S * p);
      #pragma unroll
      for (int x = 0; x < AT_ONCE; x++) re[x][p] = re[x][p] * c + im[x][p] * s;
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
// Whether a block's part of a row can be copied in bulk.
__device__ __forceinline__ bool copied_whole(const Rows& r, int length) { return ((((u64)r.at >> 1) | (u64)r.batch | (u64)r.channel | (u64)length) & 7) == 0; }
// Writes a quad of an item's sequences.
__device__ __forceinline__ void store_quad(const uint2 (&v)[SEQUENCES][S], const Rows& to, int item, int batch, int channel, const Share& at, int q, int length, bool whole) {
  auto store = [&](bool whole) {
    #pragma unroll
    for (int row = 0; row < SEQUENCES; row++) {
      const int b = item * SEQUENCES + row;
      // Of a row that is not there nothing is written.
      const int count = b < batch ? length : 0;
      u16* out = (u16*)to.at + b * to.batch + channel * to.channel;
      #pragma unroll
      for (int p = 0; p < S; p++) store_elements(out, at.column(q) + p * N, count, whole, v[row][p]);
    }
  };
  if (whole) store(true); else store(false);
}
// Brings what a block will read of a sequence nearer.
__device__ __forceinline__ void bring_columns(const u16* from, const Share& at, int length) {
  constexpr int LINES = 4 * M / S;
  const int n = at.t / LINES * N + at.rank * (N / S) + at.t % LINES * 64;
  if (n < length && (SIDES == 1 || at.tid < 4 * M)) bring(from + n);
}

// Two neighbours of a quad, the second ones where `h`.
__device__ __forceinline__ u32 half_of(uint2 v, int h) { return h ? v.y : v.x; }
// Quads times powers of two, and gates, to where block j has them: in z's planes of real and imaginary parts.
template <bool GATED> __device__ __forceinline__ void spread_quad(const uint2 (&v)[SEQUENCES][S], const uint2 (&gate)[SEQUENCES][S], const float (&scale)[ROWS], u32 plane, u32 barrier, const Share& at, int q) {
  u32 zr[2][S], zi[2][S];
  const Turns turns(at.column(q), FORWARD);
  #pragma unroll
  for (int first_h = 0; first_h < 2; first_h += AT_ONCE / 2) {
    Columns re, im;
    #pragma unroll
    for (int i = 0; i < AT_ONCE / 2; i++)
      #pragma unroll
      for (int p = 0; p < S; p++)
        #pragma unroll
        for (int r = 0; r < SEQUENCES; r++) {
          u32 y = half_of(v[r][p], first_h + i);
          // Exact but for what is too small for the row anyway.
          if constexpr (!BRAIN && !GATED) y = product(y, packed(scale[r], scale[r]));
          float a = first(y), b = second(y);
          if constexpr (GATED) { const u32 g = half_of(gate[r][p], first_h + i); a *= first(g); b *= second(g); }
          if constexpr (BRAIN || GATED) { a *= scale[r]; b *= scale[r]; }
          (r ? im : re)[2 * i][p] = a; (r ? im : re)[2 * i + 1][p] = b;
          if (SEQUENCES == 1) im[2 * i][p] = im[2 * i + 1][p] = 0.f;
        }
    spread_forward(re, im, turns, 2 * first_h);
    #pragma unroll
    for (int i = 0; i < AT_ONCE / 2; i++)
      #pragma unroll
      for (int j = 0; j < S; j++) { zr[first_h + i][j] = packed(re[2 * i][j], re[2 * i + 1][j]); zi[first_h + i][j] = packed(im[2 * i][j], im[2 * i + 1][j]); }
  }
  const u32 here = plane + at.place(q);
  #pragma unroll
  for (int j = 0; j < S; j++) {
    const u32 to = remote_address(here, j), full = remote_address(barrier, j);
    store_remote(to, zr[0][j], zr[1][j], full);
    store_remote(to + PLANE, zi[0][j], zi[1][j], full);
  }
}
// A quad of the results from all blocks: `take(r, p, h, a, b)` is given the neighbours h of part p of sequence r.
template <typename Take> __device__ __forceinline__ void gather_quad(u32 plane, const Share& at, int q, Take take) {
  const u32 here = plane + at.place(q);
  uint2 zr[S], zi[S];
  const Turns turns(at.column(q), 1.f / (FORWARD * S));
  #pragma unroll
  for (int j = 0; j < S; j++) {
    const u32 from = remote_address(here, j);
    zr[j] = load_remote(from);
    zi[j] = load_remote(from + PLANE);
  }
  #pragma unroll
  for (int first_h = 0; first_h < 2; first_h += AT_ONCE / 2) {
    Columns re, im;
    #pragma unroll
    for (int i = 0; i < AT_ONCE / 2; i++)
      #pragma unroll
      for (int j = 0; j < S; j++) {
        const u32 a = half_of(zr[j], first_h + i), b = half_of(zi[j], first_h + i);
        re[2 * i][j] = low_half(a); re[2 * i + 1][j] = high_half(a); im[2 * i][j] = low_half(b); im[2 * i + 1][j] = high_half(b);
      }
    spread_back(re, im, turns, 2 * first_h);
    #pragma unroll
    for (int r = 0; r < SEQUENCES; r++)
      #pragma unroll
      for (int i = 0; i < AT_ONCE / 2; i++)
        #pragma unroll
        for (int p = 0; p < S; p++) take(r, p, first_h + i, r ? im[2 * i][p] : re[2 * i][p], r ? im[2 * i + 1][p] : re[2 * i + 1][p]);
  }
}

// What a block has behind its planes: its warps' peaks, 8 bytes each; those of all blocks, twice; barriers.
struct Notes {
  u32 warps, blocks, barriers;
  __device__ __forceinline__ Notes(u32 at, int count) : warps(at), blocks(at + 8 * count), barriers(at + 8 * count + 16 * S) {}
  __device__ __forceinline__ u32 barrier(int i) const { return barriers + 8 * i; }
};
// What they are for: peaks of sequences, first and second; planes full, first and second; blocks that are done with their transform back; rows on their way.
constexpr int PEAKS = 0, FULL = 2, DONE = 4, ROWS_HERE = 5, BARRIERS = 6;
__device__ __forceinline__ void make_barriers(const Notes& notes, int copies) {
  if (threadIdx.x == 0) {
    #pragma unroll
    for (int i = 0; i < BARRIERS; i++) new_barrier(notes.barrier(i), i == DONE ? S : i == ROWS_HERE ? copies : 1);
    barriers_made();
  }
}
// Bytes of peaks, and of planes, that come from all blocks.
constexpr u32 PEAK_BYTES = 8 * S, PLANE_BYTES = 2 * PLANE;
// The largest of the peaks that threads of all blocks have found of two sequences, of pairs of f16 or floats. Nobody has them before all threads of all blocks
// have come here.
template <bool HALF> __device__ __forceinline__ void cluster_peaks(u32 (&peak)[2], const Notes& notes, int which, u32 parity, int warps, const Share& at) {
  const int lane = at.tid & 31, warp = at.tid >> 5;
  const u32 all = notes.blocks + 8 * S * which, barrier = notes.barrier(PEAKS + which);
  #pragma unroll
  for (int k = 0; k < 2; k++) peak[k] = HALF ? half_peak(peak[k]) : __reduce_max_sync(~0u, peak[k]);
  if (lane == 0) store_shared(notes.warps + 8 * warp, peak[0], peak[1]);
  __syncthreads();
  if (warp == 0) {
    const uint2 v = load_shared(notes.warps + 8 * (lane % warps));
    const u32 a = __reduce_max_sync(~0u, v.x), b = __reduce_max_sync(~0u, v.y);
    if (lane < S) store_remote(remote_address(all + 8 * at.rank, lane), a, b, remote_address(barrier, lane));
  }
  wait_phase(barrier, parity);
  const uint2 v = load_shared(all + 8 * (lane % S));
  peak[0] = __reduce_max_sync(~0u, v.x); peak[1] = __reduce_max_sync(~0u, v.y);
}
// Tells all blocks that this one has its results in its planes, and waits for theirs.
__device__ __forceinline__ void wait_for_results(const Notes& notes, u32 parity, const Share& at) {
  __syncthreads();
  if (at.tid < S) arrive_remote(remote_address(notes.barrier(DONE), at.tid));
  wait_for_blocks(notes.barrier(DONE), parity);
}
