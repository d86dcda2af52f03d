// Transforms of N = 256 M points in the shared memory of a block, for tensor-block.cu and tensor-backward.cu.
//
// In front: `#define FACTOR m` (M: 8 to 128), `#define PAIRED 0|1` (two rows are the real and the imaginary part of one transform), and
// tensor-instructions.cu, tensor-256.cu, tensor-sequences.cu.
//
// A transform lies in planes of real and imaginary parts, 256 rows of M values (row n1 16 + n2, later k2 16 + the place of k1). Each warp
// transforms columns of four n3 (a group) at a time over n1 and n2 in registers and puts the result where it took its data; then each warp takes
// some k2 and does n3 (a tile), what has to be done to the spectrum, and n3 back; and the columns again. What follows n3 is a circular
// convolution of every row, so a row may lie rotated, each by another amount: rotations by 8 bytes keep all accesses free of bank conflicts and
// never are undone.

constexpr int M = FACTOR, N = 256 * M, C = M / 8, ROWS = PAIRED ? 2 : 1, PLANE = 512 * M, SLOTS = M / 4;

// Slots by which a row is rotated, from its low bits and bits 4 to 7: distinct for the rows that lanes access together.
__device__ __forceinline__ int turned(int low, int b5, int b6, int b7) {
  const int quarter = b6 + 2 * (b5 ^ b7);
  return M >= 64 ? (low & 3) + 4 * quarter : M == 32 ? (low >> 1 & 1) + 2 * quarter : quarter;
}
__device__ __forceinline__ int slot(int group, int turn) { return 8 * ((group + turn) & (SLOTS - 1)); }

// Where a lane finds a group: rows 16 (2t + 8h) + g before, 16 (4t + 2h) + g after the transform.
struct Cells { u32 before[2], after[2]; };
__device__ __forceinline__ Cells cells_of(u32 plane, int group, int lane) {
  const int g = lane >> 2, t = lane & 3;
  Cells cells;
  #pragma unroll
  for (int h = 0; h < 2; h++) {
    cells.before[h] = plane + (16 * (2 * t + 8 * h) + g) * 2 * M + slot(group, turned(g, t & 1, t >> 1, h));
    cells.after[h] = plane + (16 * (4 * t + 2 * h) + g) * 2 * M + slot(group, turned(g, h, t & 1, t >> 1));
  }
  return cells;
}

// A group over n1 and n2 in place, its rows times the first SCALES of two factors before; `twiddles`: what tensorTable has for the residue.
struct Scales { half2 one[ROWS], two[ROWS]; };
template <int SCALES> __device__ __forceinline__ void columns_forward(const Transform256<PAIRED>& transform, const uint4* table, const uint4* twiddles, u32 plane, int group, int lane, const Scales& by) {
  const Cells at = cells_of(plane, group, lane);
  uint2 raw[ROWS][2][4];
  #pragma unroll
  for (int row = 0; row < ROWS; row++)
    #pragma unroll
    for (int j = 0; j < 2; j++)
      #pragma unroll
      for (int s = 0; s < 4; s++) raw[row][j][s] = load_shared(at.before[s >> 1] + row * PLANE + ((s & 1) * 16 + 8 * j) * 2 * M);
  if constexpr (SCALES > 0) {
    #pragma unroll
    for (int row = 0; row < ROWS; row++)
      #pragma unroll
      for (int j = 0; j < 2; j++)
        #pragma unroll
        for (int s = 0; s < 4; s++) {
          uint2& v = raw[row][j][s];
          v.x = product(v.x, by.one[row]); v.y = product(v.y, by.one[row]);
          if constexpr (SCALES > 1) { v.x = product(v.x, by.two[row]); v.y = product(v.y, by.two[row]); }
        }
  }
  half2 zr[8][2], zi[8][2];
  Stage stage;
  transform.load_forward(stage, table, twiddles, lane);
  // What follows stores cannot be loaded beside them: half of the factors at a time.
  uint4 factor[4];
  const uint4* factors = twiddles + 128 + group * 256 + lane;
  #pragma unroll
  for (int p = 0; p < 4; p++) factor[p] = reload(factors + p * 32);
  #pragma unroll
  for (int pair = 0; pair < 2; pair++) {
    half2 ar[2][2][2], ai[2][2][2];
    #pragma unroll
    for (int o = 0; o < 2; o++) {
      half2 xr[2][2], xi[2][2];
      #pragma unroll
      for (int j = 0; j < 2; j++)
        #pragma unroll
        for (int b = 0; b < 2; b++) {
          const uint2 p = raw[0][j][2 * b], q = raw[0][j][2 * b + 1];
          xr[j][b] = pair == 0 ? halves(p.x, q.x, o) : halves(p.y, q.y, o);
          if constexpr (PAIRED) {
            const uint2 p = raw[ROWS - 1][j][2 * b], q = raw[ROWS - 1][j][2 * b + 1];
            xi[j][b] = pair == 0 ? halves(p.x, q.x, o) : halves(p.y, q.y, o);
          } else {
            xi[j][b] = 0;
          }
        }
      transform.forward(stage, xr, xi, ar[o], ai[o]);
    }
    #pragma unroll
    for (int p = 0; p < 8; p++) {
      const int r = p >> 2, j = p >> 1 & 1, e = p & 1;
      zr[p][pair] = halves(ar[0][j][r], ar[1][j][r], e);
      zi[p][pair] = halves(ai[0][j][r], ai[1][j][r], e);
    }
  }
  __syncwarp();
  #pragma unroll
  for (int p = 0; p < 8; p++) {
    const int r = p >> 2, j = p >> 1 & 1, e = p & 1;
    const uint4 v = factor[p & 3];
    if (p < 4) factor[p] = reload(factors + (p + 4) * 32);
    times(zr[p][0], zi[p][0], v.x, v.y);
    times(zr[p][1], zi[p][1], v.z, v.w);
    const u32 to = at.after[e] + (16 * j + 8 * r) * 2 * M;
    store_shared(to, zr[p][0], zr[p][1]);
    store_shared(to + PLANE, zi[p][0], zi[p][1]);
  }
}

