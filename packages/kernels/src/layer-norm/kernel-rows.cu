// Layer norm and root-mean-square norm (`RMS` 1) over rows of N features that a warp holds in registers, stored as E; and their gradients, in
// one pass over the rows. Defined before: E, N (a multiple of 32), RMS, WEIGHT, BIAS 0|1; ADD 1: another gradient of x is added.

constexpr int PER = N / 32, MOST = 16 / sizeof(E), WIDTH = PER % MOST == 0 ? MOST : PER % 4 == 0 ? 4 : PER % 2 == 0 ? 2 : 1, PARTS = PER / WIDTH;
struct __align__(sizeof(E) * WIDTH) Some { E at[WIDTH]; };

/** Column of element e of a lane. */
__device__ __forceinline__ int column(int e) { return (e / WIDTH * 32 + (threadIdx.x & 31)) * WIDTH + e % WIDTH; }

__device__ __forceinline__ void load_row(float (&x)[PER], const E* row) {
  #pragma unroll
  for (int p = 0; p < PARTS; p++) {
    const Some s = *(const Some*)(row + column(p * WIDTH));
    #pragma unroll
    for (int j = 0; j < WIDTH; j++) x[p * WIDTH + j] = get(s.at[j]);
  }
}
__device__ __forceinline__ void store_row(E* row, const float (&x)[PER]) {
  #pragma unroll
  for (int p = 0; p < PARTS; p++) {
    Some s;
    #pragma unroll
    for (int j = 0; j < WIDTH; j++) put(s.at[j], x[p * WIDTH + j]);
    *(Some*)(row + column(p * WIDTH)) = s;
  }
}
__device__ __forceinline__ void load_columns(float (&x)[PER], const float* from) {
  #pragma unroll
  for (int e = 0; e < PER; e++) x[e] = from[column(e)];
}

// Words: x, weight, bias, y, mean, rstd, rows, eps.
__device__ __forceinline__ void norm_rows_block(const Words<8>& w, u32 block) {
  const i64 row = (i64)block * 8 + threadIdx.x / 32;
  if (row >= wide(w, 6)) return;
  float x[PER], scale[PER], shift[PER];
  load_row(x, pointer<const E>(w, 0) + row * N);
  if (WEIGHT) load_columns(scale, pointer<const float>(w, 1));
  if (BIAS) load_columns(shift, pointer<const float>(w, 2));
  float mean = 0.f, squares = 0.f;
  if (!RMS) {
    #pragma unroll
    for (int e = 0; e < PER; e++) mean += x[e];
    mean = warp_sum(mean) / (float)N;
  }
  #pragma unroll
  for (int e = 0; e < PER; e++) { x[e] -= mean; squares += x[e] * x[e]; }
  const float r = 1.f / sqrtf(warp_sum(squares) / (float)N + number(w, 7));
  if (threadIdx.x % 32 == 0) {
    if (!RMS) pointer<float>(w, 4)[row] = mean;
    pointer<float>(w, 5)[row] = r;
  }
  #pragma unroll
  for (int e = 0; e < PER; e++) x[e] = x[e] * r * (WEIGHT ? scale[e] : 1.f) + (BIAS ? shift[e] : 0.f);
  store_row(pointer<E>(w, 3) + row * N, x);
}

extern "C" __global__ void __launch_bounds__(256) norm_rows(const __grid_constant__ Words<8> w) { norm_rows_block(w, blockIdx.x); }

// Words: x, weight, mean, rstd, dy, dx, added, sums [blocks, 2, N] (of the weight's and the bias's gradient), rows, blocks.
__device__ __forceinline__ void norm_rows_grad_block(const Words<10>& w, u32 block) {
  __shared__ float cells[8][N];
  float weight[PER], scale[PER] = {}, shift[PER] = {};
  if (WEIGHT) load_columns(weight, pointer<const float>(w, 1));
  const i64 rows = wide(w, 8);
  for (i64 row = (i64)block * 8 + threadIdx.x / 32; row < rows; row += wide(w, 9) * 8) {
    float x[PER], dy[PER], more[PER];
    load_row(x, pointer<const E>(w, 0) + row * N);
    load_row(dy, pointer<const E>(w, 4) + row * N);
    if (ADD) load_row(more, pointer<const E>(w, 6) + row * N);
    const float mean = RMS ? 0.f : pointer<const float>(w, 2)[row], r = pointer<const float>(w, 3)[row];
    float sum = 0.f, dot = 0.f;
    #pragma unroll
    for (int e = 0; e < PER; e++) {
      x[e] = (x[e] - mean) * r;
      scale[e] += dy[e] * x[e];
      shift[e] += dy[e];
      if (WEIGHT) dy[e] *= weight[e];
      sum += dy[e];
      dot += dy[e] * x[e];
    }
    sum = RMS ? 0.f : warp_sum(sum) / (float)N;
    dot = warp_sum(dot) / (float)N;
    #pragma unroll
    for (int e = 0; e < PER; e++) x[e] = r * (dy[e] - sum - x[e] * dot) + (ADD ? more[e] : 0.f);
    store_row(pointer<E>(w, 5) + row * N, x);
  }
  if (!WEIGHT && !BIAS) return;
  float* const sums = pointer<float>(w, 7) + (i64)block * 2 * N;
  #pragma unroll
  for (int which = 0; which < 2; which++) {
    __syncthreads();
    #pragma unroll
    for (int e = 0; e < PER; e++) cells[threadIdx.x / 32][column(e)] = which ? shift[e] : scale[e];
    __syncthreads();
    for (int c = threadIdx.x; c < N; c += 256) {
      float sum = 0.f;
      #pragma unroll
      for (int i = 0; i < 8; i++) sum += cells[i][c];
      sums[which * N + c] = sum;
    }
  }
}

extern "C" __global__ void __launch_bounds__(256) norm_rows_grad(const __grid_constant__ Words<10> w) { norm_rows_grad_block(w, blockIdx.x); }

// Adds the blocks' sums up, 32 of the 2 N columns a block of 32 x 32 threads. Words: sums [blocks, 2, N], dweight, dbias (0: not asked for), blocks.
__device__ __forceinline__ void norm_sums_block(const Words<4>& w, u32 block) {
  __shared__ float cells[32][33];
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32, blocks = integer(w, 3), c = block * 32 + tx;
  const float* const sums = pointer<const float>(w, 0);
  float sum = 0.f;
  for (int b = ty; b < blocks; b += 32) sum += sums[(i64)b * 2 * N + c];
  cells[ty][tx] = sum;
  __syncthreads();
  sum = warp_sum(cells[tx][ty]);
  const int to = block * 32 + ty;
  float* const out = pointer<float>(w, to < N ? 1 : 2);
  if (tx == 0 && out) out[to % N] = sum;
}
extern "C" __global__ void __launch_bounds__(1024) norm_sums(const __grid_constant__ Words<4> w) { norm_sums_block(w, blockIdx.x); }
