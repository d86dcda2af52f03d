// Rounded copies of several tensors. Words: first block of each tensor (a place that is empty begins beyond all), then the tensors, their
// copies, their elements. Defined before: H (half), MOST (tensors).

struct __align__(8) Four { H at[4]; };

extern "C" __global__ void __launch_bounds__(256) rounded_copies(const __grid_constant__ Words<4 * MOST> w) {
  int low = 0, high = MOST - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (blockIdx.x >= (u32)w.word[middle]) low = middle; else high = middle - 1;
  }
  const float* const from = pointer<const float>(w, MOST + low);
  H* const to = pointer<H>(w, 2 * MOST + low);
  const i64 count = wide(w, 3 * MOST + low), begin = (i64)(blockIdx.x - (u32)w.word[low]) * 4096;
  #pragma unroll
  for (int k = 0; k < 4; k++) {
    const i64 i = begin + (k * 256 + threadIdx.x) * 4;
    if (i + 4 <= count) {
      const float4 x = *(const float4*)(from + i);
      Four y;
      put(y.at[0], x.x); put(y.at[1], x.y); put(y.at[2], x.z); put(y.at[3], x.w);
      *(Four*)(to + i) = y;
    } else {
      for (i64 j = i; j < count; j++) put(to[j], from[j]);
    }
  }
}
