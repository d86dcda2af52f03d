// The Euclidean norm over several tensors, by slice of their first axis (a row of blocks each). Defined before: MOST (tensors).

// Words: first block of each tensor (a place that is empty begins beyond all), tensors, elements of a slice of each, sums [slices, all blocks],
// blocks of launches before, all blocks, slices. These lie along a grid's second axis, which ends at 65,535, and its third.
extern "C" __global__ void __launch_bounds__(256) squares(const __grid_constant__ Words<3 * MOST + 4> w) {
  __shared__ float cells[32];
  const i64 slice = (i64)blockIdx.z * gridDim.y + blockIdx.y;
  if (slice >= wide(w, 3 * MOST + 3)) return;
  int low = 0, high = MOST - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (blockIdx.x >= (u32)w.word[middle]) low = middle; else high = middle - 1;
  }
  const i64 count = wide(w, 2 * MOST + low);
  const float* const x = pointer<const float>(w, MOST + low) + slice * count;
  const i64 begin = (i64)(blockIdx.x - (u32)w.word[low]) * 4096;
  float sum = 0.f;
  #pragma unroll
  for (int k = 0; k < 16; k++) {
    const i64 i = begin + k * 256 + threadIdx.x;
    const float v = i < count ? x[i] : 0.f;
    sum += v * v;
  }
  sum = block_sum(sum, cells);
  if (threadIdx.x == 0) pointer<float>(w, 3 * MOST)[slice * wide(w, 3 * MOST + 2) + wide(w, 3 * MOST + 1) + blockIdx.x] = sum;
}

// Words: sums, norms, blocks of a slice.
extern "C" __global__ void __launch_bounds__(256) root(const __grid_constant__ Words<3> w) {
  __shared__ float cells[32];
  const i64 count = wide(w, 2);
  const float* const sums = pointer<const float>(w, 0) + (i64)blockIdx.x * count;
  float sum = 0.f;
  for (i64 i = threadIdx.x; i < count; i += 256) sum += sums[i];
  sum = block_sum(sum, cells);
  if (threadIdx.x == 0) pointer<float>(w, 1)[blockIdx.x] = sqrtf(sum);
}
