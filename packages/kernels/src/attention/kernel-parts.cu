// Puts the parts of kernel-forward.cu together: y = sum_p e^(lse_p - lse) y_p, lse = log sum_p e^lse_p. A warp a row.
//
// Defined before: E, the word indices w_*, WORDS.

extern "C" __global__ void __launch_bounds__(256) attention_parts(const __grid_constant__ Words<WORDS> w) {
  const int queries = integer(w, w_queries), heads = integer(w, w_heads), parts = integer(w, w_parts), dim = integer(w, w_valueDim), lane = threadIdx.x & 31;
  const i64 rows = wide(w, w_rows) * queries, at = (i64)blockIdx.x * 8 + (threadIdx.x >> 5);
  if (at >= rows) return;
  const float* const lses = pointer<const float>(w, w_partLse) + at;
  const float* const ys = pointer<const float>(w, w_partY) + at * dim;
  float most = -__int_as_float(0x7f800000), sum = 0.f;
  for (int p = 0; p < parts; p++) most = fmaxf(most, lses[p * rows]);
  const bool nothing = most == -__int_as_float(0x7f800000);
  for (int p = 0; p < parts; p++) sum += nothing ? 0.f : expf(lses[p * rows] - most);
  const i64 row = at / queries;
  const int i = (int)(at - row * queries), b = (int)(row / heads), h = (int)(row - (i64)b * heads);
  E* const y = pointer<E>(w, w_y) + b * wide(w, w_yBatch) + i * wide(w, w_yTime) + h * wide(w, w_yHead);
  for (int c = lane; c < dim; c += 32) {
    float x = 0.f;
    for (int p = 0; p < parts; p++) {
      const float weight = nothing ? 0.f : expf(lses[p * rows] - most);
      // What no query of a part sees is zero, and stays out.
      if (weight > 0.f) x += weight * ys[p * rows * dim + c];
    }
    put(y[c], nothing ? 0.f : x / sum);
  }
  if (lane == 0) pointer<float>(w, w_lse)[b * wide(w, w_lseBatch) + i * wide(w, w_lseTime) + h * wide(w, w_lseHead)] = nothing ? most : most + logf(sum);
}
