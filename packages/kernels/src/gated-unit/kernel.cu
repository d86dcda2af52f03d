// A gated linear unit whole, w3 (act(w1 x) * w2 x), and its gradient. A block keeps 16 rows of x (and dy) a warp in registers, or in shared
// memory where they are wide, and walks over the hidden features, CHUNK at a time, whose weights pass through shared memory: hidden values
// leave the registers only as the gradients that the weights' gradients are made of.
//
// Defined before: E (half), D and N (widths of x and y, multiples of 16 up to 256), WARPS (of a block), STAGES, ADD 0|1. In front:
// tensor-cores.cu, activation.cu.

constexpr int WIDE = D > N ? D : N, HELD = WIDE <= 128, CHUNK = HELD ? 32 : 16, SUB = CHUNK / 16;
constexpr int ROWS = 16 * WARPS, THREADS = 32 * WARPS;
// Rows in shared memory lie 16 bytes further apart than they are long: eight of them touch all banks.
constexpr int ROW_D = D + 8, ROW_N = N + 8, ROW_F = CHUNK + 8;
constexpr int STAGE = 2 * CHUNK * ROW_D + N * ROW_F;
constexpr int KD = D / 16, KN = N / 16;

/** Pieces of 16 bytes of a tile of rows of `WIDTH`, a thread's every THREADS-th: where piece `j` of this thread lies. */
template <int WIDTH> struct Piece {
  static constexpr int ACROSS = WIDTH / 8;
  static constexpr bool EVEN = THREADS % ACROSS == 0;
  int row, column;
  __device__ __forceinline__ Piece(int j) {
    const int i = threadIdx.x + j * THREADS;
    row = EVEN ? (int)threadIdx.x / ACROSS + j * (THREADS / ACROSS) : i / ACROSS;
    column = 8 * (EVEN ? (int)threadIdx.x % ACROSS : i % ACROSS);
  }
};

/** The first COUNT rows of `WIDTH`, to rows `WIDTH + 8` apart; unless all are there (WHOLE), zeros from row `limit` on. */
template <int WIDTH, int COUNT, bool WHOLE> __device__ __forceinline__ void copy_rows(E* to, const E* from, i64 limit) {
  constexpr int PIECES = COUNT * (WIDTH / 8);
  #pragma unroll
  for (int j = 0; j * THREADS < PIECES; j++) {
    const Piece<WIDTH> p(j);
    if ((j + 1) * THREADS > PIECES && p.row >= COUNT) break;
    const bool there = WHOLE || p.row < limit;
    copy16(to + p.row * (WIDTH + 8) + p.column, there ? from + p.row * WIDTH + p.column : from, there ? 16 : 0);
  }
}

/** The weights of CHUNK hidden features from f0 on, of `inner`; zeros behind the last. */
template <bool WHOLE> __device__ __forceinline__ void copy_some(E* stage, const E* w1, const E* w2, const E* w3, int f0, int inner) {
  copy_rows<D, CHUNK, WHOLE>(stage, w1 + (i64)f0 * D, inner - f0);
  copy_rows<D, CHUNK, WHOLE>(stage + CHUNK * ROW_D, w2 + (i64)f0 * D, inner - f0);
  E* const third = stage + 2 * CHUNK * ROW_D;
  constexpr int PIECES = N * (CHUNK / 8);
  #pragma unroll
  for (int j = 0; j * THREADS < PIECES; j++) {
    const Piece<CHUNK> p(j);
    if ((j + 1) * THREADS > PIECES && p.row >= N) break;
    const bool there = WHOLE || f0 + p.column < inner;
    copy16(third + p.row * ROW_F + p.column, there ? w3 + (i64)p.row * inner + f0 + p.column : w3, there ? 16 : 0);
  }
}
__device__ __forceinline__ void copy_weights(E* stage, const E* w1, const E* w2, const E* w3, int f0, int inner) {
  if (f0 + CHUNK <= inner) copy_some<true>(stage, w1, w2, w3, f0, inner);
  else copy_some<false>(stage, w1, w2, w3, f0, inner);
}

/** A block's rows of x or dy. */
template <int WIDTH> __device__ __forceinline__ void copy_tile(E* to, const E* from, i64 rows) {
  if (rows >= ROWS) copy_rows<WIDTH, ROWS, true>(to, from, rows);
  else copy_rows<WIDTH, ROWS, false>(to, from, rows);
}

/** Block (rows 16 of the warp, terms 16 k ..) of a matrix in shared memory, as the left factor of a product. */
__device__ __forceinline__ void left(u32 (&a)[4], const E* tile, int row_length, int k) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  load4(a, tile + (warp * 16 + (lane & 15)) * row_length + 16 * k + (lane >> 4) * 8);
}

