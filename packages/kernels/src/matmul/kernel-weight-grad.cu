// The gradient of a linear layer's weight and bias: dw [N, K] = dz [M, N]^T x [M, K] and the sums of dz's columns, over many more rows than
// either has columns. Halves on tensor cores with float32 sums; a block makes a tile of 128 x 128 over a segment of the rows, a second launch
// adds the segments up in order. Layers side by side lie one behind the other. Defined before: E (half).

constexpr int TILE = 128, DEPTH = 32, STAGES = 4, ROW = TILE + 8, THREADS = 128;
constexpr int STAGE = 2 * DEPTH * ROW;

/** A thread's part of a matrix, `count` rows of `columns` of which `wide` are of the tile: 16 bytes of every eighth row. */
struct Part {
  static constexpr int ACROSS = TILE / 8, DOWN = THREADS / ACROSS;
  const E* from;
  i64 columns;
  int count, wide;

  __device__ __forceinline__ Part(const E* matrix, i64 columns, i64 first, i64 last, i64 column0)
    : from(matrix + first * columns + column0), columns(columns), count(last > first ? (int)(last - first) : 0), wide((int)(columns - column0 < TILE ? columns - column0 : TILE)) {}

  /** Zeros where a tile has no columns; copies leave them. */
  __device__ __forceinline__ void clear(E* tile, bool vectors) const {
    const int c = threadIdx.x % ACROSS * 8;
    if (!vectors || c < wide) return;
    for (int r = threadIdx.x / ACROSS; r < DEPTH; r += DOWN)
      for (int i = 0; i < 8; i++) tile[r * ROW + c + i] = E{};
  }

  /** Rows at .. at + DEPTH - 1 to a tile, in the background where `vectors`; zeros outside. */
  __device__ __forceinline__ void load(E* tile, int at, bool vectors) const {
    if (vectors) {
      const int r0 = threadIdx.x / ACROSS, c = threadIdx.x % ACROSS * 8;
      if (c >= wide) return;
      E* const to = tile + r0 * ROW + c;
      const E* p = from + (i64)(at + r0) * columns + c;
      const i64 step = columns * DOWN;
      if (at + DEPTH <= count) {
        #pragma unroll
        for (int r = 0; r < DEPTH; r += DOWN, p += step) copy16(to + r * ROW, p, 16);
      } else {
        #pragma unroll
        for (int r = 0; r < DEPTH; r += DOWN, p += step) copy16(to + r * ROW, at + r0 + r < count ? p : from, at + r0 + r < count ? 16 : 0);
      }
    } else {
      for (int i = threadIdx.x; i < DEPTH * TILE; i += THREADS) {
        const int r = i / TILE, c = i % TILE;
        E e = {};
        if (at + r < count && c < wide) e = from[(i64)(at + r) * columns + c];
        tile[r * ROW + c] = e;
      }
    }
  }
};

