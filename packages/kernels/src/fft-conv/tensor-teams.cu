// Transforms of N = 256 M points in shared memory around one copy of their constants there, for tensor-block.cu and tensor-backward.cu. (Clusters have no
// room for it and transform as tensor-columns.cu does.)
//
// In front: `#define FACTOR m` (M: 8 to 128), `#define PAIRED 0|1` (two rows are the real and the imaginary part of one transform), `#define SHARED
// 0|1|2` (where the table lies: all of it in shared memory, but the classes, nothing), and tensor-instructions.cu, tensor-256.cu, tensor-sequences.cu.
//
// A transform lies in planes of real and imaginary parts, 2 KB for every four n3 (a group). Each warp transforms groups over n1 and n2 in registers, as
// tensor-256.cu derives, and puts the result where it took its data; then each warp takes some k1 and does n3 (a tile: all k2), what has to be done to
// the spectrum, and n3 back; and the groups again. All twiddles but W_256^((k1 + d) n2) are part of matrices of an n3's own:
//   W_N^((k1 + d) n3) W_16^((k1 + d) n1)  and  W_16M^(k2 n3) W_16^(k2 n2).
//
// Before the transform a group holds rows n1 of 16 n2, each 8 bytes for its n3; afterwards rows of 512 bytes, one an n3, in which lies
// k1 = 2 g + r, k2 = 2 (2t + e) + j at 256 r + 32 g + 8 t + 4 j + 2 e. Exclusive ors keep all accesses free of bank conflicts.

constexpr int M = FACTOR, N = 256 * M, C = M / 8, ROWS = PAIRED ? 2 : 1, PLANE = 512 * M, SLOTS = M / 4;

// The table: classes of n3, then the twiddles W_256^((k1 + d) n2) there and back, then the matrices of every n3 (in device memory also transposed).
constexpr int FIRST = PAIRED ? 1 : 2, PER = FIRST + 1, CLASSES_END = 32 * C, TABLE_END = CLASSES_END + 128 + 32 * PER * M;
// A place in shared memory counts blocks of 16 bytes, as a pointer to device memory does.
struct SharedTable { u32 at; };
__device__ __forceinline__ SharedTable operator+(SharedTable p, int i) { return {p.at + 16 * i}; }
__device__ __forceinline__ uint4 reload(SharedTable p) { return load_shared_wide(p.at); }
#if SHARED
typedef SharedTable Steps;
#else
typedef const uint4* Steps;
#endif
// Where a kernel finds the table: copied to the shared memory at `copy` where it is SHARED.
struct Table {
#if SHARED == 1
  SharedTable classes;
#else
  const uint4* classes;
#endif
  Steps twiddles, steps;
  __device__ __forceinline__ Table(const uint4* table, u32 copy) {
#if SHARED
    constexpr int FROM = SHARED == 2 ? CLASSES_END : 0;
    for (int i = threadIdx.x + FROM; i < TABLE_END; i += blockDim.x) store_shared_wide(copy + 16 * (i - FROM), __ldg(table + i));
    __syncthreads();
    twiddles = {copy + 16 * (CLASSES_END - FROM)};
#else
    twiddles = table + CLASSES_END;
#endif
#if SHARED == 1
    classes = {copy};
#else
    classes = table;
#endif
    steps = twiddles + 128;
  }
};

// Where the first element (of four) of n1 = 0 and n2 lies in its group.
__device__ __forceinline__ int place_of(int group, int n2, int quarter) { return 8 * (n2 ^ 4 * quarter ^ (SLOTS <= 16 ? group * (16 / SLOTS) : group & 15)); }
// The place of elements 4 i to 4 i + 3 of 16 n1's M (a thread's own ones): n1, and what tid is of them.
__device__ __forceinline__ u32 own_place(int n1, int at) {
  const int group = at % SLOTS, n2 = at / SLOTS;
  return 2048 * group + 128 * n1 + place_of(group, n2, n1 >> 1 & 3);
}