/** The right factor whose columns are rows n0 .. of a matrix and whose terms are its columns k0 .. */
__device__ __forceinline__ void from_rows(u32 (&b)[4], const E* tile, int row_length, int n0, int k0) {
  const int lane = threadIdx.x & 31;
  load4(b, tile + (n0 + (lane & 7) + (lane >> 4) * 8) * row_length + k0 + (lane >> 3 & 1) * 8);
}

/** The same where terms are rows k0 .. and columns are columns n0 .. */
__device__ __forceinline__ void from_columns(u32 (&b)[4], const E* tile, int row_length, int k0, int n0) {
  const int lane = threadIdx.x & 31;
  load_turned4(b, tile + (k0 + (lane & 15)) * row_length + n0 + (lane >> 4) * 8);
}

/** c (16 x 16) += a b. */
__device__ __forceinline__ void multiply(float (&c)[2][4], const u32 (&a)[4], const u32 (&b)[4]) {
  multiply16(c[0], a, b[0], b[1]);
  multiply16(c[1], a, b[2], b[3]);
}

/** Calls `use` with what `fetch` brought for 0 .. COUNT - 1, which is under way while the one before is used. */
template <int COUNT, int BLOCKS, typename Fetch, typename Use> __device__ __forceinline__ void ahead(Fetch fetch, Use use) {
  u32 b[2][BLOCKS][4];
  fetch(b[0], 0);
  #pragma unroll
  for (int i = 0; i < COUNT; i++) {
    if (i + 1 < COUNT) fetch(b[(i + 1) & 1], i + 1);
    use(b[i & 1], i);
  }
}

/** A block of sums as the left factor of the next product. */
__device__ __forceinline__ void rounded(u32 (&a)[4], const float (&c)[2][4]) {
  a[0] = pair(c[0][0], c[0][1]); a[1] = pair(c[0][2], c[0][3]);
  a[2] = pair(c[1][0], c[1][1]); a[3] = pair(c[1][2], c[1][3]);
}

/**
 * Writes 16 x 16 halves that lie as a left factor: neighbouring lanes swap, so that four of them write the 32 bytes of a row.
 * `to` is row 0, column 0 of the block; rows from `rows` on and columns from `columns` on are left out (both checked 8 rows, 8 columns at a time).
 */
__device__ __forceinline__ void store_block(E* to, i64 row_length, const u32 (&a)[4], i64 rows, int columns) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, odd = t & 1;
  const int column = odd * 8 + (t >> 1) * 4;
  #pragma unroll
  for (int r = 0; r < 2; r++) {
    const u32 own = odd ? a[2 + r] : a[r], other = __shfl_xor_sync(~0u, odd ? a[r] : a[2 + r], 1);
    if (g + 8 * r < rows && column < columns)
      *(uint2*)(to + (g + 8 * r) * row_length + column) = odd ? make_uint2(other, own) : make_uint2(own, other);
  }
}

/** The same block, read; zeros outside. */
__device__ __forceinline__ void load_block(u32 (&a)[4], const E* from, i64 row_length, i64 rows) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, odd = t & 1;
  #pragma unroll
  for (int r = 0; r < 2; r++) {
    uint2 v = make_uint2(0, 0);
    if (g + 8 * r < rows) v = *(const uint2*)(from + (g + 8 * r) * row_length + odd * 8 + (t >> 1) * 4);
    const u32 other = __shfl_xor_sync(~0u, odd ? v.x : v.y, 1);
    a[r] = odd ? other : v.x;
    a[2 + r] = odd ? v.y : other;
  }
}

__device__ __forceinline__ float low(u32 x) { E e; e.bits = (u16)x; return get(e); }
__device__ __forceinline__ float high(u32 x) { E e; e.bits = (u16)(x >> 16); return get(e); }

/** Blocks of a warp's rows of x: in registers, or read again from shared memory each time. */
struct Rows {
  u32 held[HELD ? KD : 1][4];
  const E* tile;
  __device__ __forceinline__ void begin(const E* from) {
    tile = from;
    if (HELD) {
      #pragma unroll
      for (int k = 0; k < KD; k++) left(held[HELD ? k : 0], tile, ROW_D, k);
    }
  }
  __device__ __forceinline__ void at(u32 (&a)[4], int k) const {
    if (HELD) {
      #pragma unroll
      for (int i = 0; i < 4; i++) a[i] = held[HELD ? k : 0][i];
    } else left(a, tile, ROW_D, k);
  }
};

