// Linear attention's recurrence on a matrix state. A block owns 32 columns of one head's state: 8 lanes share a column, each with ROWS / 8
// of its rows in registers. STEPS steps of the vectors are brought to shared memory at a time, decays already as factors; steps beyond
// the end have zero vectors and factors of one.
//
// Defined before: ROWS (rows padded to a multiple of 8), DECAY (0 none, 1 rows, 2 columns), REVERSE.
// Words: a, b, c, g, initial, y, last, time, heads, rows, columns, heads of all sequences.

constexpr int STEPS = 16, EACH = ROWS / 8;

extern "C" __global__ void __launch_bounds__(256) linear_scan(const __grid_constant__ Words<12> w) {
  __shared__ float a_steps[STEPS][ROWS], c_steps[STEPS][ROWS], b_steps[STEPS][32], factors[DECAY ? STEPS : 1][DECAY == 1 ? ROWS : 32];
  const int time = integer(w, 7), heads = integer(w, 8), rows = integer(w, 9), columns = integer(w, 10);
  // A grid's second axis ends at 65,535: the third goes on.
  const i64 head = (i64)blockIdx.z * gridDim.y + blockIdx.y;
  if (head >= wide(w, 11)) return;
  const int b = (u32)head / heads, h = (u32)head % heads, part = threadIdx.x & 7, own = threadIdx.x >> 3;
  const int first = blockIdx.x * 32, column = first + own;
  const i64 state = head * rows * columns;
  const float* const initial = pointer<const float>(w, 4);
  float m[EACH];
  #pragma unroll
  for (int r = 0; r < EACH; r++) {
    const int row = r * 8 + part;
    m[r] = initial && row < rows && column < columns ? initial[state + (i64)row * columns + column] : 0.f;
  }
  for (int from = 0; from < time; from += STEPS) {
    __syncthreads();
    for (int i = threadIdx.x; i < STEPS * ROWS; i += 256) {
      const int k = i / ROWS, row = i % ROWS, t = REVERSE ? time - 1 - from - k : from + k;
      const bool there = from + k < time && row < rows;
      const i64 at = (((i64)b * time + t) * heads + h) * rows + row;
      a_steps[k][row] = there ? pointer<const float>(w, 0)[at] : 0.f;
      c_steps[k][row] = there ? pointer<const float>(w, 2)[at] : 0.f;
      if (DECAY == 1) factors[k][row] = there ? expf(pointer<const float>(w, 3)[at]) : 1.f;
    }
    for (int i = threadIdx.x; i < STEPS * 32; i += 256) {
      const int k = i / 32, j = first + i % 32, t = REVERSE ? time - 1 - from - k : from + k;
      const bool there = from + k < time && j < columns;
      const i64 at = (((i64)b * time + t) * heads + h) * columns + j;
      b_steps[k][i % 32] = there ? pointer<const float>(w, 1)[at] : 0.f;
      if (DECAY == 2) factors[k][i % 32] = there ? expf(pointer<const float>(w, 3)[at]) : 1.f;
    }
    __syncthreads();
    #pragma unroll 4
    for (int k = 0; k < STEPS; k++) {
      const float bt = b_steps[k][own];
      float y = 0.f;
      #pragma unroll
      for (int r = 0; r < EACH; r++) {
        const int row = r * 8 + part;
        const float factor = DECAY == 0 ? 1.f : DECAY == 1 ? factors[k][row] : factors[k][own];
        if (!REVERSE && DECAY) m[r] *= factor;
        m[r] += a_steps[k][row] * bt;
        y += c_steps[k][row] * m[r];
        if (REVERSE && DECAY) m[r] *= factor;
      }
      y += __shfl_xor_sync(~0u, y, 1);
      y += __shfl_xor_sync(~0u, y, 2);
      y += __shfl_xor_sync(~0u, y, 4);
      const int t = REVERSE ? time - 1 - from - k : from + k;
      if (part == 0 && column < columns && from + k < time) pointer<float>(w, 5)[(((i64)b * time + t) * heads + h) * columns + column] = y;
    }
  }
  #pragma unroll
  for (int r = 0; r < EACH; r++) {
    const int row = r * 8 + part;
    if (row < rows && column < columns) pointer<float>(w, 6)[state + (i64)row * columns + column] = m[r];
  }
}
