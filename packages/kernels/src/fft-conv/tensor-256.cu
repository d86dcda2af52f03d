// Transforms of 256 points in the registers of a warp, on the tensor cores, for all tensor-core kernels.
//
// N = 256 M points, n = 16 M n1 + M n2 + n3 and k = k1 + 16 k2 + 256 k3:
//   X[k] = sum x[n] W_N^((k + d) n) = sum_n3 W_M^(k3 n3) W_N^((k1 + d + 16 k2) n3)
//                                     sum_n2 W_16^(k2 n2) W_256^((k1 + d) n2) sum_n1 W_16^((k1 + d) n1) x[n].
// d = 0: cyclic. d = 1/4: modulo x^N - i (see kernel.cu); the twist costs nothing, it is part of the matrices and twiddles.
//
// A DFT of 16 points is a sum and difference of the elements 8 apart and two complex 8x8 matrices: E for even, O for odd outputs (O' for the
// way back, which mirrors it). A complex 8x8 matrix is one real 16x16 operand [[re, -im], [im, re]]. Every DFT-16 is scaled by 1/4: values
// keep their magnitude, and the six of a convolution with 256 points make the 1/4096 that the definition needs with M = 16.
//
// With g = lane / 4, t = lane % 4 a fragment holds rows g (and g + 8) and columns 2t + e, e = 0 | 1 being the two halves of a register:
//   forward n1:  operand B  n1 = 2t + e + 8 b, n2 = g + 8 j      ->  k1 = 2 g + r, n2 = 2t + e + 8 j
//   forward n2:  operand A  of that                             ->  k1 = 2 g + r, k2 = 2 (2t + e) + j
//   inverse k2:  operand B  k2 = 2 (2t + e) + j, k1 = 2 g + r    ->  n2 = g + 8 c, k1 = 2 (2t + e) + r
//   inverse k1:  operand A  of that                             ->  n2 = g + 8 c, n1 = 2t + e + 8 h
// The result of one product thus is an operand of the next without any exchange.

struct Matrix { u32 re, im, negative; };
__device__ __forceinline__ Matrix conjugate(Matrix m) { return {m.re, m.negative, m.im}; }
__device__ __forceinline__ Matrix matrix(const uint4* p) { const uint4 v = reload(p); return {v.x, v.y, v.z}; }
// Matrix times columns of data.
__device__ __forceinline__ void apply(half2& re, half2& im, Matrix m, half2 xr, half2 xi) { multiply(re, im, m.re, m.im, m.negative, m.re, xr, xi); }
// Sixteen rows of data times the transposed matrix.
__device__ __forceinline__ void apply(half2 (&re)[2], half2 (&im)[2], half2 r0, half2 r1, half2 i0, half2 i1, Matrix m) {
  multiply(re[0], re[1], r0, r1, i0, i1, m.re, m.negative);
  multiply(im[0], im[1], r0, r1, i0, i1, m.im, m.re);
}

// The table: blocks of 32 lanes x 16 bytes.
constexpr int EVEN = 0, ODD = 32, ODD_BACK = 64, REAL_FIRST = 96, REAL_LAST = 160, CLASSES = 224;

struct Stage { u32 a[4], b[4], re[4], im[4]; };
template <typename Table> __device__ __forceinline__ void load_four(u32 (&x)[4], Table p) { const uint4 v = reload(p); x[0] = v.x; x[1] = v.y; x[2] = v.z; x[3] = v.w; }

