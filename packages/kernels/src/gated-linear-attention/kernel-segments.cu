// Linear attention's recurrence with time cut into segments, which blocks walk at the same time. Without OUTPUTS a block finds the state at the
// end of a segment that starts from zero, and the product of its decays; kernel-carry.cu makes of these the state in front of each segment;
// with OUTPUTS a block walks its segment from there. A block owns COLUMNS columns of one head's state: 8 lanes share WIDE neighbouring
// columns, each with ROWS / 8 of their rows in registers, LOAD neighbouring rows at a time. STEPS steps of the vectors are brought to shared memory at a
// time, decays already as factors; steps beyond the segment's end have zero vectors and factors of one.
//
// Defined before: ROWS (rows padded to a multiple of 8 LOAD), LOAD (1, 2, 4), WIDE (1 to 4), DECAY (0 none, 1 rows, 2 columns), REVERSE, OUTPUTS.
// Words: a, b, c, g, initial, y, last, states, decays, time, heads, rows, columns, heads of all sequences, steps of a segment, segments.
// Segments are numbered along the walk. `states` holds, for each head, the state behind each segment but the last; `decays` is [heads, segments - 1, decays of a step].

constexpr int STEPS = 16, EACH = ROWS / 8, COLUMNS = 32 * WIDE, SIDE = DECAY == 1 ? ROWS : COLUMNS;
/** Blocks of a multiprocessor, as cuda-segments.ts has it: they hide each other's loads. */
constexpr int RESIDENT = EACH * WIDE > 32 ? 2 : EACH * WIDE > 8 ? 3 : 4;
/** Steps of products and loads from memory that are under way at once, as registers allow. */
constexpr int UNROLL = EACH * WIDE > 32 ? 1 : 2, FETCHES = EACH > 8 || WIDE == 3 ? 2 : 4;
/** Towards the walk's next step. */
constexpr int AHEAD = REVERSE ? -1 : 1;
/** Columns of a lane that one load brings. */
constexpr int BESIDE = WIDE == 3 ? 1 : WIDE;
/** Lanes that hold the sum of one column after `column_sums`. */
constexpr int SHARERS = WIDE == 1 ? 8 : WIDE == 2 ? 4 : 2;

template <int N> struct alignas(4 * N) Floats { float at[N]; };

/** Sums over 8 lanes: lane `part` returns that of column part / SHARERS. */
__device__ __forceinline__ float column_sums(const float (&y)[4], int part) {
  float sum = y[0];
  if (WIDE > 2) {
    const bool second = part & 4, odd = part & 2;
    const float low = (second ? y[2] : y[0]) + __shfl_xor_sync(~0u, second ? y[0] : y[2], 4);
    const float high = (second ? y[3] : y[1]) + __shfl_xor_sync(~0u, second ? y[1] : y[3], 4);
    sum = (odd ? high : low) + __shfl_xor_sync(~0u, odd ? low : high, 2);
  } else if (WIDE == 2) {
    const bool second = part & 4;
    sum = (second ? y[1] : y[0]) + __shfl_xor_sync(~0u, second ? y[0] : y[1], 4);
    sum += __shfl_xor_sync(~0u, sum, 2);
  } else {
    sum += __shfl_xor_sync(~0u, sum, 4);
    sum += __shfl_xor_sync(~0u, sum, 2);
  }
  return sum + __shfl_xor_sync(~0u, sum, 1);
}

