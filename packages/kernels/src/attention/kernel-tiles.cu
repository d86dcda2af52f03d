// Tiles in shared memory and their products on tensor cores, for sm_80 and newer (mma.sync). Halves multiply as they are;
// float32 is split into two TF32 numbers each, whose three large products reach float32's own accuracy.
//
// Defined before: E (element), HALF, MMA (name of a half in PTX), MT (blocks of 16 rows that a warp owns).
//
// A sum tile of 16 x 8 lies in a warp as mma leaves it: lane = 4 g + t holds (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
// Rows of a stored tile are padded by 16 bytes, which spreads every access below over all banks.

constexpr int THREADS = 128;
constexpr int PER16 = 16 / sizeof(E);
constexpr int KSTEP = HALF ? 16 : 8;
template <int COLUMNS> constexpr int PADDED = COLUMNS + PER16;

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ float exp2_(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
__device__ __forceinline__ void copy16(const void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(shared_address(to)), "l"(from), "r"(bytes));
}
__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT> __device__ __forceinline__ void copies_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(LEFT) : "memory"); }

/** Rows first .. first + ROWS - 1 of a matrix with rows `stride` elements apart; zeros from row `limit` and column `dim` on. */
template <int ROWS, int COLUMNS>
__device__ __forceinline__ void load_tile(E* tile, const E* from, i64 stride, int first, int limit, int dim, bool vectors) {
  constexpr int ROW = PADDED<COLUMNS>;
  if (vectors) {
    constexpr int CHUNKS = COLUMNS / PER16;
    for (int i = threadIdx.x; i < ROWS * CHUNKS; i += THREADS) {
      const int r = i / CHUNKS, c = i % CHUNKS * PER16;
      const int there = first + r < limit ? min(max(dim - c, 0), PER16) : 0;
      copy16(tile + r * ROW + c, there ? from + (first + r) * stride + c : from, there * (int)sizeof(E));
    }
  } else {
    for (int i = threadIdx.x; i < ROWS * COLUMNS; i += THREADS) {
      const int r = i / COLUMNS, c = i % COLUMNS;
      E x = {};
      if (first + r < limit && c < dim) x = from[(first + r) * stride + c];
      tile[r * ROW + c] = x;
    }
  }
}

/** The left operand of a product: 16 rows by KSTEP. */
struct Left {
  u32 high[4];
#if !HALF
  u32 low[4];
#endif
};

#if HALF
__device__ __forceinline__ u32 pair(float low, float high) {
  u32 r;
  asm("cvt.rn." MMA "x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
__device__ __forceinline__ void multiply(float (&c)[4], const Left& a, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." MMA "." MMA ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
    : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
    : "r"(a.high[0]), "r"(a.high[1]), "r"(a.high[2]), "r"(a.high[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void load_matrices(u32 (&r)[4], const E* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
    : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)));
}
__device__ __forceinline__ void load_transposed(u32 (&r)[4], const E* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
    : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)));
}
#else
__device__ __forceinline__ void split(float x, u32& high, u32& low) {
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(high) : "f"(x));
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(low) : "f"(x - __uint_as_float(high)));
}
__device__ __forceinline__ void multiply8(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
    : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply8_anew(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%10,%10,%10};"
    : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.f));
}
/** The small products first, so that they are not lost; and the sum outside: tensor cores round it towards zero, which adds up. */
__device__ __forceinline__ void multiply(float (&c)[4], const Left& a, float x0, float x1) {
  u32 b0, b1, d0, d1;
  split(x0, b0, d0);
  split(x1, b1, d1);
  float s[4];
  multiply8_anew(s, a.low, b0, b1);
  multiply8(s, a.high, d0, d1);
  multiply8(s, a.high, b0, b1);
  #pragma unroll
  for (int i = 0; i < 4; i++) c[i] += s[i];
}
#endif

/** The left operand from rows of a tile. */
__device__ __forceinline__ void left_of_rows(Left& a, const E* tile, int rowLength, int row, int k) {
  const int lane = threadIdx.x & 31;
#if HALF
  load_matrices(a.high, tile + (row + (lane & 15)) * rowLength + k + (lane >> 4) * 8);
#else
  const E* p = tile + (row + (lane >> 2)) * rowLength + k + (lane & 3);
  split(p[0], a.high[0], a.low[0]);
  split(p[8 * rowLength], a.high[1], a.low[1]);
  split(p[4], a.high[2], a.low[2]);
  split(p[8 * rowLength + 4], a.high[3], a.low[3]);
#endif
}

