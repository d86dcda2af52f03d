// Butterfly transforms of ROWS channels of one example in shared memory. A thread takes a column of a block of a stage (the M places that a
// matrix mixes) into registers and writes the products back where they came from, so stages need no second buffer.
//
// Defined before: SIZE (points), ROWS (channels of a block), TIME_LAST (steps of sequences are neighbours, else channels), FIRST (rows of the
// first matrix), MATRIX_AT (word of the first matrix), STAGES_UP and STAGES_DOWN (the stages in order), WORDS.
// Words begin with: x, its strides (batch, channel, time), length, channels, roots of unity; spectra re, im; then those of each kernel.

constexpr int THREADS = 256;
struct Complex { float re, im; };
struct __align__(16) Four { float at[4]; };
typedef Words<WORDS> Arguments;

// Places are spread so that columns of any stride meet different banks.
__host__ __device__ constexpr int place(int i) { return i + (i >> 4) + (i >> 6); }
constexpr int PITCH = place(SIZE - 1) + 1;

extern __shared__ Complex planes[];

/** Numbers of a matrix that are loaded at once. */
template <int M> constexpr int VEC = M % 4 == 0 ? 4 : 1;

template <int M> __device__ __forceinline__ void load_some(const float* from, float (&to)[VEC<M>]) {
  if constexpr (VEC<M> == 4) {
    const Four some = *(const Four*)from;
    #pragma unroll
    for (int j = 0; j < 4; j++) to[j] = some.at[j];
  } else to[0] = *from;
}

__device__ __forceinline__ const Complex* roots_of(const Arguments& w) { return pointer<const Complex>(w, 6); }

/** Where column `c` of all columns begins. */
template <int M, int N> __device__ __forceinline__ Complex* column_of(Complex* x, int c, int& base, int& b) {
  const int q = c % (SIZE / M);
  b = q % N;
  base = q / N * (M * N) + b;
  return x + c / (SIZE / M) * PITCH;
}

// y[k, b] = exp(-2 pi i k b / m n) sum_a w[k, a] x[a, b]. The first stage knows that x is real and has `count` rows.
template <int M, int N, bool REAL> __device__ __forceinline__ void up(Complex* x, const float* matrix, const Complex* roots, int count) {
  #pragma unroll 1
  for (int c = threadIdx.x; c < ROWS * (SIZE / M); c += THREADS) {
    int base, b;
    Complex* const at = column_of<M, N>(x, c, base, b);
    Complex in[M];
    #pragma unroll
    for (int a = 0; a < M; a++) in[a] = !REAL || a < count ? at[place(base + a * N)] : Complex{0.f, 0.f};
    #pragma unroll 1
    for (int k = 0; k < M; k++) {
      float re = 0.f, im = 0.f;
      #pragma unroll
      for (int a = 0; a < M; a += VEC<M>) {
        if (REAL && a >= count) break;
        float wr[VEC<M>], wi[VEC<M>];
        load_some<M>(matrix + k * M + a, wr);
        load_some<M>(matrix + M * M + k * M + a, wi);
        #pragma unroll
        for (int j = 0; j < VEC<M>; j++) {
          re = fmaf(wr[j], in[a + j].re, re);
          im = fmaf(wi[j], in[a + j].re, im);
          if (REAL) continue;
          re = fmaf(-wi[j], in[a + j].im, re);
          im = fmaf(wr[j], in[a + j].im, im);
        }
      }
      if (N > 1) {
        const Complex r = roots[k * b * (SIZE / (M * N))];
        at[place(base + k * N)] = {re * r.re - im * r.im, re * r.im + im * r.re};
      } else at[place(base + k * N)] = {re, im};
    }
  }
  __syncthreads();
}

// t = conj(twiddles) y
template <int M, int N> __device__ __forceinline__ Complex untwisted(const Complex* at, int base, int k, int b, const Complex* roots) {
  const Complex y = at[place(base + k * N)];
  if (N == 1) return y;
  const Complex r = roots[k * b * (SIZE / (M * N))];
  return {y.re * r.re + y.im * r.im, y.im * r.re - y.re * r.im};
}