/** Values before the gate of a chunk: a = x w1^T, b = x w2^T. */
__device__ __forceinline__ void before_gate(float (&a)[SUB][2][4], float (&b)[SUB][2][4], const Rows& x, const E* first, const E* second) {
  ahead<KD, 2 * SUB>(
    [&](u32 (&to)[2 * SUB][4], int k) {
      #pragma unroll
      for (int s = 0; s < SUB; s++) {
        from_rows(to[s], first, ROW_D, 16 * s, 16 * k);
        from_rows(to[SUB + s], second, ROW_D, 16 * s, 16 * k);
      }
    },
    [&](const u32 (&from)[2 * SUB][4], int k) {
      u32 terms[4];
      x.at(terms, k);
      #pragma unroll
      for (int s = 0; s < SUB; s++) {
        multiply(a[s], terms, from[s]);
        multiply(b[s], terms, from[SUB + s]);
      }
    });
}

// Words: x [G, M, D], w1, w2 [G, F, D], w3 [G, N, F], y [G, M, N], added [G, M, N], M, F, blocks of a group.
extern "C" __global__ void __launch_bounds__(THREADS, 1) gated_unit(const __grid_constant__ Words<9> w) {
  extern __shared__ __align__(16) unsigned char memory[];
  E* const tile = (E*)memory;
  E* const stages = tile + ROWS * ROW_D;
  const i64 rows = wide(w, 6);
  const int inner = integer(w, 7), blocks = integer(w, 8), group = blockIdx.x / blocks;
  const i64 first = (i64)(blockIdx.x % blocks) * ROWS;
  const E* const w1 = pointer<const E>(w, 1) + (i64)group * inner * D;
  const E* const w2 = pointer<const E>(w, 2) + (i64)group * inner * D;
  const E* const w3 = pointer<const E>(w, 3) + (i64)group * inner * N;
  const int chunks = (inner + CHUNK - 1) / CHUNK;
  copy_tile<D>(tile, pointer<const E>(w, 0) + ((i64)group * rows + first) * D, rows - first);
  #pragma unroll
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < chunks) copy_weights(stages + s * STAGE, w1, w2, w3, s * CHUNK, inner);
    copies_commit();
  }
  Rows x;
  float y[KN][2][4] = {};
  for (int c = 0; c < chunks; c++) {
    copies_wait<STAGES - 2>();
    __syncthreads();
    if (c == 0) x.begin(tile);
    const int next = c + STAGES - 1;
    if (next < chunks) copy_weights(stages + next % STAGES * STAGE, w1, w2, w3, next * CHUNK, inner);
    copies_commit();
    const E* const first_weights = stages + c % STAGES * STAGE;
    const E* const second_weights = first_weights + CHUNK * ROW_D;
    const E* const third_weights = second_weights + CHUNK * ROW_D;
    float a[SUB][2][4] = {}, b[SUB][2][4] = {};
    before_gate(a, b, x, first_weights, second_weights);
    u32 h[SUB][4];
    #pragma unroll
    for (int s = 0; s < SUB; s++) {
      #pragma unroll
      for (int e = 0; e < 8; e++) {
        float value, slope;
        activate(a[s][e / 4][e % 4], value, slope);
        a[s][e / 4][e % 4] = value * b[s][e / 4][e % 4];
      }
      rounded(h[s], a[s]);
    }
    ahead<KN, SUB>(
      [&](u32 (&to)[SUB][4], int n) {
        #pragma unroll
        for (int s = 0; s < SUB; s++) from_rows(to[s], third_weights, ROW_F, 16 * n, 16 * s);
      },
      [&](const u32 (&from)[SUB][4], int n) {
        #pragma unroll
        for (int s = 0; s < SUB; s++) multiply(y[n], h[s], from[s]);
      });
  }
  const int warp = threadIdx.x >> 5;
  const i64 row = first + warp * 16, left_rows = rows - row, at = ((i64)group * rows + row) * N;
  #pragma unroll
  for (int n = 0; n < KN; n++) {
    if (ADD) {
      u32 more[4];
      load_block(more, pointer<const E>(w, 5) + at + 16 * n, N, left_rows);
      #pragma unroll
      for (int i = 0; i < 4; i++) {
        // Blocks lie (g, left), (g + 8, left), (g, right), (g + 8, right).
        y[n][i >> 1][2 * (i & 1)] += low(more[i]);
        y[n][i >> 1][2 * (i & 1) + 1] += high(more[i]);
      }
    }
    u32 out[4];
    rounded(out, y[n]);
    store_block(pointer<E>(w, 4) + at + 16 * n, N, out, left_rows, 16);
  }
}

