// dx: the filter turned round, over the cotangents of the steps that follow.
extern "C" __global__ void __launch_bounds__(256) short_conv_input_grad(const __grid_constant__ Args w) {
  Place p;
  if (!p.of(w)) return;
  const Filter f(w, p);
  float dz[RUN + BACK][WIDE], dx[RUN][WIDE];
  window<RUN + BACK, 0>(dz, w, w_dy, w_dyBatch, p);
  if constexpr (SILU) {
    float x[RUN + 2 * BACK][WIDE];
    window<RUN + 2 * BACK, -BACK>(x, w, w_x, w_xBatch, p);
    #pragma unroll
    for (int i = 0; i < RUN + BACK; i++)
      #pragma unroll
      for (int v = 0; v < WIDE; v++) dz[i][v] *= silu_slope(f.at(x, i, v));
  }
  #pragma unroll
  for (int i = 0; i < RUN; i++)
    #pragma unroll
    for (int v = 0; v < WIDE; v++) {
      float sum = 0.f;
      #pragma unroll
      for (int j = 0; j < W; j++) sum += f.tap[j][v] * dz[i + BACK - j][v];
      dx[i][v] = sum;
    }
  write_run(w, w_dx, p, dx);
}

/** Adds a run's share to the sums of its channels: W taps, then the bias. */
__device__ __forceinline__ void add_run(float (&sum)[W + 1][WIDE], const Args& w, const Place& p, const Filter& f) {
  float x[RUN + BACK][WIDE], dz[RUN][WIDE];
  window<RUN + BACK, -BACK>(x, w, w_x, w_xBatch, p);
  window<RUN, 0>(dz, w, w_dy, w_dyBatch, p);
  #pragma unroll
  for (int i = 0; i < RUN; i++)
    #pragma unroll
    for (int v = 0; v < WIDE; v++) {
      if (SILU) dz[i][v] *= silu_slope(f.at(x, i, v));
      #pragma unroll
      for (int j = 0; j < W; j++) sum[j][v] += dz[i][v] * x[i + j][v];
      sum[W][v] += dz[i][v];
    }
}

/** Sums over a segment of the runs of all sequences, in a fixed order: a block has one channel (TIME_LAST), or 32 VEC of them. */
extern "C" __global__ void __launch_bounds__(256) short_conv_filter_grad(const __grid_constant__ Args w) {
  const int runs = integer(w, w_runs), groups = integer(w, w_groups), segments = gridDim.y, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const i64 all = wide(w, w_batch) * runs, each = (all + segments - 1) / segments, from = blockIdx.y * each, to = from + each < all ? from + each : all;
  float sum[W + 1][WIDE];
  #pragma unroll
  for (int j = 0; j <= W; j++)
    #pragma unroll
    for (int v = 0; v < WIDE; v++) sum[j][v] = 0.f;
  Place p;
  p.length = integer(w, w_length);
  const int group = TIME_LAST ? blockIdx.x : blockIdx.x * 32 + lane;
  p.channel = group * WIDE;
  if (group < groups) {
    const Filter f(w, p);
    for (i64 i = from + (TIME_LAST ? threadIdx.x : warp); i < to; i += TIME_LAST ? 256 : 8) {
      p.b = i / runs;
      p.t0 = (int)(i - p.b * runs) * RUN;
      add_run(sum, w, p, f);
    }
  }
  float* const out = pointer<float>(w, w_partial) + ((i64)blockIdx.y * groups + group) * WIDE * (W + 1);
  __shared__ float cells[8][32];
  #pragma unroll
  for (int j = 0; j <= W; j++)
    #pragma unroll
    for (int v = 0; v < WIDE; v++) {
      if (TIME_LAST) {
        const float total = block_sum(sum[j][v], cells[0]);
        if (threadIdx.x == 0) out[j] = total;
      } else {
        __syncthreads();
        cells[warp][lane] = sum[j][v];
        __syncthreads();
        if (warp == 0 && group < groups) {
          float total = 0.f;
          for (int k = 0; k < 8; k++) total += cells[k][lane];
          out[v * (W + 1) + j] = total;
        }
      }
    }
}

/** Adds the segments up. One thread a tap, or a bias. */
extern "C" __global__ void __launch_bounds__(256) short_conv_combine(const __grid_constant__ Args w) {
  const i64 id = (i64)blockIdx.x * 256 + threadIdx.x, channels = wide(w, w_groups) * WIDE;
  const int segments = integer(w, w_segments);
  if (id >= channels * (W + 1)) return;
  float sum = 0.f;
  for (int s = 0; s < segments; s++) sum += pointer<const float>(w, w_partial)[s * channels * (W + 1) + id];
  const i64 channel = id / (W + 1), j = id % (W + 1);
  if (j < W) pointer<float>(w, w_dw)[channel * W + j] = sum;
  else if (BIAS) pointer<float>(w, w_dbias)[channel] = sum;
}
