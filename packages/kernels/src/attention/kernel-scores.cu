// Attention in tiles on tensor cores, forward and backward (Dao et al. 2022, Dao 2023): scores live in registers only. Every
// product takes its left operand from the registers that the product before left it in, so no score goes through memory.
// What the kernels share: who sees whom, how products become scores, and where tiles lie.
//
// Defined before, beside the names of kernel-tiles.cu: the word indices w_*, WORDS, KEY_DIM, VALUE_DIM (padded), MT, BLOCK
// (rows streamed at a time), STAGES (tiles in flight), CAP, SLOPES, LISTS (whether blocks of queries and keys meet by lists).

constexpr int K_ROW = PADDED<KEY_DIM>, V_ROW = PADDED<VALUE_DIM>;
constexpr int K8 = KEY_DIM / 8, V8 = VALUE_DIM / 8, N8 = BLOCK / 8;
constexpr int OWN = 4 * MT * 16;
constexpr float LN2 = 0.693147180559945f, LOG2E = 1.442695040888963f;

typedef Words<WORDS> Args;

/** Which keys a query of one sequence sees, and the reverse. */
struct Sight {
  int queries, keys, offset, left, right;
  __device__ __forceinline__ int from(int query) const { return max(0, query + offset - left); }
  __device__ __forceinline__ int to(int query) const { return query < queries ? min(keys, query + offset + right + 1) : 0; }
};

__device__ __forceinline__ Sight sight_of(const Args& w, int b) {
  Sight s;
  const int keys = integer(w, w_keys), queries = integer(w, w_queries);
  const int* keyLengths = pointer<const int>(w, w_keyLengths);
  const int* queryLengths = pointer<const int>(w, w_queryLengths);
  s.keys = keyLengths ? min(max(keyLengths[b], 0), keys) : keys;
  s.queries = queryLengths ? min(max(queryLengths[b], 0), queries) : queries;
  s.offset = s.keys - s.queries;
  s.left = integer(w, w_left);
  s.right = integer(w, w_right);
  return s;
}

/** Scores of a pair in units of ln 2, from the bare product; `slope` is ALiBi's, `bend` the soft cap's derivative. */
struct Scoring {
  float scale, cap, capInverse, slope;
  __device__ __forceinline__ float operator()(float x, int distance, float& bend) const {
    x *= scale;
    if (CAP) {
      const float t = tanhf(x * capInverse);
      bend = 1.f - t * t;
      x = cap * t;
    }
    if (SLOPES) x -= slope * (float)abs(distance);
    return x;
  }
};

__device__ __forceinline__ Scoring scoring_of(const Args& w, int b, int h) {
  Scoring s;
  s.scale = number(w, w_scoreScale);
  s.cap = number(w, w_cap);
  s.capInverse = number(w, w_capInverse);
  s.slope = SLOPES ? pointer<const float>(w, w_slopes)[b * integer(w, w_slopeBatch) + h] * LOG2E : 0.f;
  return s;
}

/** A matrix [T, D] of one head, and whether its rows can be read in 16-byte pieces. */
struct Rows {
  const E* at;
  i64 stride;
  int dim;
  bool vectors;
};

__device__ __forceinline__ Rows rows_of(const Args& w, int at, int strides, int b, int h, int dim) {
  Rows r;
  const E* base = pointer<const E>(w, at);
  const i64 batch = wide(w, strides), time = wide(w, strides + 1), head = wide(w, strides + 2);
  r.at = base + b * batch + h * head;
  r.stride = time;
  r.dim = dim;
  r.vectors = (((u64)base | (u64)((batch | time | head) * (i64)sizeof(E))) & 15) == 0;
  return r;
}

template <int COUNT, int COLUMNS> __device__ __forceinline__ void load(E* tile, const Rows& r, int first, int limit) {
  load_tile<COUNT, COLUMNS>(tile, r.at, r.stride, first, limit, r.dim, r.vectors);
}

/** Which tile and which sequence and head a block has: long tiles first (`descending`), heads of one group side by side. */
__device__ __forceinline__ void place(const Args& w, int tiles, bool descending, int& tile, int& row) {
  const int together = integer(w, w_together);
  const int per = tiles * together, group = blockIdx.x / per, r = blockIdx.x - group * per;
  tile = r / together;
  if (descending) tile = tiles - 1 - tile;
  row = group * together + r % together;
}

/** Where a thread's sums lie in its block's tile: row `own` + 16 a + `g` + 8 half, columns 8 n + `t2` + {0, 1}. */
struct Lane {
  int g, t2, own;
  __device__ __forceinline__ Lane() {
    const int lane = threadIdx.x & 31;
    g = lane >> 2;
    t2 = 2 * (lane & 3);
    own = (threadIdx.x >> 5) * MT * 16;
  }
};

/** s += products of a warp's rows of a kept tile with the rows of a streamed one. */
template <int DIM> __device__ __forceinline__ void multiply_rows(float (&s)[MT][N8][4], const E* kept, const E* streamed, int own) {
  constexpr int ROW = PADDED<DIM>;
  #pragma unroll
  for (int k = 0; k < DIM; k += KSTEP) {
    Left x[MT];
    #pragma unroll
    for (int a = 0; a < MT; a++) left_of_rows(x[a], kept, ROW, own + a * 16, k);
    add_rows(s, x, streamed, ROW, k);
  }
}

/** c += the rows of a streamed tile, weighted. */
template <int DIM> __device__ __forceinline__ void add_weighted(float (&c)[MT][DIM / 8][4], const float (&weights)[MT][N8][4], const E* streamed) {
  #pragma unroll
  for (int k = 0; k < BLOCK / KSTEP; k++) {
    Left x[MT];
    #pragma unroll
    for (int a = 0; a < MT; a++) left_of_sums(x[a], weights[a], k);
    add_columns(c, x, streamed, PADDED<DIM>, k * KSTEP);
  }
}

/** Writes a warp's rows up to `end`, each times its `factor`; `at` is where row `first` begins. */
template <int N> __device__ __forceinline__ void write_rows(E* at, i64 stride, int dim, const float (&c)[MT][N][4], const float (&factor)[MT][2], const Lane& lane, int first, int end) {
  const bool pairs = (((u64)at | (u64)(stride * (i64)sizeof(E))) & (2 * sizeof(E) - 1)) == 0;
  #pragma unroll
  for (int a = 0; a < MT; a++)
    #pragma unroll
    for (int half = 0; half < 2; half++) {
      const int r = lane.own + a * 16 + lane.g + 8 * half;
      if (first + r >= end) continue;
      #pragma unroll
      for (int n = 0; n < N; n++) put_two(at + r * stride, n * 8 + lane.t2, dim, pairs, c[a][n][2 * half] * factor[a][half], c[a][n][2 * half + 1] * factor[a][half]);
    }
}
