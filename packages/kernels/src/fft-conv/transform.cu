// Complex transforms of N points in float32, in registers and shared memory. In front: `#define POINTS n`, a power of two from 16 to 8192,
// and butterflies.cu.
//
// A thread holds the 16 elements t + i N/16. A Stockham pass of radix R reads x[b + k N/R] for butterfly b and writes
// y[q + s (R p + j)], b = q + s p: every pass reads what a thread holds, and after the last one it holds X[t + i N/16] in order.

constexpr int N = POINTS, T = N / 16, PITCH = N + N / 16;
// Sixteen warps a multiprocessor, 128 registers a thread.
constexpr int THREADS = T < 128 ? 128 : T, BLOCKS = THREADS < 512 ? 512 / THREADS : 1;

// Pass with stride S and what follows. `t` is the thread within its sequence, `cells` its 2 PITCH floats of shared memory.
template <int S> __device__ __forceinline__ void transform(float (&re)[16], float (&im)[16], float* cells, int t) {
  constexpr int LEFT = N / S, R = LEFT >= 16 ? 16 : LEFT;
  if constexpr (R > 1) butterflies<R>(re, im);
  if constexpr (S * R < N) {
    // Only radix 16 is followed by another pass: one butterfly a thread, b = t.
    const int p = t / S, q = t % S;
    // Powers of the twiddle by doubling, so that roundings stay few.
    float c[8], s[8];
    sincospif(-2.f * (float)(p * S) / (float)N, &s[1], &c[1]);
    #pragma unroll
    for (int j = 2; j < 8; j++) {
      c[j] = c[j / 2]; s[j] = s[j / 2];
      times(c[j], s[j], c[j - j / 2], s[j - j / 2]);
    }
    c[0] = c[4]; s[0] = s[4];
    times(c[0], s[0], c[4], s[4]);
    #pragma unroll
    for (int j = 1; j < 8; j++) {
      times(re[j], im[j], c[j], s[j]);
      times(re[j + 8], im[j + 8], c[j], s[j]);
    }
    #pragma unroll
    for (int j = 8; j < 16; j++) times(re[j], im[j], c[0], s[0]);
    __syncthreads();
    #pragma unroll
    for (int j = 0; j < 16; j++) {
      const int at = q + S * (16 * p + j), cell = at + (at >> 4);
      cells[cell] = re[j]; cells[PITCH + cell] = im[j];
    }
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < 16; i++) {
      const int at = t + i * T, cell = at + (at >> 4);
      re[i] = cells[cell]; im[i] = cells[PITCH + cell];
    }
    transform<S * R>(re, im, cells, t);
  }
}
