// The gradient of a linear layer's weight and bias: dw [N, K] = dz [M, N]^T x [M, K] and the sums of dz's columns, over many more rows than
// either has columns. Halves on tensor cores with float32 sums; a block makes a tile of 128 x 128 over a segment of the rows, a second launch
// adds the segments up in order. Defined before: E (half).

constexpr int TILE = 128, DEPTH = 32, STAGES = 4, ROW = TILE + 8, THREADS = 128;
constexpr int STAGE = 2 * DEPTH * ROW;

/** Rows first .. first + DEPTH - 1 and columns of a tile, in the background; zeros outside. `vectors`: 16 bytes at a time. */
__device__ __forceinline__ void load_rows(E* tile, const E* from, i64 columns, i64 first, i64 limit, i64 column0, bool vectors) {
  if (vectors) {
    #pragma unroll
    for (int i = 0; i < DEPTH * TILE / 8 / THREADS; i++) {
      const int at = threadIdx.x + i * THREADS, r = at / (TILE / 8), c = at % (TILE / 8) * 8;
      const bool there = first + r < limit && column0 + c < columns;
      copy16(tile + r * ROW + c, there ? from + (first + r) * columns + column0 + c : from, there ? 16 : 0);
    }
  } else {
    for (int at = threadIdx.x; at < DEPTH * TILE; at += THREADS) {
      const int r = at / TILE, c = at % TILE;
      E e = {};
      if (first + r < limit && column0 + c < columns) e = from[(first + r) * columns + column0 + c];
      tile[r * ROW + c] = e;
    }
  }
}

// Words: dz, x, sums [segments, N, K], sums of the bias [segments, N] (0: not asked for), M, N, K, rows of a segment, tiles along K, tiles,
// whether rows of dz and x begin on 16 bytes.
__device__ __forceinline__ void weight_grad_block(const Words<11>& w, u32 block) {
  extern __shared__ __align__(16) unsigned char memory[];
  E* const shared = (E*)memory;
  const i64 rows = wide(w, 4), n = wide(w, 5), k = wide(w, 6);
  const int tiles = integer(w, 9), segment = block / tiles, tile = block % tiles;
  const i64 n0 = (i64)(tile / integer(w, 8)) * TILE, k0 = (i64)(tile % integer(w, 8)) * TILE;
  const i64 first = (i64)segment * wide(w, 7), last = first + wide(w, 7) < rows ? first + wide(w, 7) : rows;
  const bool vectors = integer(w, 10);
  const E* const dz = pointer<const E>(w, 0);
  const E* const x = pointer<const E>(w, 1);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  // A warp makes 64 x 64 of the tile, and the first two the sums of dz's columns: its product with ones.
  const int wn = (warp & 1) * 64, wk = (warp >> 1) * 64;
  float c[4][8][4] = {}, bias[4][4] = {};
  const bool wantsBias = w.word[3] != 0 && k0 == 0 && wk == 0;
  const u32 ones = pair(1.f, 1.f);
  const int steps = last > first ? (int)((last - first + DEPTH - 1) / DEPTH) : 0;
  #pragma unroll
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < steps) {
      load_rows(shared + s * STAGE, dz, n, first + s * DEPTH, last, n0, vectors);
      load_rows(shared + s * STAGE + DEPTH * ROW, x, k, first + s * DEPTH, last, k0, vectors);
    }
    copies_commit();
  }
  for (int s = 0; s < steps; s++) {
    copies_wait<STAGES - 2>();
    __syncthreads();
    const int next = s + STAGES - 1;
    if (next < steps) {
      load_rows(shared + next % STAGES * STAGE, dz, n, first + (i64)next * DEPTH, last, n0, vectors);
      load_rows(shared + next % STAGES * STAGE + DEPTH * ROW, x, k, first + (i64)next * DEPTH, last, k0, vectors);
    }
    copies_commit();
    const E* const a = shared + s % STAGES * STAGE;
    const E* const b = a + DEPTH * ROW;
    #pragma unroll
    for (int d = 0; d < DEPTH; d += 16) {
      // Rows of dz are the terms: its blocks come turned, as blocks of dz^T.
      u32 left[4][4];
      #pragma unroll
      for (int i = 0; i < 4; i++) {
        load_turned4(left[i], a + (d + (lane & 7) + (lane >> 4) * 8) * ROW + wn + i * 16 + (lane >> 3 & 1) * 8);
        if (wantsBias) multiply16(bias[i], left[i], ones, ones);
      }
      #pragma unroll
      for (int j = 0; j < 4; j++) {
        u32 r[4];
        load_turned4(r, b + (d + (lane & 15)) * ROW + wk + j * 16 + (lane >> 4) * 8);
        #pragma unroll
        for (int i = 0; i < 4; i++) {
          multiply16(c[i][2 * j], left[i], r[0], r[1]);
          multiply16(c[i][2 * j + 1], left[i], r[2], r[3]);
        }
      }
    }
  }
  copies_wait<0>();
  float* const sums = pointer<float>(w, 2) + (i64)segment * n * k;
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
      if (row < n) pointer<float>(w, 3)[(i64)segment * n + row] = bias[i][2 * r];
    }
}
extern "C" __global__ void __launch_bounds__(THREADS, 2) weight_grad(const __grid_constant__ Words<11> w) { weight_grad_block(w, blockIdx.x); }

// Adds segments up. Words: sums, dw, elements, sums of the bias, dbias, elements, segments.
__device__ __forceinline__ void weight_grad_sums_block(const Words<7>& w, u32 block) {
  const i64 i = (i64)block * 256 + threadIdx.x, n = wide(w, 2), extra = wide(w, 5);
  if (i >= n + extra) return;
  const float* const from = i < n ? pointer<const float>(w, 0) + i : pointer<const float>(w, 3) + (i - n);
  const i64 stride = i < n ? n : extra;
  const int segments = integer(w, 6);
  float sum = 0.f;
  #pragma unroll 8
  for (int s = 0; s < segments; s++) sum += from[s * stride];
  (i < n ? pointer<float>(w, 1) + i : pointer<float>(w, 4) + (i - n))[0] = sum;
}
extern "C" __global__ void __launch_bounds__(256) weight_grad_sums(const __grid_constant__ Words<7> w) { weight_grad_sums_block(w, blockIdx.x); }
