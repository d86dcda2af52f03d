// Counters to zero. Words: counters, how many.
extern "C" __global__ void __launch_bounds__(256) clear_counters(const __grid_constant__ Words<2> w) {
  for (i64 i = blockIdx.x * 256 + threadIdx.x; i < wide(w, 1); i += 256 * gridDim.x) pointer<u32>(w, 0)[i] = 0;
}