// Words: x, w1, w2, w3, dy [G, M, N], dx [G, M, D], da, db, h [G, M, F], M, F, blocks of a group.
extern "C" __global__ void __launch_bounds__(THREADS, 1) gated_unit_grad(const __grid_constant__ Words<12> w) {
  extern __shared__ __align__(16) unsigned char memory[];
  E* const tile = (E*)memory;
  E* const dy_tile = tile + ROWS * ROW_D;
  E* const stages = dy_tile + ROWS * ROW_N;
  const i64 rows = wide(w, 9);
  const int inner = integer(w, 10), blocks = integer(w, 11), group = blockIdx.x / blocks;
  const i64 first = (i64)(blockIdx.x % blocks) * ROWS;
  const E* const w1 = pointer<const E>(w, 1) + (i64)group * inner * D;
  const E* const w2 = pointer<const E>(w, 2) + (i64)group * inner * D;
  const E* const w3 = pointer<const E>(w, 3) + (i64)group * inner * N;
  const int chunks = (inner + CHUNK - 1) / CHUNK, warp = threadIdx.x >> 5;
  copy_tile<D>(tile, pointer<const E>(w, 0) + ((i64)group * rows + first) * D, rows - first);
  copy_tile<N>(dy_tile, pointer<const E>(w, 4) + ((i64)group * rows + first) * N, rows - first);
  #pragma unroll
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < chunks) copy_weights(stages + s * STAGE, w1, w2, w3, s * CHUNK, inner);
    copies_commit();
  }
  Rows x;
  const i64 row = first + warp * 16, left_rows = rows - row, at = (i64)group * rows + row;
  float dx[KD][2][4] = {};
  for (int c = 0; c < chunks; c++) {
    copies_wait<STAGES - 2>();
    __syncthreads();
    if (c == 0) x.begin(tile);
    const int next = c + STAGES - 1;
    if (next < chunks) copy_weights(stages + next % STAGES * STAGE, w1, w2, w3, next * CHUNK, inner);
    copies_commit();
    const E* const first_weights = stages + c % STAGES * STAGE;
    const E* const second_weights = first_weights + CHUNK * ROW_D;
    const E* const third_weights = second_weights + CHUNK * ROW_D;
    float a[SUB][2][4] = {}, b[SUB][2][4] = {}, dh[SUB][2][4] = {};
    before_gate(a, b, x, first_weights, second_weights);
    ahead<KN, SUB + 1>(
      [&](u32 (&to)[SUB + 1][4], int k) {
        left(to[SUB], dy_tile, ROW_N, k);
        #pragma unroll
        for (int s = 0; s < SUB; s++) from_columns(to[s], third_weights, ROW_F, 16 * k, 16 * s);
      },
      [&](const u32 (&from)[SUB + 1][4], int) {
        #pragma unroll
        for (int s = 0; s < SUB; s++) multiply(dh[s], from[SUB], from[s]);
      });
    u32 da[SUB][4], db[SUB][4];
    #pragma unroll
    for (int s = 0; s < SUB; s++) {
      #pragma unroll
      for (int e = 0; e < 8; e++) {
        float value, slope;
        const float grad = dh[s][e / 4][e % 4], other = b[s][e / 4][e % 4];
        activate(a[s][e / 4][e % 4], value, slope);
        a[s][e / 4][e % 4] = grad * other * slope;
        b[s][e / 4][e % 4] = grad * value;
        dh[s][e / 4][e % 4] = other * value;
      }
      u32 h[4];
      rounded(da[s], a[s]);
      rounded(db[s], b[s]);
      rounded(h, dh[s]);
      const int f0 = c * CHUNK + 16 * s;
      const i64 to = at * inner + f0;
      store_block(pointer<E>(w, 6) + to, inner, da[s], left_rows, inner - f0);
      store_block(pointer<E>(w, 7) + to, inner, db[s], left_rows, inner - f0);
      store_block(pointer<E>(w, 8) + to, inner, h, left_rows, inner - f0);
    }
    ahead<KD, 2 * SUB>(
      [&](u32 (&to)[2 * SUB][4], int n) {
        #pragma unroll
        for (int s = 0; s < SUB; s++) {
          from_columns(to[s], first_weights, ROW_D, 16 * s, 16 * n);
          from_columns(to[SUB + s], second_weights, ROW_D, 16 * s, 16 * n);
        }
      },
      [&](const u32 (&from)[2 * SUB][4], int n) {
        #pragma unroll
        for (int s = 0; s < SUB; s++) {
          multiply(dx[n], da[s], from[s]);
          multiply(dx[n], db[s], from[SUB + s]);
        }
      });
  }
  #pragma unroll
  for (int n = 0; n < KD; n++) {
    u32 out[4];
    rounded(out, dx[n]);
    store_block(pointer<E>(w, 5) + at * D + 16 * n, D, out, left_rows, 16);
  }
}
