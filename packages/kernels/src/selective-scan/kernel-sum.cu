// Adds parts up in order. Words: parts, sums, how many parts, elements of each.
extern "C" __global__ void __launch_bounds__(256) selective_scan_sum(const __grid_constant__ Words<4> w) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x, size = wide(w, 3);
  if (i >= size) return;
  float sum = 0.f;
  for (int k = 0; k < integer(w, 2); k++) sum += pointer<const float>(w, 0)[k * size + i];
  pointer<float>(w, 1)[i] = sum;
}