// Words: dz, x, sums [segments, N, K], sums of the bias [segments, N] (0: not asked for), M, N, K, rows of a segment, tiles along K, tiles,
// whether rows of dz and x begin on 16 bytes, segments.
__device__ __forceinline__ void weight_grad_block(const Words<12>& w, u32 block) {
  extern __shared__ __align__(16) unsigned char memory[];
  E* const shared = (E*)memory;
  const i64 rows = wide(w, 4), n = wide(w, 5), k = wide(w, 6);
  const int tiles = integer(w, 9), segments = integer(w, 11), segment = block / tiles % segments, tile = block % tiles;
  const i64 layer = block / tiles / segments;
  const i64 n0 = (i64)(tile / integer(w, 8)) * TILE, k0 = (i64)(tile % integer(w, 8)) * TILE;
  const i64 first = (i64)segment * wide(w, 7), last = first + wide(w, 7) < rows ? first + wide(w, 7) : rows;
  const bool vectors = integer(w, 10);
  const Part dz(pointer<const E>(w, 0) + layer * rows * n, n, first, last, n0), x(pointer<const E>(w, 1) + layer * rows * k, k, first, last, k0);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  // A warp makes 64 x 64 of the tile, and the first two the sums of dz's columns: its product with ones.
  const int wn = (warp & 1) * 64, wk = (warp >> 1) * 64;
  float c[4][8][4] = {}, bias[4][4] = {};
  const bool wantsBias = w.word[3] != 0 && k0 == 0 && wk == 0;
  const u32 ones = pair(1.f, 1.f);
  const int steps = (dz.count + DEPTH - 1) / DEPTH;
  #pragma unroll
  for (int s = 0; s < STAGES; s++) {
    dz.clear(shared + s * STAGE, vectors);
    x.clear(shared + s * STAGE + DEPTH * ROW, vectors);
  }
  #pragma unroll
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < steps) {
      dz.load(shared + s * STAGE, s * DEPTH, vectors);
      x.load(shared + s * STAGE + DEPTH * ROW, s * DEPTH, vectors);
    }
    copies_commit();
  }
  // Rows of dz are the terms: its blocks come turned, as blocks of dz^T. They are brought while the ones before are multiplied.
  u32 left[2][4][4], right[2][4][4];
  const auto fetch = [&](int to, const E* stage, int d) {
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      load_turned4(left[to][i], stage + (d + (lane & 7) + (lane >> 4) * 8) * ROW + wn + i * 16 + (lane >> 3 & 1) * 8);
      load_turned4(right[to][i], stage + (DEPTH + d + (lane & 15)) * ROW + wk + i * 16 + (lane >> 4) * 8);
    }
  };
  for (int s = 0; s < steps; s++) {
    copies_wait<STAGES - 2>();
    __syncthreads();
    const int next = s + STAGES - 1;
    const E* const stage = shared + s % STAGES * STAGE;
    fetch(0, stage, 0);
    if (next < steps) {
      dz.load(shared + next % STAGES * STAGE, next * DEPTH, vectors);
      x.load(shared + next % STAGES * STAGE + DEPTH * ROW, next * DEPTH, vectors);
    }
    copies_commit();
    #pragma unroll
    for (int d = 0; d < DEPTH; d += 16) {
      const int now = d / 16 & 1;
      if (d + 16 < DEPTH) fetch(now ^ 1, stage, d + 16);
      #pragma unroll
      for (int i = 0; i < 4; i++) {
        if (wantsBias) multiply16(bias[i], left[now][i], ones, ones);
        #pragma unroll
        for (int j = 0; j < 4; j++) {
          multiply16(c[i][2 * j], left[now][i], right[now][j][0], right[now][j][1]);
          multiply16(c[i][2 * j + 1], left[now][i], right[now][j][2], right[now][j][3]);
        }
      }
    }
  }
  copies_wait<0>();
  float* const sums = pointer<float>(w, 2) + (layer * segments + segment) * n * k;
  #pragma unroll
  for (int i = 0; i < 4; i++)
    #pragma unroll
    for (int j = 0; j < 8; j++)
      #pragma unroll
      for (int r = 0; r < 2; r++) {
        const i64 row = n0 + wn + i * 16 + g + 8 * r, column = k0 + wk + j * 8 + 2 * t;
        if (row >= n) continue;
        float* const to = sums + row * k + column;
        if (column + 1 < k && (k & 1) == 0) *(float2*)to = make_float2(c[i][j][2 * r], c[i][j][2 * r + 1]);
        else {
          if (column < k) to[0] = c[i][j][2 * r];
          if (column + 1 < k) to[1] = c[i][j][2 * r + 1];
        }
      }
  if (!wantsBias || t) return;
  #pragma unroll
  for (int i = 0; i < 4; i++)
    #pragma unroll
    for (int r = 0; r < 2; r++) {
      const i64 row = n0 + wn + i * 16 + g + 8 * r;
      if (row < n) pointer<float>(w, 3)[(layer * segments + segment) * n + row] = bias[i][2 * r];
    }
}
extern "C" __global__ void __launch_bounds__(THREADS, 2) weight_grad(const __grid_constant__ Words<12> w) { weight_grad_block(w, blockIdx.x); }

// Adds segments up. Words: sums, dw, elements, sums of the bias, dbias, elements, segments, blocks of a layer.
__device__ __forceinline__ void weight_grad_sums_block(const Words<8>& w, u32 block) {
  const i64 i = (i64)(block % (u32)integer(w, 7)) * 256 + threadIdx.x, layer = block / (u32)integer(w, 7), n = wide(w, 2), extra = wide(w, 5);
  if (i >= n + extra) return;
  const int segments = integer(w, 6);
  const i64 stride = i < n ? n : extra;
  const float* const from = (i < n ? pointer<const float>(w, 0) + i : pointer<const float>(w, 3) + (i - n)) + layer * segments * stride;
  float sum = 0.f;
  #pragma unroll 8
  for (int s = 0; s < segments; s++) sum += from[s * stride];
  (i < n ? pointer<float>(w, 1) + i : pointer<float>(w, 4) + (i - n))[layer * stride] = sum;
}
extern "C" __global__ void __launch_bounds__(256) weight_grad_sums(const __grid_constant__ Words<8> w) { weight_grad_sums_block(w, blockIdx.x); }