struct Twiddles { u32 re[4], im[4]; };
__device__ __forceinline__ Twiddles load_twiddles(const Table& table, bool back, int lane) {
  Twiddles s;
  load_four(s.re, table.twiddles + (back ? 64 : 0) + lane); load_four(s.im, table.twiddles + (back ? 96 : 32) + lane);
  return s;
}
// Four 8x8 matrices of an n3, or all of them transposed.
struct Four { u32 at[4]; };
__device__ __forceinline__ Four step_matrices(SharedTable steps, int n3, int which, bool back, int lane) {
  Four m;
  const u32 at = (steps + 32 * (PER * n3 + which) + lane).at;
  if (back) load_transposed(m.at, at); else load_matrices(m.at, at);
  return m;
}
__device__ __forceinline__ Four step_matrices(const uint4* steps, int n3, int which, bool back, int lane) {
  Four m;
  load_four(m.at, steps + 32 * (PER * (n3 + (back ? M : 0)) + which) + lane);
  return m;
}
__device__ __forceinline__ Matrix even_of(const Four& m) { return {m.at[0], m.at[1], negated(m.at[1])}; }
__device__ __forceinline__ Matrix odd_of(const Four& m) { return {m.at[2], m.at[3], negated(m.at[3])}; }

// Of a group: where a lane finds rows n1 = 2t + e + 8h, n2 = g + 8j, and its words of the rows of n3.
struct Cells { u32 before, after; };
__device__ __forceinline__ Cells cells_of(u32 plane, int group, int lane) {
  const int g = lane >> 2, t = lane & 3;
  const u32 at = plane + 2048 * group;
  return {at + 256 * t + place_of(group, g, t), at + ((32 * g + 8 * t) ^ 64 * (group & 1))};
}
__device__ __forceinline__ u32 before(const Cells& at, int j, int e, int h) { return (at.before ^ 64 * j) + 128 * e + 1024 * h; }
__device__ __forceinline__ u32 after(const Cells& at, int i, int r) { return (at.after ^ 16 * i) + 512 * i + 256 * r; }

// A group of COUNT transforms over n1 and n2, which read the matrices once: rows times the first SCALES of two factors, from planes at `raw`, which may
// be those they go to.
struct Scales { half2 one[ROWS], two[ROWS]; };
template <int SCALES, int COUNT> __device__ __forceinline__ void columns_forward(const Table& table, const Twiddles& s, const u32 (&raw_planes)[COUNT], const u32 (&planes)[COUNT], int group, int lane, const Scales (&by)[COUNT]) {
  uint2 raw[COUNT][ROWS][2][4];
  #pragma unroll
  for (int set = 0; set < COUNT; set++) {
    const Cells from = cells_of(raw_planes[set], group, lane);
    #pragma unroll
    for (int row = 0; row < ROWS; row++)
      #pragma unroll
      for (int j = 0; j < 2; j++)
        #pragma unroll
        for (int k = 0; k < 4; k++) {
          uint2& v = raw[set][row][j][k];
          v = load_shared(before(from, j, k & 1, k >> 1) + row * PLANE);
          if constexpr (SCALES > 0) { v.x = product(v.x, by[set].one[row]); v.y = product(v.y, by[set].one[row]); }
          if constexpr (SCALES > 1) { v.x = product(v.x, by[set].two[row]); v.y = product(v.y, by[set].two[row]); }
        }
  }
  __syncwarp();
  #pragma unroll
  for (int i = 0; i < 4; i++) {
    const Four a = step_matrices(table.steps, 4 * group + i, 0, false, lane);
    const Four b = PAIRED ? a : step_matrices(table.steps, 4 * group + i, 1, false, lane);
    const Four c = step_matrices(table.steps, 4 * group + i, FIRST, false, lane);
    #pragma unroll
    for (int set = 0; set < COUNT; set++) {
      const Cells at = cells_of(planes[set], group, lane);
      half2 xr[2][2], xi[2][2], cr[2][2], ci[2][2], zr[2][2], zi[2][2];
      #pragma unroll
      for (int j = 0; j < 2; j++)
        #pragma unroll
        for (int h = 0; h < 2; h++) {
          const uint2 p = raw[set][0][j][2 * h], q = raw[set][0][j][2 * h + 1];
          xr[j][h] = i < 2 ? halves(p.x, q.x, i & 1) : halves(p.y, q.y, i & 1);
          if constexpr (PAIRED) {
            const uint2 p = raw[set][ROWS - 1][j][2 * h], q = raw[set][ROWS - 1][j][2 * h + 1];
            xi[j][h] = i < 2 ? halves(p.x, q.x, i & 1) : halves(p.y, q.y, i & 1);
          }
        }
      #pragma unroll
      for (int j = 0; j < 2; j++) {
        if constexpr (PAIRED) {
          apply(cr[0][j], ci[0][j], even_of(a), plus(xr[j][0], xr[j][1]), plus(xi[j][0], xi[j][1]));
          apply(cr[1][j], ci[1][j], odd_of(a), minus(xr[j][0], xr[j][1]), minus(xi[j][0], xi[j][1]));
        } else {
          multiply(cr[0][j], ci[0][j], a.at[0], a.at[1], a.at[2], a.at[3], xr[j][0], xr[j][1]);
          multiply(cr[1][j], ci[1][j], b.at[0], b.at[1], b.at[2], b.at[3], xr[j][0], xr[j][1]);
        }
        #pragma unroll
        for (int r = 0; r < 2; r++) times(cr[r][j], ci[r][j], s.re[2 * r + j], s.im[2 * r + j]);
      }
      apply(zr[0], zi[0], plus(cr[0][0], cr[0][1]), plus(cr[1][0], cr[1][1]), plus(ci[0][0], ci[0][1]), plus(ci[1][0], ci[1][1]), even_of(c));
      apply(zr[1], zi[1], minus(cr[0][0], cr[0][1]), minus(cr[1][0], cr[1][1]), minus(ci[0][0], ci[0][1]), minus(ci[1][0], ci[1][1]), odd_of(c));
      #pragma unroll
      for (int r = 0; r < 2; r++) {
        store_shared(after(at, i, r), zr[0][r], zr[1][r]);
        store_shared(after(at, i, r) + PLANE, zi[0][r], zi[1][r]);
      }
    }
  }
}

