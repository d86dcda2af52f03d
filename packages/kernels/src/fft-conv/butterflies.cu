// Complex DFTs of 2 to 16 points in the registers of a thread, in float32.

__device__ __forceinline__ void times(float& re, float& im, float c, float s) { const float t = re * c - im * s; im = re * s + im * c; re = t; }

__device__ __forceinline__ void four(float& ar, float& ai, float& br, float& bi, float& cr, float& ci, float& dr, float& di) {
  const float er = ar + cr, ei = ai + ci, fr = ar - cr, fi = ai - ci, gr = br + dr, gi = bi + di, hr = br - dr, hi = bi - di;
  ar = er + gr; ai = ei + gi; cr = er - gr; ci = ei - gi;
  br = fr + hi; bi = fi - hr; dr = fr - hi; di = fi + hr;
}

// cos and -sin of pi k / 8.
__device__ __forceinline__ constexpr float cosine16(int k) {
  return k == 0 ? 1.f : k == 1 ? 0.92387953251128674f : k == 2 ? 0.70710678118654752f : k == 3 ? 0.38268343236508977f : k == 4 ? 0.f :
         k == 6 ? -0.70710678118654752f : -0.92387953251128674f;
}
__device__ __forceinline__ constexpr float sine16(int k) {
  return k == 0 ? 0.f : k == 1 ? -0.38268343236508977f : k == 2 ? -0.70710678118654752f : k == 3 ? -0.92387953251128674f : k == 4 ? -1.f :
         k == 6 ? -0.70710678118654752f : 0.38268343236508977f;
}

// DFTs of R points over elements g + k 16/R, in place and in order.
template <int R> __device__ __forceinline__ void butterflies(float (&re)[16], float (&im)[16]) {
  if constexpr (R == 16) {
    #pragma unroll
    for (int i = 0; i < 4; i++) four(re[i], im[i], re[i + 4], im[i + 4], re[i + 8], im[i + 8], re[i + 12], im[i + 12]);
    #pragma unroll
    for (int i = 1; i < 4; i++)
      #pragma unroll
      for (int c = 1; c < 4; c++) times(re[i + 4 * c], im[i + 4 * c], cosine16(i * c), sine16(i * c));
    #pragma unroll
    for (int c = 0; c < 4; c++) four(re[4 * c], im[4 * c], re[4 * c + 1], im[4 * c + 1], re[4 * c + 2], im[4 * c + 2], re[4 * c + 3], im[4 * c + 3]);
    #pragma unroll
    for (int c = 0; c < 4; c++)
      #pragma unroll
      for (int k = 0; k < c; k++) {
        float t = re[4 * c + k]; re[4 * c + k] = re[4 * k + c]; re[4 * k + c] = t;
        t = im[4 * c + k]; im[4 * c + k] = im[4 * k + c]; im[4 * k + c] = t;
      }
  } else if constexpr (R == 8) {
    #pragma unroll
    for (int g = 0; g < 2; g++) {
      // Two transforms of the even and odd elements, then eight twiddled sums.
      four(re[g], im[g], re[g + 4], im[g + 4], re[g + 8], im[g + 8], re[g + 12], im[g + 12]);
      four(re[g + 2], im[g + 2], re[g + 6], im[g + 6], re[g + 10], im[g + 10], re[g + 14], im[g + 14]);
      float er[4], ei[4], dr[4], di[4];
      #pragma unroll
      for (int k = 0; k < 4; k++) {
        er[k] = re[g + 4 * k]; ei[k] = im[g + 4 * k]; dr[k] = re[g + 2 + 4 * k]; di[k] = im[g + 2 + 4 * k];
        if (k == 1) times(dr[k], di[k], cosine16(2), sine16(2));
        if (k == 2) times(dr[k], di[k], 0.f, -1.f);
        if (k == 3) times(dr[k], di[k], cosine16(6), sine16(6));
      }
      #pragma unroll
      for (int k = 0; k < 4; k++) {
        re[g + 2 * k] = er[k] + dr[k]; im[g + 2 * k] = ei[k] + di[k];
        re[g + 2 * k + 8] = er[k] - dr[k]; im[g + 2 * k + 8] = ei[k] - di[k];
      }
    }
  } else if constexpr (R == 4) {
    #pragma unroll
    for (int g = 0; g < 4; g++) four(re[g], im[g], re[g + 4], im[g + 4], re[g + 8], im[g + 8], re[g + 12], im[g + 12]);
  } else if constexpr (R == 2) {
    #pragma unroll
    for (int g = 0; g < 8; g++) {
      const float a = re[g] - re[g + 8], b = im[g] - im[g + 8];
      re[g] += re[g + 8]; im[g] += im[g + 8]; re[g + 8] = a; im[g + 8] = b;
    }
  }
}
