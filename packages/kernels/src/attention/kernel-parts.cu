// Puts the parts of a row together: y = sum_p e^(lse_p - lse) y_p, lse = log sum_p e^lse_p. A warp a row; up to 64 parts.
//
// Defined before: E, the word indices w_*, WORDS.

constexpr int MOST = 64, WARPS = 4;

extern "C" __global__ void __launch_bounds__(32 * WARPS) attention_parts(const __grid_constant__ Words<WORDS> w) {
  __shared__ float all[WARPS][MOST];
  float* const weights = all[threadIdx.x >> 5];
  const int queries = integer(w, w_queries), heads = integer(w, w_heads), parts = integer(w, w_parts), dim = integer(w, w_valueDim), lane = threadIdx.x & 31;
  const i64 rows = wide(w, w_rows) * queries, at = (i64)blockIdx.x * WARPS + (threadIdx.x >> 5);
  if (at >= rows) return;
  const i64 row = at / queries;
  const int i = (int)(at - row * queries), b = (int)(row / heads), h = (int)(row - (i64)b * heads);
  const float nothing = -__int_as_float(0x7f800000);
  const float* const lse = pointer<const float>(w, w_partLse) + at;
  const float x = lane < parts ? lse[lane * rows] : nothing, z = lane + 32 < parts ? lse[(lane + 32) * rows] : nothing;
  float most = fmaxf(x, z);
  #pragma unroll
  for (int s = 16; s > 0; s >>= 1) most = fmaxf(most, __shfl_xor_sync(~0u, most, s));
  const bool empty = most == nothing;
  const float a = empty ? 0.f : expf(x - most), c = empty ? 0.f : expf(z - most);
  float sum = a + c;
  #pragma unroll
  for (int s = 16; s > 0; s >>= 1) sum += __shfl_xor_sync(~0u, sum, s);
  weights[lane] = empty ? 0.f : a / sum;
  weights[lane + 32] = empty ? 0.f : c / sum;
  if (lane == 0) pointer<float>(w, w_lse)[b * wide(w, w_lseBatch) + i * wide(w, w_lseTime) + h * wide(w, w_lseHead)] = empty ? nothing : most + logf(sum);
  __syncwarp();
  E* const y = pointer<E>(w, w_y) + b * wide(w, w_yBatch) + i * wide(w, w_yTime) + h * wide(w, w_yHead);
  const float* const from = pointer<const float>(w, w_partY) + at * dim;
  // What no query of a part sees is zero there.
  if ((dim & 3) == 0) {
    for (int k = lane * 4; k < dim; k += 128) {
      float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
      #pragma unroll 8
      for (int p = 0; p < parts; p++) {
        const float4 u = *(const float4*)(from + p * rows * dim + k);
        const float f = weights[p];
        v.x += f * u.x;
        v.y += f * u.y;
        v.z += f * u.z;
        v.w += f * u.w;
      }
      put(y[k], v.x);
      put(y[k + 1], v.y);
      put(y[k + 2], v.z);
      put(y[k + 3], v.w);
    }
  } else {
    for (int k = lane; k < dim; k += 32) {
      float v = 0.f;
      #pragma unroll 8
      for (int p = 0; p < parts; p++) v += weights[p] * from[p * rows * dim + k];
      put(y[k], v);
    }
  }
}
