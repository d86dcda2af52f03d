// The sum of parts that lie behind each other, in their order. Words: parts, result, elements of a part, elements of the result, parts.

extern "C" __global__ void __launch_bounds__(256) butterfly_total(const __grid_constant__ Words<5> w) {
  const i64 each = wide(w, 2), i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= wide(w, 3)) return;
  const float* const parts = pointer<const float>(w, 0) + i;
  float total = parts[0];
  #pragma unroll 4
  for (int p = 1; p < integer(w, 4); p++) total += parts[p * each];
  pointer<float>(w, 1)[i] = total;
}
