// Rows brought to where the copy engine of sm_90 can read them: one behind the other, padded by zeros to a multiple of 16 bytes; and results
// brought back. blockIdx.y is the tensor, whose TENSOR words stand one tensor after the other.
//
// Defined before: E, TENSOR, the word indices w_*, WORDS.

extern "C" __global__ void __launch_bounds__(256) attention_widen(const __grid_constant__ Words<WORDS> w) {
  const int at = TENSOR * blockIdx.y, dim = integer(w, at + w_dim), chunks = integer(w, at + w_padded) / 8;
  const i64 id = (i64)blockIdx.x * 256 + threadIdx.x, row = id / chunks;
  if (row >= wide(w, at + w_rows)) return;
  const int first = (int)(id - row * chunks) * 8, heads = integer(w, at + w_heads), times = integer(w, at + w_times);
  const i64 step = row / heads, b = step / times;
  const E* const from = pointer<const E>(w, at + w_from) + b * wide(w, at + w_perBatch) + (step - b * times) * wide(w, at + w_perTime) + (row - step * heads) * wide(w, at + w_perHead);
  __align__(16) E x[8];
  #pragma unroll
  for (int i = 0; i < 8; i++) {
    x[i] = {};
    if (first + i < dim) x[i] = from[first + i];
  }
  *(uint4*)(pointer<E>(w, at + w_to) + id * 8) = *(const uint4*)x;
}

extern "C" __global__ void __launch_bounds__(256) attention_narrow(const __grid_constant__ Words<WORDS> w) {
  const int at = TENSOR * blockIdx.y, dim = integer(w, at + w_dim);
  const i64 id = (i64)blockIdx.x * 256 + threadIdx.x, row = id / dim;
  if (row >= wide(w, at + w_rows)) return;
  pointer<E>(w, at + w_to)[id] = pointer<const E>(w, at + w_from)[row * integer(w, at + w_padded) + (id - row * dim)];
}
