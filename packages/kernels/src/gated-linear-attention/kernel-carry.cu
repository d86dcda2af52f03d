// Carries linear attention's state over the segments of kernel-segments.cu: the states that segments reach from zero become the states
// behind them, M_s = D_s M_(s-1) + local_s. A thread owns one element of a head's state.
//
// Defined before: DECAY (0 none, 1 rows, 2 columns).
// Words: states, decays, initial, carried segments, rows, columns, elements of all heads' states.

/** Segments whose loads are under way at once. */
constexpr int AHEAD = 16;

extern "C" __global__ void __launch_bounds__(256) linear_scan_carry(const __grid_constant__ Words<7> w) {
  const i64 at = (i64)blockIdx.x * 256 + threadIdx.x;
  if (at >= wide(w, 6)) return;
  const int count = integer(w, 3), rows = integer(w, 4), columns = integer(w, 5);
  const u32 size = (u32)rows * columns, element = (u32)(at % size);
  const i64 head = at / size;
  const u32 sides = DECAY == 1 ? rows : columns;
  float* const states = pointer<float>(w, 0) + head * count * size + element;
  const float* const decays = pointer<const float>(w, 1) + head * count * sides + (DECAY == 1 ? element / columns : element % columns);
  float m = pointer<const float>(w, 2) ? pointer<const float>(w, 2)[at] : 0.f;
  for (int from = 0; from < count; from += AHEAD) {
    float local[AHEAD], decay[AHEAD];
    #pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      const bool there = from + i < count;
      local[i] = there ? states[(i64)(from + i) * size] : 0.f;
      decay[i] = DECAY && there ? decays[(i64)(from + i) * sides] : 1.f;
    }
    #pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      // Nothing stays nothing, also where growth goes beyond all numbers.
      m = m == 0.f ? local[i] : decay[i] * m + local[i];
      if (from + i < count) states[(i64)(from + i) * size] = m;
    }
  }
}