extern "C" __global__ void __launch_bounds__(256, RESIDENT) linear_scan_segments(const __grid_constant__ Words<16> w) {
  __shared__ float4 a_steps[STEPS][ROWS / 4], c_steps[OUTPUTS ? STEPS : 1][ROWS / 4], b_steps[STEPS][COLUMNS / 4],
    factor_steps[DECAY ? STEPS : 1][SIDE / 4];
  const int time = integer(w, 9), heads = integer(w, 10), rows = integer(w, 11), columns = integer(w, 12);
  const int length = integer(w, 14), segments = integer(w, 15);
  // A grid's second axis ends at 65,535: the third goes on.
  const i64 head = (i64)blockIdx.z * gridDim.y + blockIdx.y;
  if (head >= wide(w, 13)) return;
  const int b = (u32)head / heads, h = (u32)head % heads, part = threadIdx.x & 7, own = threadIdx.x >> 3;
  const int groups = (columns + COLUMNS - 1) / COLUMNS, segment = blockIdx.x / groups;
  const int first = (int)(blockIdx.x % groups) * COLUMNS, column = first + own * WIDE;
  const int begin = segment * length, end = time - begin < length ? time : begin + length;
  const i64 size = (i64)rows * columns;
  float m[EACH][WIDE];
  const float* start = nullptr;
  if (OUTPUTS) {
    if (segment > 0) start = pointer<const float>(w, 7) + (head * (segments - 1) + segment - 1) * size;
    else if (pointer<const float>(w, 4)) start = pointer<const float>(w, 4) + head * size;
  }
  #pragma unroll
  for (int r = 0; r < EACH; r++) {
    const int row = (r / LOAD * 8 + part) * LOAD + r % LOAD;
    #pragma unroll
    for (int j = 0; j < WIDE; j++) m[r][j] = start && row < rows && column + j < columns ? start[(i64)row * columns + column + j] : 0.f;
  }
  float product = 1.f;
  for (int from = begin; from < end; from += STEPS) {
    __syncthreads();
    const int steps = end - from;
    // Steps that are brought together lie within 31 bits.
    const i64 step = ((i64)b * time + (REVERSE ? time - 1 - from : from)) * heads + h;
    const float* const a_from = pointer<const float>(w, 0) + step * rows;
    const float* const c_from = pointer<const float>(w, 2) + step * rows;
    const float* const b_from = pointer<const float>(w, 1) + step * columns;
    const float* const g_from = pointer<const float>(w, 3) + step * (DECAY == 1 ? rows : columns);
    #pragma unroll FETCHES
    for (u32 i = threadIdx.x; i < STEPS * ROWS; i += 256) {
      const int k = i / ROWS, row = i % ROWS, at = k * AHEAD * heads * rows + row;
      const bool there = k < steps && row < rows;
      ((float*)a_steps)[i] = there ? a_from[at] : 0.f;
      if (OUTPUTS) ((float*)c_steps)[i] = there ? c_from[at] : 0.f;
      if (DECAY == 1) ((float*)factor_steps)[i] = there ? expf(g_from[at]) : 1.f;
    }
    #pragma unroll FETCHES
    for (u32 i = threadIdx.x; i < STEPS * COLUMNS; i += 256) {
      const int k = i / COLUMNS, j = first + i % COLUMNS, at = k * AHEAD * heads * columns + j;
      const bool there = k < steps && j < columns;
      ((float*)b_steps)[i] = there ? b_from[at] : 0.f;
      if (DECAY == 2) ((float*)factor_steps)[i] = there ? expf(g_from[at]) : 1.f;
    }
    __syncthreads();
    if (!OUTPUTS && DECAY && threadIdx.x < SIDE) {
      #pragma unroll
      for (int k = 0; k < STEPS; k++) product *= ((const float*)factor_steps[k])[threadIdx.x];
    }
    float* const y_from = pointer<float>(w, 5) + step * columns + column;
    #pragma unroll UNROLL
    for (int k = 0; k < STEPS; k++) {
      Floats<BESIDE> bt[WIDE / BESIDE], of_column[WIDE / BESIDE];
      float y[4] = {};
      #pragma unroll
      for (int j = 0; j < WIDE / BESIDE; j++) {
        bt[j] = ((const Floats<BESIDE>*)b_steps[k])[own * (WIDE / BESIDE) + j];
        if (DECAY == 2) of_column[j] = ((const Floats<BESIDE>*)factor_steps[k])[own * (WIDE / BESIDE) + j];
      }
      #pragma unroll
      for (int r = 0; r < EACH; r += LOAD) {
        const int at = r / LOAD * 8 + part;
        Floats<LOAD> a = ((const Floats<LOAD>*)a_steps[k])[at], c, of_row;
        if (OUTPUTS) c = ((const Floats<LOAD>*)c_steps[k])[at];
        if (DECAY == 1) of_row = ((const Floats<LOAD>*)factor_steps[k])[at];
        #pragma unroll
        for (int i = 0; i < LOAD; i++) {
          #pragma unroll
          for (int j = 0; j < WIDE; j++) {
            float& x = m[r + i][j];
            const float factor = DECAY == 1 ? of_row.at[i] : of_column[j / BESIDE].at[j % BESIDE];
            if (!REVERSE && DECAY) x *= factor;
            x += a.at[i] * bt[j / BESIDE].at[j % BESIDE];
            if (OUTPUTS) y[j] += c.at[i] * x;
            if (REVERSE && DECAY) x *= factor;
          }
        }
      }
      if (OUTPUTS) {
        const float sum = column_sums(y, part);
        const int j = part / SHARERS;
        if (part % SHARERS == 0 && j < WIDE && column + j < columns && k < steps)
          y_from[k * AHEAD * heads * columns + j] = sum;
      }
    }
  }
  if (OUTPUTS && segment < segments - 1) return;
  float* const out = OUTPUTS ? pointer<float>(w, 6) + head * size : pointer<float>(w, 7) + (head * (segments - 1) + segment) * size;
  #pragma unroll
  for (int r = 0; r < EACH; r++) {
    const int row = (r / LOAD * 8 + part) * LOAD + r % LOAD;
    #pragma unroll
    for (int j = 0; j < WIDE; j++)
      if (row < rows && column + j < columns) out[(i64)row * columns + column + j] = m[r][j];
  }
  if (!OUTPUTS && DECAY) {
    // All groups of columns find the same decays of rows.
    const int i = threadIdx.x, at = DECAY == 1 ? i : first + i, sides = DECAY == 1 ? rows : columns;
    if (i < SIDE && at < sides && (DECAY == 2 || first == 0))
      pointer<float>(w, 8)[(head * (segments - 1) + segment) * sides + at] = product;
  }
}
