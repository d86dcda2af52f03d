// A network of sine layers over rows of features, ROWS rows a block of 256 threads, all of it in shared memory; and its gradient, which makes
// the layers again. Defined before: ROWS, LAYERS (weights; at most so many words each).

constexpr int THREADS = 256;

struct Sizes { int rows, features, width, channels, layers; };
/** Inputs and outputs of layer i. */
__device__ __forceinline__ int inputs_of(const Sizes& s, int i) { return i == 0 ? s.features : s.width; }
__device__ __forceinline__ int outputs_of(const Sizes& s, int i) { return i == s.layers - 1 ? s.channels : s.width; }

/** Weights of a layer in shared memory, rows one apart more than their length: neither rows nor columns meet in a bank. */
__device__ __forceinline__ void load_weight(float* to, const float* from, int n, int k) {
  #pragma unroll 8
  for (int i = threadIdx.x; i < n * k; i += THREADS) to[i / k * (k + 1) + i % k] = read_once(from + i);
}

/** out[r][o] = x[r] . w[o] + bias[o] for the block's rows; `x` has rows of k. */
template <typename Use>
__device__ __forceinline__ void layer(const float* x, const float* w, const float* bias, int n, int k, Use use) {
  for (int i = threadIdx.x; i < ROWS * n; i += THREADS) {
    const int r = i / n, o = i % n;
    float sum = bias ? bias[o] : 0.f;
    #pragma unroll 4
    for (int j = 0; j < k; j++) sum += x[r * k + j] * w[o * (k + 1) + j];
    use(r, o, sum);
  }
}

// Words: z, frequency, time, decay (0: no window), y, rows, features, width, channels, layers, shift, weights [LAYERS], biases [LAYERS].
__device__ __forceinline__ void sine_network_block(const Words<11 + 2 * LAYERS>& w, u32 block) {
  extern __shared__ float memory[];
  const Sizes s = {integer(w, 5), integer(w, 6), integer(w, 7), integer(w, 8), integer(w, 9)};
  const int row0 = block * ROWS, widest = max_(s.features, s.width);
  float* x = memory;
  float* next = x + ROWS * widest;
  float* const weight = next + ROWS * widest;
  const float* const frequency = pointer<const float>(w, 1);
  for (int i = threadIdx.x; i < ROWS * s.features; i += THREADS) x[i] = row0 + i / s.features < s.rows ? pointer<const float>(w, 0)[(i64)row0 * s.features + i] : 0.f;
  for (int l = 0; l < s.layers; l++) {
    const int n = outputs_of(s, l), k = inputs_of(s, l);
    __syncthreads();
    load_weight(weight, pointer<const float>(w, 11 + l), n, k);
    __syncthreads();
    if (l < s.layers - 1) {
      layer(x, weight, pointer<const float>(w, 11 + LAYERS + l), n, k, [&](int r, int o, float a) { next[r * n + o] = sinf(a * frequency[o]); });
      float* const t = x; x = next; next = t;
    } else {
      layer(x, weight, pointer<const float>(w, 11 + LAYERS + l), n, k, [&](int r, int o, float a) {
        if (row0 + r >= s.rows) return;
        if (w.word[2]) a *= expf(-pointer<const float>(w, 2)[row0 + r] * fabsf(pointer<const float>(w, 3)[o])) + number(w, 10);
        pointer<float>(w, 4)[(i64)(row0 + r) * n + o] = a;
      });
    }
  }
}
extern "C" __global__ void __launch_bounds__(THREADS) sine_network(const __grid_constant__ Words<11 + 2 * LAYERS> w) { sine_network_block(w, blockIdx.x); }

