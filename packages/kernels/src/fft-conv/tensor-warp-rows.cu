// Transforms of 1024 points in the registers of a warp, for tensor-warp.cu and tensor-backward-warp.cu: no shared memory, no barriers. The last
// factor (M = 4) is a DFT of one thread. In front: what tensor-columns.cu needs but FACTOR.
//
// A lane holds n1 = 2t + s % 2 + 8 (s / 2), n2 = g + 8 j and four n3 of a row.

constexpr int N = 1024, ROWS = PAIRED ? 2 : 1;

struct Elements {
  uint2 at[2][4];
  __device__ __forceinline__ void fill(u32 v) {
    #pragma unroll
    for (int j = 0; j < 2; j++)
      #pragma unroll
      for (int s = 0; s < 4; s++) at[j][s] = make_uint2(v, v);
  }
};
__device__ __forceinline__ int element(int j, int s, int lane) { return (2 * (lane & 3) + (s & 1) + 8 * (s >> 1)) * 64 + ((lane >> 2) + 8 * j) * 4; }

// Row b of a channel, zeros beyond the batch.
__device__ __forceinline__ void read_row(Elements& to, const Rows& r, bool whole, int b, int channel, int batch, int length, int lane) {
  const u16* from = r.at + (b < batch ? b : 0) * r.batch + channel * r.channel;
  const int here = b < batch ? length : 0;
  if (whole) {
    #pragma unroll
    for (int j = 0; j < 2; j++)
      #pragma unroll
      for (int s = 0; s < 4; s++) { const int n = element(j, s, lane); to.at[j][s] = make_uint2(0, 0); if (n < here) to.at[j][s] = __ldcs((const uint2*)(from + n)); }
  } else {
    #pragma unroll
    for (int j = 0; j < 2; j++)
      #pragma unroll
      for (int s = 0; s < 4; s++) to.at[j][s] = four_elements(from, element(j, s, lane), here, false);
  }
}
__device__ __forceinline__ u32 peak_of(const Elements& row, const Elements& gate) {
  u32 peak = 0;
  #pragma unroll
  for (int j = 0; j < 2; j++)
    #pragma unroll
    for (int s = 0; s < 4; s++) peak = raise(peak, row.at[j][s], gate.at[j][s]);
  return peak;
}
__device__ __forceinline__ void scale_row(Elements& row, const Elements& gate, float scale) {
  const half2 by = packed(scale, scale);
  #pragma unroll
  for (int j = 0; j < 2; j++)
    #pragma unroll
    for (int s = 0; s < 4; s++) {
      uint2& v = row.at[j][s];
      if constexpr (CONVERTED) v = converted(v, gate.at[j][s], scale);
      else { v.x = product(v.x, by); v.y = product(v.y, by); }
    }
}

// W_N^((k1 + d + 16 k2) n3), n3 = 1 to 3.
__device__ __forceinline__ void load_twiddles(u32 (&twiddles)[24], const uint4* table, int lane) {
  #pragma unroll
  for (int i = 0; i < 6; i++) {
    const uint4 v = table[CLASSES + 128 + 32 * i + lane];
    twiddles[4 * i] = v.x; twiddles[4 * i + 1] = v.y; twiddles[4 * i + 2] = v.z; twiddles[4 * i + 3] = v.w;
  }
}
// All but the last factor.
__device__ __forceinline__ void forward_rows(const Transform256<PAIRED>& transform, const Stage& stage, const Elements (&raw)[ROWS], const u32 (&twiddles)[24], half2 (&zr)[4][4], half2 (&zi)[4][4]) {
  #pragma unroll
  for (int q = 0; q < 4; q++) {
    half2 xr[2][2], xi[2][2], ar[2][2], ai[2][2];
    #pragma unroll
    for (int j = 0; j < 2; j++)
      #pragma unroll
      for (int b = 0; b < 2; b++) {
        const uint2 p = raw[0].at[j][2 * b], o = raw[0].at[j][2 * b + 1];
        xr[j][b] = q < 2 ? halves(p.x, o.x, q & 1) : halves(p.y, o.y, q & 1);
        if constexpr (PAIRED) {
          const uint2 p = raw[ROWS - 1].at[j][2 * b], o = raw[ROWS - 1].at[j][2 * b + 1];
          xi[j][b] = q < 2 ? halves(p.x, o.x, q & 1) : halves(p.y, o.y, q & 1);
        } else {
          xi[j][b] = 0;
        }
      }
    transform.forward(stage, xr, xi, ar, ai);
    #pragma unroll
    for (int r = 0; r < 2; r++)
      #pragma unroll
      for (int j = 0; j < 2; j++) {
        half2 a = ar[j][r], b = ai[j][r];
        if (q > 0) times(a, b, twiddles[((q - 1) * 4 + r * 2 + j) * 2], twiddles[((q - 1) * 4 + r * 2 + j) * 2 + 1]);
        zr[q][r * 2 + j] = a; zi[q][r * 2 + j] = b;
      }
  }
}
// The last factor of coefficients i back.
__device__ __forceinline__ void back_twiddled(half2 (&zr)[4][4], half2 (&zi)[4][4], const u32 (&twiddles)[24], int i) {
  dft4(zi[0][i], zr[0][i], zi[1][i], zr[1][i], zi[2][i], zr[2][i], zi[3][i], zr[3][i]);
  #pragma unroll
  for (int q = 1; q < 4; q++) times_conjugate(zr[q][i], zi[q][i], twiddles[((q - 1) * 4 + i) * 2], twiddles[((q - 1) * 4 + i) * 2 + 1]);
}
// The other factors back.
__device__ __forceinline__ void inverse_rows(const Transform256<PAIRED>& transform, const Stage& stage, const half2 (&zr)[4][4], const half2 (&zi)[4][4], Elements (&out)[ROWS]) {
  #pragma unroll
  for (int pair = 0; pair < 2; pair++) {
    half2 er[2][2][2], ei[2][2][2];
    #pragma unroll
    for (int o = 0; o < 2; o++) {
      half2 xr[2][2], xi[2][2];
      #pragma unroll
      for (int r = 0; r < 2; r++)
        #pragma unroll
        for (int j = 0; j < 2; j++) { xr[r][j] = zr[2 * pair + o][r * 2 + j]; xi[r][j] = zi[2 * pair + o][r * 2 + j]; }
      transform.inverse(stage, xr, xi, er[o], ei[o]);
    }
    #pragma unroll
    for (int c = 0; c < 2; c++)
      #pragma unroll
      for (int h = 0; h < 2; h++)
        #pragma unroll
        for (int e = 0; e < 2; e++)
          #pragma unroll
          for (int row = 0; row < ROWS; row++) {
            uint2& v = out[row].at[c][2 * h + e];
            (pair ? v.y : v.x) = row ? halves(ei[0][h][c], ei[1][h][c], e) : halves(er[0][h][c], er[1][h][c], e);
          }
  }
}
__device__ __forceinline__ void write_row(const Elements& row, const Elements& gate, const Rows& to, bool whole, int b, int channel, int length, const Factor& factor, int lane) {
  u16* out = (u16*)to.at + b * to.batch + channel * to.channel;
  #pragma unroll
  for (int j = 0; j < 2; j++)
    #pragma unroll
    for (int s = 0; s < 4; s++) store_elements(out, element(j, s, lane), length, whole, finished(row.at[j][s], gate.at[j][s], factor));
}
