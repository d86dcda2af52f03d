// Puts the parts of kernel-forward.cu together: y = sum_p e^(lse_p - lse) y_p, lse = log sum_p e^lse_p. A block a row; up to 64 parts.
//
// Defined before: E, the word indices w_*, WORDS.

constexpr int MOST = 64;

extern "C" __global__ void __launch_bounds__(128) attention_parts(const __grid_constant__ Words<WORDS> w) {
  __shared__ float weights[MOST];
  const int queries = integer(w, w_queries), heads = integer(w, w_heads), parts = integer(w, w_parts), dim = integer(w, w_valueDim), lane = threadIdx.x & 31;
  const i64 rows = wide(w, w_rows) * queries, at = blockIdx.x, row = at / queries;
  const int i = (int)(at - row * queries), b = (int)(row / heads), h = (int)(row - (i64)b * heads);
  if (threadIdx.x < 32) {
    const float nothing = -__int_as_float(0x7f800000);
    const float* const lse = pointer<const float>(w, w_partLse) + at;
    const float x = lane < parts ? lse[lane * rows] : nothing, y = lane + 32 < parts ? lse[(lane + 32) * rows] : nothing;
    float most = fmaxf(x, y);
    #pragma unroll
    for (int s = 16; s > 0; s >>= 1) most = fmaxf(most, __shfl_xor_sync(~0u, most, s));
    const bool empty = most == nothing;
    const float a = empty ? 0.f : expf(x - most), c = empty ? 0.f : expf(y - most);
    float sum = a + c;
    #pragma unroll
    for (int s = 16; s > 0; s >>= 1) sum += __shfl_xor_sync(~0u, sum, s);
    weights[lane] = empty ? 0.f : a / sum;
    weights[lane + 32] = empty ? 0.f : c / sum;
    if (lane == 0) pointer<float>(w, w_lse)[b * wide(w, w_lseBatch) + i * wide(w, w_lseTime) + h * wide(w, w_lseHead)] = empty ? nothing : most + logf(sum);
  }
  __syncthreads();
  E* const y = pointer<E>(w, w_y) + b * wide(w, w_yBatch) + i * wide(w, w_yTime) + h * wide(w, w_yHead);
  const float* const from = pointer<const float>(w, w_partY) + at * dim;
  for (int c = threadIdx.x; c < dim; c += 128) {
    float x = 0.f;
    // What no query of a part sees is zero there.
    #pragma unroll 8
    for (int p = 0; p < parts; p++) x += weights[p] * from[p * rows * dim + c];
    put(y[c], x);
  }
}