// A group of COUNT transforms back; the imaginary part of real results is not made.
template <int COUNT> __device__ __forceinline__ void columns_inverse(const Table& table, const Twiddles& s, const u32 (&planes)[COUNT], int group, int lane) {
  half2 kept[COUNT][ROWS][2][2][2];
  #pragma unroll
  for (int pair = 0; pair < 2; pair++) {
    half2 yr[COUNT][2][2][2], yi[COUNT][2][2][2];
    #pragma unroll
    for (int o = 0; o < 2; o++) {
      const int i = 2 * pair + o;
      const Four c = step_matrices(table.steps, 4 * group + i, FIRST, true, lane), a = step_matrices(table.steps, 4 * group + i, 0, true, lane);
      const Four b = PAIRED ? a : step_matrices(table.steps, 4 * group + i, 1, true, lane);
      #pragma unroll
      for (int set = 0; set < COUNT; set++) {
        const Cells at = cells_of(planes[set], group, lane);
        half2 dr[2][2], di[2][2];
        #pragma unroll
        for (int r = 0; r < 2; r++) {
          const uint2 re = load_shared(after(at, i, r)), im = load_shared(after(at, i, r) + PLANE);
          half2 er, ei, fr, fi;
          apply(er, ei, conjugate(even_of(c)), re.x, im.x);
          apply(fr, fi, conjugate(odd_of(c)), re.y, im.y);
          dr[r][0] = plus(er, fr); di[r][0] = plus(ei, fi); dr[r][1] = minus(er, fr); di[r][1] = minus(ei, fi);
          #pragma unroll
          for (int j = 0; j < 2; j++) times_conjugate(dr[r][j], di[r][j], s.re[2 * r + j], s.im[2 * r + j]);
        }
        if constexpr (PAIRED) {
          half2 er[2], ei[2], fr[2], fi[2];
          apply(er, ei, dr[0][0], dr[0][1], di[0][0], di[0][1], conjugate(even_of(a)));
          apply(fr, fi, dr[1][0], dr[1][1], di[1][0], di[1][1], conjugate(odd_of(a)));
          #pragma unroll
          for (int j = 0; j < 2; j++) {
            yr[set][o][0][j] = plus(er[j], fr[j]); yi[set][o][0][j] = plus(ei[j], fi[j]);
            yr[set][o][1][j] = minus(er[j], fr[j]); yi[set][o][1][j] = minus(ei[j], fi[j]);
          }
        } else {
          #pragma unroll
          for (int h = 0; h < 2; h++) {
            multiply(yr[set][o][h][0], yr[set][o][h][1], dr[0][0], dr[0][1], di[0][0], di[0][1], a.at[2 * h], a.at[2 * h + 1]);
            multiply_add(yr[set][o][h][0], yr[set][o][h][1], dr[1][0], dr[1][1], di[1][0], di[1][1], b.at[2 * h], b.at[2 * h + 1]);
          }
        }
      }
    }
    // Now all lanes have read what they need.
    if (pair == 1) __syncwarp();
    #pragma unroll
    for (int set = 0; set < COUNT; set++) {
      const Cells at = cells_of(planes[set], group, lane);
      #pragma unroll
      for (int j = 0; j < 2; j++)
        #pragma unroll
        for (int h = 0; h < 2; h++)
          #pragma unroll
          for (int e = 0; e < 2; e++) {
            const half2 p = halves(yr[set][0][h][j], yr[set][1][h][j], e), q = PAIRED ? halves(yi[set][0][h][j], yi[set][1][h][j], e) : 0;
            if (pair == 0) {
              kept[set][0][j][h][e] = p;
              if constexpr (PAIRED) kept[set][ROWS - 1][j][h][e] = q;
            } else {
              store_shared(before(at, j, e, h), kept[set][0][j][h][e], p);
              if constexpr (PAIRED) store_shared(before(at, j, e, h) + PLANE, kept[set][ROWS - 1][j][h][e], q);
            }
          }
    }
  }
}