// COMPLEX: complex data, d = 0 in the matrices. Otherwise real data and results, d = 1/4.
template <bool COMPLEX> struct Transform256 {
  Matrix even, odd, odd_back;
  __device__ __forceinline__ void load(const uint4* table, int lane) { even = matrix(table + EVEN + lane); odd = matrix(table + ODD + lane); odd_back = matrix(table + ODD_BACK + lane); }
  // `twiddles`: W_256^((k1 + d) n2), first as the way forward needs them, then as the way back does.
  __device__ __forceinline__ void load_forward(Stage& s, const uint4* table, const uint4* twiddles, int lane) const {
    if constexpr (!COMPLEX) { load_four(s.a, table + REAL_FIRST + lane); load_four(s.b, table + REAL_FIRST + 32 + lane); }
    load_four(s.re, twiddles + lane); load_four(s.im, twiddles + 32 + lane);
  }
  __device__ __forceinline__ void load_inverse(Stage& s, const uint4* table, const uint4* twiddles, int lane) const {
    if constexpr (!COMPLEX) { load_four(s.a, table + REAL_LAST + lane); load_four(s.b, table + REAL_LAST + 32 + lane); }
    load_four(s.re, twiddles + 64 + lane); load_four(s.im, twiddles + 96 + lane);
  }

  // x[j][b] to z[j][r].
  __device__ __forceinline__ void forward(const Stage& s, const half2 (&xr)[2][2], const half2 (&xi)[2][2], half2 (&zr)[2][2], half2 (&zi)[2][2]) const {
    half2 cr[2][2], ci[2][2];
    #pragma unroll
    for (int j = 0; j < 2; j++) {
      if constexpr (COMPLEX) {
        apply(cr[0][j], ci[0][j], even, plus(xr[j][0], xr[j][1]), plus(xi[j][0], xi[j][1]));
        apply(cr[1][j], ci[1][j], odd, minus(xr[j][0], xr[j][1]), minus(xi[j][0], xi[j][1]));
      } else {
        multiply(cr[0][j], ci[0][j], s.a[0], s.a[1], s.a[2], s.a[3], xr[j][0], xr[j][1]);
        multiply(cr[1][j], ci[1][j], s.b[0], s.b[1], s.b[2], s.b[3], xr[j][0], xr[j][1]);
      }
      #pragma unroll
      for (int r = 0; r < 2; r++) times(cr[r][j], ci[r][j], s.re[2 * r + j], s.im[2 * r + j]);
    }
    apply(zr[0], zi[0], plus(cr[0][0], cr[0][1]), plus(cr[1][0], cr[1][1]), plus(ci[0][0], ci[0][1]), plus(ci[1][0], ci[1][1]), even);
    apply(zr[1], zi[1], minus(cr[0][0], cr[0][1]), minus(cr[1][0], cr[1][1]), minus(ci[0][0], ci[0][1]), minus(ci[1][0], ci[1][1]), odd);
  }

  // x[r][j] to y[h][c]; the imaginary part of real results is not made.
  __device__ __forceinline__ void inverse(const Stage& s, const half2 (&xr)[2][2], const half2 (&xi)[2][2], half2 (&yr)[2][2], half2 (&yi)[2][2]) const {
    half2 dr[2][2], di[2][2];
    #pragma unroll
    for (int r = 0; r < 2; r++) {
      half2 er, ei, fr, fi;
      apply(er, ei, conjugate(even), xr[r][0], xi[r][0]);
      apply(fr, fi, odd_back, xr[r][1], xi[r][1]);
      dr[r][0] = plus(er, fr); di[r][0] = plus(ei, fi); dr[r][1] = minus(er, fr); di[r][1] = minus(ei, fi);
      #pragma unroll
      for (int c = 0; c < 2; c++) times_conjugate(dr[r][c], di[r][c], s.re[2 * r + c], s.im[2 * r + c]);
    }
    if constexpr (COMPLEX) {
      half2 er[2], ei[2], fr[2], fi[2];
      apply(er, ei, dr[0][0], dr[0][1], di[0][0], di[0][1], conjugate(even));
      apply(fr, fi, dr[1][0], dr[1][1], di[1][0], di[1][1], odd_back);
      #pragma unroll
      for (int c = 0; c < 2; c++) { yr[0][c] = plus(er[c], fr[c]); yi[0][c] = plus(ei[c], fi[c]); yr[1][c] = minus(er[c], fr[c]); yi[1][c] = minus(ei[c], fi[c]); }
    } else {
      #pragma unroll
      for (int h = 0; h < 2; h++) {
        multiply(yr[h][0], yr[h][1], dr[0][0], dr[0][1], di[0][0], di[0][1], s.a[2 * h], s.a[2 * h + 1]);
        multiply_add(yr[h][0], yr[h][1], dr[1][0], dr[1][1], di[1][0], di[1][1], s.b[2 * h], s.b[2 * h + 1]);
        yi[h][0] = yi[h][1] = 0;
      }
    }
  }
};

