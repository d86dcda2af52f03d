// Several tensors times a factor, or each slice of their first axis times one of its own; results may lie where the tensors do. Words: first block of each tensor (a
// place that is empty begins beyond all), tensors, results, elements, factors, slices. Defined before: MOST (tensors).

extern "C" __global__ void __launch_bounds__(256) scaled_all(const __grid_constant__ Words<4 * MOST + 2> w) {
  int low = 0, high = MOST - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (blockIdx.x >= (u32)w.word[middle]) low = middle; else high = middle - 1;
  }
  const float* const x = pointer<const float>(w, MOST + low);
  float* const y = pointer<float>(w, 2 * MOST + low);
  const float* const factors = pointer<const float>(w, 4 * MOST);
  const i64 count = wide(w, 3 * MOST + low), begin = (i64)(blockIdx.x - (u32)w.word[low]) * 2048, slices = wide(w, 4 * MOST + 1);
  const i64 each = slices > 1 ? count / slices : count;
  #pragma unroll
  for (int k = 0; k < 8; k++) {
    const i64 i = begin + k * 256 + threadIdx.x;
    if (i < count) y[i] = x[i] * factors[slices > 1 ? i / each : 0];
  }
}