// The matrices of class c of n3, there and back.
struct Class { Matrix there, back; };
__device__ __forceinline__ Class load_class(const Table& table, int c, int lane) {
  const uint4 v = reload(table.classes + 32 * c + lane);
  return {{v.x, v.y, negated(v.y)}, {v.z, v.w, negated(v.w)}};
}

// Tile k1 / 2 + 8 (k1 % 2): where a lane's row of 16 bytes lies.
__device__ __forceinline__ u32 tile_of(u32 plane, int tile, int lane) {
  const int row = lane & 7, q = lane >> 3;
  return plane + (q >> 1) * (C == 1 ? PLANE : 4096) + 512 * row + ((32 * tile + 16 * (q & 1)) ^ 16 * row);
}
// Reads a tile and does the part of n3 that one thread can.
__device__ __forceinline__ void load_tile(half2 (&xr)[C][2], half2 (&xi)[C][2], u32 tile) {
  if constexpr (C == 1) {
    u32 v[4];
    load_transposed(v, tile);
    xr[0][0] = v[0]; xr[0][1] = v[1]; xi[0][0] = v[2]; xi[0][1] = v[3];
  } else {
    #pragma unroll
    for (int a = 0; a < C; a += 2) {
      u32 v[4];
      load_transposed(v, tile + 4096 * a);
      xr[a][0] = v[0]; xr[a][1] = v[1]; xr[a + 1][0] = v[2]; xr[a + 1][1] = v[3];
      load_transposed(v, tile + 4096 * a + PLANE);
      xi[a][0] = v[0]; xi[a][1] = v[1]; xi[a + 1][0] = v[2]; xi[a + 1][1] = v[3];
    }
  }
  dft<C>(xr, xi, 0); dft<C>(xr, xi, 1);
}
__device__ __forceinline__ void store_tile(half2 (&yr)[C][2], half2 (&yi)[C][2], u32 tile) {
  // Real and imaginary parts change places: the transform back.
  dft<C>(yi, yr, 0); dft<C>(yi, yr, 1);
  if constexpr (C == 1) {
    store_transposed(tile, yr[0][0], yr[0][1], yi[0][0], yi[0][1]);
  } else {
    #pragma unroll
    for (int a = 0; a < C; a += 2) {
      const int p = place<C>(a), q = place<C>(a + 1);
      store_transposed(tile + 4096 * a, yr[p][0], yr[p][1], yr[q][0], yr[q][1]);
      store_transposed(tile + 4096 * a + PLANE, yi[p][0], yi[p][1], yi[q][0], yi[q][1]);
    }
  }
}