// DFTs of C points in one thread, one for each half of the registers. The result for index c lies at place<C>(c).
__device__ __forceinline__ void dft4(half2& ar, half2& ai, half2& br, half2& bi, half2& cr, half2& ci, half2& dr, half2& di) {
  const half2 er = plus(ar, cr), ei = plus(ai, ci), fr = minus(ar, cr), fi = minus(ai, ci);
  const half2 gr = plus(br, dr), gi = plus(bi, di), hr = minus(br, dr), hi = minus(bi, di);
  ar = plus(er, gr); ai = plus(ei, gi); cr = minus(er, gr); ci = minus(ei, gi);
  br = plus(fr, hi); bi = minus(fi, hr); dr = minus(fr, hi); di = plus(fi, hr);
}
// cos and -sin of pi i / 8 in both halves.
__device__ __forceinline__ constexpr u32 cosine_16(int i) {
  return i == 0 ? 0x3c003c00u : i == 1 ? 0x3b643b64u : i == 2 ? 0x39a839a8u : i == 3 ? 0x361f361fu : i == 4 ? 0u : i == 6 ? 0xb9a8b9a8u : 0xbb64bb64u;
}
__device__ __forceinline__ constexpr u32 sine_16(int i) {
  return i == 0 ? 0u : i == 1 ? 0xb61fb61fu : i == 2 ? 0xb9a8b9a8u : i == 3 ? 0xbb64bb64u : i == 4 ? 0xbc00bc00u : i == 6 ? 0xb9a8b9a8u : 0x361f361fu;
}
template <int C> __device__ __forceinline__ constexpr int place(int c) { return C == 16 ? 4 * (c & 3) + (c >> 2) : C == 8 ? 2 * (c & 3) + (c >> 2) : c; }
template <int C> __device__ __forceinline__ void dft(half2 (&xr)[C][2], half2 (&xi)[C][2], int r) {
  if constexpr (C == 2) {
    const half2 a = xr[0][r], b = xi[0][r];
    xr[0][r] = plus(a, xr[1][r]); xr[1][r] = minus(a, xr[1][r]); xi[0][r] = plus(b, xi[1][r]); xi[1][r] = minus(b, xi[1][r]);
  } else if constexpr (C == 4) {
    dft4(xr[0][r], xi[0][r], xr[1][r], xi[1][r], xr[2][r], xi[2][r], xr[3][r], xi[3][r]);
  } else if constexpr (C == 8) {
    #pragma unroll
    for (int i = 0; i < 2; i++) dft4(xr[i][r], xi[i][r], xr[i + 2][r], xi[i + 2][r], xr[i + 4][r], xi[i + 4][r], xr[i + 6][r], xi[i + 6][r]);
    times(xr[3][r], xi[3][r], cosine_16(2), sine_16(2));
    const half2 a = xr[5][r]; xr[5][r] = xi[5][r]; xi[5][r] = a ^ SIGNS;
    times(xr[7][r], xi[7][r], cosine_16(6), sine_16(6));
    #pragma unroll
    for (int c = 0; c < 4; c++) {
      const half2 b = xr[2 * c][r], d = xi[2 * c][r];
      xr[2 * c][r] = plus(b, xr[2 * c + 1][r]); xr[2 * c + 1][r] = minus(b, xr[2 * c + 1][r]);
      xi[2 * c][r] = plus(d, xi[2 * c + 1][r]); xi[2 * c + 1][r] = minus(d, xi[2 * c + 1][r]);
    }
  } else if constexpr (C == 16) {
    #pragma unroll
    for (int i = 0; i < 4; i++) dft4(xr[i][r], xi[i][r], xr[i + 4][r], xi[i + 4][r], xr[i + 8][r], xi[i + 8][r], xr[i + 12][r], xi[i + 12][r]);
    #pragma unroll
    for (int i = 1; i < 4; i++)
      #pragma unroll
      for (int c = 1; c < 4; c++) times(xr[i + 4 * c][r], xi[i + 4 * c][r], cosine_16(i * c), sine_16(i * c));
    #pragma unroll
    for (int c = 0; c < 4; c++) dft4(xr[4 * c][r], xi[4 * c][r], xr[4 * c + 1][r], xi[4 * c + 1][r], xr[4 * c + 2][r], xi[4 * c + 2][r], xr[4 * c + 3][r], xi[4 * c + 3][r]);
  }
}