/** The left operand from sums: columns KSTEP `step` .. of 16 rows. For float32 the order of its columns is even ones first. */
template <int N8> __device__ __forceinline__ void left_of_sums(Left& a, const float (&s)[N8][4], int step) {
#if HALF
  const float(&x)[4] = s[2 * step], (&y)[4] = s[2 * step + 1];
  a.high[0] = pair(x[0], x[1]);
  a.high[1] = pair(x[2], x[3]);
  a.high[2] = pair(y[0], y[1]);
  a.high[3] = pair(y[2], y[3]);
#else
  const float(&x)[4] = s[step];
  split(x[0], a.high[0], a.low[0]);
  split(x[2], a.high[1], a.low[1]);
  split(x[1], a.high[2], a.low[2]);
  split(x[3], a.high[3], a.low[3]);
#endif
}

/** c += a times the transpose of a tile's rows 0 .. 8 N8 - 1, over its columns k .. k + KSTEP - 1. */
template <int M, int N8>
__device__ __forceinline__ void add_rows(float (&c)[M][N8][4], const Left (&a)[M], const E* tile, int rowLength, int k) {
  const int lane = threadIdx.x & 31;
#if HALF
  #pragma unroll
  for (int i = 0; i < N8 / 2; i++) {
    u32 b[4];
    load_matrices(b, tile + (i * 16 + (lane & 7) + ((lane >> 4) << 3)) * rowLength + k + ((lane >> 3) & 1) * 8);
    #pragma unroll
    for (int m = 0; m < M; m++) {
      multiply(c[m][2 * i], a[m], b[0], b[1]);
      multiply(c[m][2 * i + 1], a[m], b[2], b[3]);
    }
  }
#else
  #pragma unroll
  for (int i = 0; i < N8; i++) {
    const E* p = tile + (i * 8 + (lane >> 2)) * rowLength + k + (lane & 3);
    #pragma unroll
    for (int m = 0; m < M; m++) multiply(c[m][i], a[m], p[0], p[4]);
  }
#endif
}

/** c += a times a tile's rows k .. k + KSTEP - 1, for `a` made of sums. */
template <int M, int N8>
__device__ __forceinline__ void add_columns(float (&c)[M][N8][4], const Left (&a)[M], const E* tile, int rowLength, int k) {
  const int lane = threadIdx.x & 31;
#if HALF
  #pragma unroll
  for (int i = 0; i < N8 / 2; i++) {
    u32 b[4];
    load_transposed(b, tile + (k + (lane & 7) + ((lane >> 3) & 1) * 8) * rowLength + i * 16 + (lane >> 4) * 8);
    #pragma unroll
    for (int m = 0; m < M; m++) {
      multiply(c[m][2 * i], a[m], b[0], b[1]);
      multiply(c[m][2 * i + 1], a[m], b[2], b[3]);
    }
  }
#else
  #pragma unroll
  for (int i = 0; i < N8; i++) {
    const E* p = tile + (k + 2 * (lane & 3)) * rowLength + i * 8 + (lane >> 2);
    #pragma unroll
    for (int m = 0; m < M; m++) multiply(c[m][i], a[m], p[0], p[rowLength]);
  }
#endif
}

template <int M, int N8> __device__ __forceinline__ void clear(float (&c)[M][N8][4]) {
  #pragma unroll
  for (int m = 0; m < M; m++)
    #pragma unroll
    for (int i = 0; i < N8; i++) c[m][i][0] = c[m][i][1] = c[m][i][2] = c[m][i][3] = 0.f;
}

/** Two neighbouring columns of a row of `dim`. `pairs`: both lie in one aligned word. */
__device__ __forceinline__ void put_two(E* row, int column, int dim, bool pairs, float x, float y) {
  if (pairs && column + 1 < dim) {
#if HALF
    *(u32*)(row + column) = pair(x, y);
#else
    *(float2*)(row + column) = make_float2(x, y);
#endif
  } else {
    if (column < dim) put(row[column], x);
    if (column + 1 < dim) put(row[column + 1], y);
  }
}