// x[a, b] = sum_k conj(w[k, a]) t[k, b]. The last one needs real parts of `count` rows only.
template <int M, int N, bool REAL, bool TWISTED> __device__ __forceinline__ void down(Complex* x, const float* matrix, const Complex* roots, int count) {
  #pragma unroll 1
  for (int c = threadIdx.x; c < ROWS * (SIZE / M); c += THREADS) {
    int base, b;
    Complex* const at = column_of<M, N>(x, c, base, b);
    Complex t[M];
    #pragma unroll
    for (int k = 0; k < M; k++) t[k] = TWISTED ? untwisted<M, N>(at, base, k, b, roots) : at[place(base + k * N)];
    #pragma unroll 1
    for (int a = 0; a < M; a += VEC<M>) {
      if (REAL && a >= count) break;
      Complex sum[VEC<M>] = {};
      #pragma unroll
      for (int k = 0; k < M; k++) {
        float wr[VEC<M>], wi[VEC<M>];
        load_some<M>(matrix + k * M + a, wr);
        load_some<M>(matrix + M * M + k * M + a, wi);
        #pragma unroll
        for (int j = 0; j < VEC<M>; j++) {
          sum[j].re = fmaf(wi[j], t[k].im, fmaf(wr[j], t[k].re, sum[j].re));
          if (!REAL) sum[j].im = fmaf(-wi[j], t[k].re, fmaf(wr[j], t[k].im, sum[j].im));
        }
      }
      #pragma unroll
      for (int j = 0; j < VEC<M>; j++) at[place(base + (a + j) * N)] = sum[j];
    }
  }
  __syncthreads();
}

/** A group of sequences in memory. */
struct Sequences { float* at; i64 channel, time; int length, present; };

__device__ __forceinline__ Sequences sequences_of(const Arguments& w, int word, int b, int group) {
  const i64 channel = wide(w, word + 2);
  const int first = group * ROWS;
  return {pointer<float>(w, word) + b * wide(w, word + 1) + first * channel, channel, wide(w, word + 3), integer(w, word + 4), min_(ROWS, integer(w, 5) - first)};
}

__device__ __forceinline__ int rows_read(int length) { return (length + SIZE / FIRST - 1) / (SIZE / FIRST); }

/** Calls `body(row, i)` for `count` places of every row, neighbours in memory by neighbours in a warp. */
template <bool ROW_LAST, typename F> __device__ __forceinline__ void each_place(int count, F body) {
  for (int i = threadIdx.x; i < ROWS * count; i += THREADS) {
    if (ROW_LAST) body(i % ROWS, i / ROWS);
    else body(i / count, i % count);
  }
}

__device__ __forceinline__ void load_sequences(Complex* x, const Sequences& s, int reach) {
  each_place<!TIME_LAST>(reach, [&](int row, int t) {
    const bool there = row < s.present && t < s.length;
    x[row * PITCH + place(t)] = {there ? s.at[row * s.channel + t * s.time] : 0.f, 0.f};
  });
  __syncthreads();
}

__device__ __forceinline__ void store_sequences(const Complex* x, const Sequences& s, float scale) {
  each_place<!TIME_LAST>(s.length, [&](int row, int t) {
    if (row < s.present) s.at[row * s.channel + t * s.time] = scale * x[row * PITCH + place(t)].re;
  });
  __syncthreads();
}

__device__ __forceinline__ void transform_up(Complex* x, const Arguments& w, const Sequences& s) {
  const int count = rows_read(s.length);
  load_sequences(x, s, count * (SIZE / FIRST));
  STAGES_UP(x, w, count)
}

__device__ __forceinline__ i64 spectrum_at(const Arguments& w, int b, int channel, int f) {
  return ((i64)b * SIZE + f) * integer(w, 5) + channel;
}

__device__ __forceinline__ void load_spectra(Complex* x, const Arguments& w, int b, int group) {
  const float *re = pointer<const float>(w, 7), *im = pointer<const float>(w, 8);
  const int channels = integer(w, 5);
  each_place<true>(SIZE, [&](int row, int f) {
    const int channel = group * ROWS + row;
    const i64 at = spectrum_at(w, b, channel, f);
    x[row * PITCH + place(f)] = channel < channels ? Complex{re[at], im[at]} : Complex{0.f, 0.f};
  });
  __syncthreads();
}

// Words: the common nine, batch.
extern "C" __global__ void __launch_bounds__(THREADS) butterfly(const __grid_constant__ Arguments w) {
  const int b = blockIdx.z * gridDim.y + blockIdx.y;
  if (b >= integer(w, 9)) return;
  transform_up(planes, w, sequences_of(w, 0, b, blockIdx.x));
  const int channels = integer(w, 5);
  each_place<true>(SIZE, [&](int row, int f) {
    const int channel = blockIdx.x * ROWS + row;
    if (channel >= channels) return;
    const i64 at = spectrum_at(w, b, channel, f);
    const Complex y = planes[row * PITCH + place(f)];
    pointer<float>(w, 7)[at] = y.re;
    pointer<float>(w, 8)[at] = y.im;
  });
}

extern "C" __global__ void __launch_bounds__(THREADS) butterfly_adjoint(const __grid_constant__ Arguments w) {
  const int b = blockIdx.z * gridDim.y + blockIdx.y;
  if (b >= integer(w, 9)) return;
  const Sequences s = sequences_of(w, 0, b, blockIdx.x);
  load_spectra(planes, w, b, blockIdx.x);
  STAGES_DOWN(planes, w, rows_read(s.length))
  store_sequences(planes, s, 1.f);
}
