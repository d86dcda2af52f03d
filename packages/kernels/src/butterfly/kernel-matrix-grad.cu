// The gradients of the matrices: sums of t[k, b] conj(x[a, b]) over columns and rows. Inputs of the stages wait in memory of the block;
// a block walks many rows and keeps its sums in registers.
// Words behind the common nine: inputs of the stages, elements of a block there; partial sums, elements of a block; groups, units of work.

constexpr int KEPT_AT = 9, SUMS_AT = 11, GROUPS_AT = 13;

/** How the entries of a matrix are shared among threads: tiles of EDGE x EDGE entries, or several threads an entry. */
template <int M> struct Shares {
  static constexpr int EDGE = M % 4 == 0 && M * M >= 16 * THREADS ? 4 : M % 2 == 0 && M * M >= 4 * THREADS ? 2 : 1;
  static constexpr int ACROSS = M / EDGE, TILES = ACROSS * ACROSS;
  static constexpr int EACH = (TILES + THREADS - 1) / THREADS, SPLITS = TILES >= THREADS ? 1 : THREADS / TILES;
};

template <int M> struct Sums { Complex at[Shares<M>::EACH][Shares<M>::EDGE][Shares<M>::EDGE] = {}; };

/** Copies a plane. */
__device__ __forceinline__ void keep(const Complex* x, Complex* kept) {
  for (int i = threadIdx.x; i < ROWS * PITCH; i += THREADS) kept[i] = x[i];
  __syncthreads();
}

template <int M, int N> __device__ __forceinline__ void untwist(Complex* x, const Complex* roots) {
  #pragma unroll 1
  for (int c = threadIdx.x; c < ROWS * (SIZE / M); c += THREADS) {
    int base, b;
    Complex* const at = column_of<M, N>(x, c, base, b);
    #pragma unroll 4
    for (int k = 0; k < M; k++) at[place(base + k * N)] = untwisted<M, N>(at, base, k, b, roots);
  }
  __syncthreads();
}

template <int M, int N> __device__ __forceinline__ void correlate(Complex* t, Complex* x, Sums<M>& sums) {
  typedef Shares<M> S;
  #pragma unroll
  for (int e = 0; e < S::EACH; e++) {
    const int tile = S::SPLITS == 1 ? threadIdx.x + e * THREADS : threadIdx.x % S::TILES, split = S::SPLITS == 1 ? 0 : threadIdx.x / S::TILES;
    if (tile >= S::TILES || split >= S::SPLITS) continue;
    const int k0 = tile / S::ACROSS * S::EDGE, a0 = tile % S::ACROSS * S::EDGE;
    #pragma unroll 2
    for (int c = split; c < ROWS * (SIZE / M); c += S::SPLITS) {
      int base, b;
      const Complex* const left = column_of<M, N>(t, c, base, b);
      const Complex* const right = column_of<M, N>(x, c, base, b);
      Complex l[S::EDGE], r[S::EDGE];
      #pragma unroll
      for (int i = 0; i < S::EDGE; i++) {
        l[i] = left[place(base + (k0 + i) * N)];
        r[i] = right[place(base + (a0 + i) * N)];
      }
      #pragma unroll
      for (int i = 0; i < S::EDGE; i++)
        #pragma unroll
        for (int j = 0; j < S::EDGE; j++) {
          Complex& sum = sums.at[e][i][j];
          sum.re = fmaf(l[i].im, r[j].im, fmaf(l[i].re, r[j].re, sum.re));
          sum.im = fmaf(-l[i].re, r[j].im, fmaf(l[i].im, r[j].re, sum.im));
        }
    }
  }
  __syncthreads();
}

/** The block's sums of one matrix: real plane, then imaginary plane. */
template <int M> __device__ __forceinline__ void store_sums(float* to, const Sums<M>& sums, Complex* cells) {
  typedef Shares<M> S;
  if constexpr (S::SPLITS > 1) {
    cells[threadIdx.x] = sums.at[0][0][0];
    __syncthreads();
    if (threadIdx.x < S::TILES) {
      Complex total = cells[threadIdx.x];
      for (int s = 1; s < S::SPLITS; s++) {
        total.re += cells[threadIdx.x + s * S::TILES].re;
        total.im += cells[threadIdx.x + s * S::TILES].im;
      }
      to[threadIdx.x] = total.re;
      to[M * M + threadIdx.x] = total.im;
    }
    __syncthreads();
  } else {
    #pragma unroll
    for (int e = 0; e < S::EACH; e++) {
      const int tile = threadIdx.x + e * THREADS;
      if (tile >= S::TILES) continue;
      #pragma unroll
      for (int i = 0; i < S::EDGE; i++)
        #pragma unroll
        for (int j = 0; j < S::EDGE; j++) {
          const int at = (tile / S::ACROSS * S::EDGE + i) * M + tile % S::ACROSS * S::EDGE + j;
          to[at] = sums.at[e][i][j].re;
          to[M * M + at] = sums.at[e][i][j].im;
        }
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS) butterfly_matrix_grad(const __grid_constant__ Arguments w) {
  Complex *const here = planes, *const other = planes + ROWS * PITCH;
  Complex* const kept = pointer<Complex>(w, KEPT_AT) + blockIdx.x * wide(w, KEPT_AT + 1);
  const int groups = integer(w, GROUPS_AT);
  DECLARE_SUMS
  for (int unit = blockIdx.x; unit < integer(w, GROUPS_AT + 1); unit += gridDim.x) {
    const int b = unit / groups, group = unit % groups;
    load_sequences(here, sequences_of(w, 0, b, group), SIZE);
    KEEP_STAGES(here, w, kept)
    load_spectra(here, w, b, group);
    CORRELATE_STAGES(here, other, w, kept)
  }
  float* to = pointer<float>(w, SUMS_AT) + blockIdx.x * wide(w, SUMS_AT + 1);
  STORE_SUMS(to, planes)
}