// A group back.
__device__ __forceinline__ void columns_inverse(const Transform256<PAIRED>& transform, const uint4* table, const uint4* twiddles, u32 plane, int group, int lane) {
  const Cells at = cells_of(plane, group, lane);
  half2 zr[8][2], zi[8][2];
  #pragma unroll
  for (int p = 0; p < 8; p++) {
    const int r = p >> 2, j = p >> 1 & 1, e = p & 1;
    const uint4 v = reload(twiddles + 128 + (group * 8 + p) * 32 + lane);
    const u32 from = at.after[e] + (16 * j + 8 * r) * 2 * M;
    const uint2 a = load_shared(from), b = load_shared(from + PLANE);
    zr[p][0] = a.x; zr[p][1] = a.y; zi[p][0] = b.x; zi[p][1] = b.y;
    times_conjugate(zr[p][0], zi[p][0], v.x, v.y);
    times_conjugate(zr[p][1], zi[p][1], v.z, v.w);
  }
  Stage stage;
  transform.load_inverse(stage, table, twiddles, lane);
  __syncwarp();
  half2 kept[ROWS][2][2][2];
  #pragma unroll
  for (int pair = 0; pair < 2; pair++) {
    half2 er[2][2][2], ei[2][2][2];
    #pragma unroll
    for (int o = 0; o < 2; o++) {
      half2 xr[2][2], xi[2][2];
      #pragma unroll
      for (int r = 0; r < 2; r++)
        #pragma unroll
        for (int j = 0; j < 2; j++) {
          const int p = (r * 2 + j) * 2;
          xr[r][j] = halves(zr[p][pair], zr[p + 1][pair], o);
          xi[r][j] = halves(zi[p][pair], zi[p + 1][pair], o);
        }
      transform.inverse(stage, xr, xi, er[o], ei[o]);
    }
    #pragma unroll
    for (int c = 0; c < 2; c++)
      #pragma unroll
      for (int h = 0; h < 2; h++)
        #pragma unroll
        for (int e = 0; e < 2; e++) {
          const half2 a = halves(er[0][h][c], er[1][h][c], e);
          const half2 b = PAIRED ? halves(ei[0][h][c], ei[1][h][c], e) : 0;
          const u32 to = at.before[h] + (16 * e + 8 * c) * 2 * M;
          if (pair == 0) {
            kept[0][c][h][e] = a;
            if constexpr (PAIRED) kept[ROWS - 1][c][h][e] = b;
          } else {
            store_shared(to, kept[0][c][h][e], a);
            if constexpr (PAIRED) store_shared(to + PLANE, kept[ROWS - 1][c][h][e], b);
          }
        }
  }
}

// A tile: 16 rows of M values of one k2, and which 16 bytes of its row a lane takes first.
struct Tile { u32 line; int chunk; };
__device__ __forceinline__ Tile tile_of(u32 plane, int k2, int lane) {
  const int row = k2 * 16 + (lane & 15);
  return {plane + row * 2 * M, (lane >> 4) + (M == 16 ? row >> 2 : M == 32 ? row >> 1 : M == 8 ? 0 : row)};
}
// Reads a tile and does the part of n3 that one thread can.
__device__ __forceinline__ void load_tile(half2 (&xr)[C][2], half2 (&xi)[C][2], const Tile& tile, int lane) {
  if constexpr (C == 1) {
    u32 v[4];
    load_matrices(v, tile.line + (lane >> 4) * PLANE);
    xr[0][0] = v[0]; xr[0][1] = v[1]; xi[0][0] = v[2]; xi[0][1] = v[3];
  } else {
    #pragma unroll
    for (int a = 0; a < C; a += 2) {
      u32 v[4];
      const u32 at = tile.line + 16 * ((a + tile.chunk) & (C - 1));
      load_matrices(v, at);
      xr[a][0] = v[0]; xr[a][1] = v[1]; xr[a + 1][0] = v[2]; xr[a + 1][1] = v[3];
      load_matrices(v, at + PLANE);
      xi[a][0] = v[0]; xi[a][1] = v[1]; xi[a + 1][0] = v[2]; xi[a + 1][1] = v[3];
    }
  }
  dft<C>(xr, xi, 0); dft<C>(xr, xi, 1);
}
__device__ __forceinline__ void store_tile(half2 (&yr)[C][2], half2 (&yi)[C][2], const Tile& tile, int lane) {
  // Real and imaginary parts change places: the transform back.
  dft<C>(yi, yr, 0); dft<C>(yi, yr, 1);
  if constexpr (C == 1) {
    store_matrices(tile.line + (lane >> 4) * PLANE, yr[0][0], yr[0][1], yi[0][0], yi[0][1]);
  } else {
    #pragma unroll
    for (int a = 0; a < C; a += 2) {
      const int p = place<C>(a), q = place<C>(a + 1);
      const u32 at = tile.line + 16 * ((a + tile.chunk) & (C - 1));
      store_matrices(at, yr[p][0], yr[p][1], yr[q][0], yr[q][1]);
      store_matrices(at + PLANE, yi[p][0], yi[p][1], yi[q][0], yi[q][1]);
    }
  }
}