// Words: z, frequency, time, decay (0: no window), dy, dz, sums [blocks, total], total, rows, features, width, channels, layers, shift,
// weights [LAYERS], biases [LAYERS]. Sums of a block: of the frequency's gradient, then of each layer's weight and bias (where it has one).
__device__ __forceinline__ void sine_network_grad_block(const Words<14 + 2 * LAYERS>& w, u32 block) {
  extern __shared__ float memory[];
  const Sizes s = {integer(w, 8), integer(w, 9), integer(w, 10), integer(w, 11), integer(w, 12)};
  const int row0 = block * ROWS, hidden = s.layers - 1, wide = max_(s.channels, s.width);
  // Features; what goes into each activation; what comes out; the gradients behind and before a layer; a weight.
  float* const z = memory;
  float* const before = z + ROWS * s.features;
  float* const after = before + hidden * ROWS * s.width;
  float* da = after + hidden * ROWS * s.width;
  float* const dx = da + ROWS * wide;
  float* const weight = dx + ROWS * max_(s.features, s.width);
  const float* const frequency = pointer<const float>(w, 1);
  float* const sums = pointer<float>(w, 6) + (i64)block * integer(w, 7);
  for (int i = threadIdx.x; i < ROWS * s.features; i += THREADS) z[i] = row0 + i / s.features < s.rows ? pointer<const float>(w, 0)[(i64)row0 * s.features + i] : 0.f;
  for (int i = threadIdx.x; i < ROWS * s.channels; i += THREADS) {
    const int r = row0 + i / s.channels, c = i % s.channels;
    float g = r < s.rows ? pointer<const float>(w, 4)[(i64)r * s.channels + c] : 0.f;
    if (w.word[2] && r < s.rows) g *= expf(-pointer<const float>(w, 2)[r] * fabsf(pointer<const float>(w, 3)[c])) + number(w, 13);
    da[i] = g;
  }
  for (int l = 0; l < hidden; l++) {
    const int n = s.width, k = inputs_of(s, l);
    __syncthreads();
    load_weight(weight, pointer<const float>(w, 14 + l), n, k);
    __syncthreads();
    layer(l == 0 ? z : after + (l - 1) * ROWS * n, weight, pointer<const float>(w, 14 + LAYERS + l), n, k, [&](int r, int o, float a) {
      before[(l * ROWS + r) * n + o] = a;
      after[(l * ROWS + r) * n + o] = sinf(a * frequency[o]);
    });
  }
  int at = integer(w, 7);
  float slope = 0.f;
  for (int l = hidden; l >= 0; l--) {
    const int n = outputs_of(s, l), k = inputs_of(s, l);
    const float* const x = l == 0 ? z : after + (l - 1) * ROWS * s.width;
    __syncthreads();
    load_weight(weight, pointer<const float>(w, 14 + l), n, k);
    if (w.word[14 + LAYERS + l]) {
      at -= n;
      for (int o = threadIdx.x; o < n; o += THREADS) {
        float sum = 0.f;
        for (int r = 0; r < ROWS; r++) sum += da[r * n + o];
        sums[at + o] = sum;
      }
    }
    at -= n * k;
    for (int i = threadIdx.x; i < n * k; i += THREADS) {
      const int o = i / k, j = i % k;
      float sum = 0.f;
      #pragma unroll
      for (int r = 0; r < ROWS; r++) sum += da[r * n + o] * x[r * k + j];
      sums[at + i] = sum;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < ROWS * k; i += THREADS) {
      const int r = i / k, j = i % k;
      float sum = 0.f;
      #pragma unroll 4
      for (int o = 0; o < n; o++) sum += da[r * n + o] * weight[o * (k + 1) + j];
      dx[i] = sum;
    }
    __syncthreads();
    if (l == 0) {
      for (int i = threadIdx.x; i < ROWS * k; i += THREADS)
        if (row0 + i / k < s.rows) pointer<float>(w, 5)[(i64)row0 * k + i] = dx[i];
      break;
    }
    for (int i = threadIdx.x; i < ROWS * k; i += THREADS) {
      const float a = before[(l - 1) * ROWS * k + i], f = frequency[i % k], g = dx[i] * cosf(a * f);
      da[i] = g * f;
      dx[i] = g * a;
    }
    __syncthreads();
    if (threadIdx.x < k) for (int r = 0; r < ROWS; r++) slope += dx[r * k + threadIdx.x];
  }
  if (threadIdx.x < s.width) sums[threadIdx.x] = slope;
}
extern "C" __global__ void __launch_bounds__(THREADS) sine_network_grad(const __grid_constant__ Words<14 + 2 * LAYERS> w) { sine_network_grad_block(w, blockIdx.x); }

// Adds the blocks' sums up and hands them out. Words: sums, blocks, total, number of results, first sum of each [2 LAYERS + 1], results
// [2 LAYERS + 1].
__device__ __forceinline__ void sine_network_sums_block(const Words<4 + 2 * (2 * LAYERS + 1)>& w, u32 block) {
  const int i = block * THREADS + threadIdx.x, total = integer(w, 2);
  if (i >= total) return;
  float sum = 0.f;
  #pragma unroll 8
  for (int b = 0; b < integer(w, 1); b++) sum += pointer<const float>(w, 0)[(i64)b * total + i];
  int which = 0;
  while (which + 1 < integer(w, 3) && i >= integer(w, 4 + which + 1)) which++;
  pointer<float>(w, 4 + 2 * LAYERS + 1 + which)[i - integer(w, 4 + which)] = sum;
}
extern "C" __global__ void __launch_bounds__(THREADS) sine_network_sums(const __grid_constant__ Words<4 + 2 * (2 * LAYERS + 1)> w) { sine_network_sums_block(w, blockIdx.x); }
