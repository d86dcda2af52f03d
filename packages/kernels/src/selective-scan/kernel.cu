// The selective recurrence. LANES lanes have the states of one channel, CHANNELS channels of one sequence lie in a block; STEPS steps are
// read at a time, so that loads and exponentials run ahead of the recurrence. Steps beyond the end have delta = 0 and change nothing.
// Sequences lie along a grid's second axis, which ends at 65,535, and its third.
//
// Defined before: LANES (power of two, at least the states), SAVE, and the word indices w_*, WORDS.

typedef Words<WORDS> Args;
constexpr int STEPS = 16, CHANNELS = 256 / LANES;
constexpr float LOG2E = 1.442695040888963f;
/** 2^x to rounding, by a polynomial: decays near 1 are multiplied thousands of times, where the hardware's 2^-22 would add up. */
__device__ __forceinline__ float exp2_(float x) {
  x = fminf(fmaxf(x, -126.f), 127.f);
  const float shifted = x + 12582912.f, f = x - (shifted - 12582912.f);
  float p = 1.5252734e-5f;
  p = fmaf(p, f, 1.5403530e-4f);
  p = fmaf(p, f, 1.3333558e-3f);
  p = fmaf(p, f, 9.6181291e-3f);
  p = fmaf(p, f, 5.5504109e-2f);
  p = fmaf(p, f, 2.4022651e-1f);
  p = fmaf(p, f, 6.9314718e-1f);
  p = fmaf(p, f, 1.f);
  return __int_as_float(__float_as_int(p) + (__float_as_int(shifted) << 23));
}

/** The sum over the lanes of a channel. */
__device__ __forceinline__ float over_states(float x) {
  #pragma unroll
  for (int d = LANES / 2; d; d >>= 1) x += __shfl_xor_sync(~0u, x, d);
  return x;
}

struct Place {
  int time, channels, states, state, channel, b;
  bool there, live;
  __device__ __forceinline__ Place(const Args& w) {
    time = integer(w, w_time);
    channels = integer(w, w_channels);
    states = integer(w, w_states);
    state = threadIdx.x % LANES;
    channel = blockIdx.x * CHANNELS + threadIdx.x / LANES;
    b = blockIdx.z * gridDim.y + blockIdx.y;
    there = channel < channels;
    live = there && state < states;
  }
  /** Of this lane's state in [B, D, N]. */
  __device__ __forceinline__ i64 own() const { return ((i64)b * channels + channel) * states + state; }
  /** Of this channel at a step in [B, T, D]; of this state at a step in [B, T, N]. */
  __device__ __forceinline__ i64 of_channel(int t) const { return ((i64)b * time + t) * channels + channel; }
  __device__ __forceinline__ i64 of_state(int t) const { return ((i64)b * time + t) * states + state; }
  /** A saved state of this lane. */
  __device__ __forceinline__ i64 of_saved(int t0) const { return (((i64)b * ((time + STEPS - 1) / STEPS) + t0 / STEPS) * channels + channel) * states + state; }
};

struct Inputs {
  float u[STEPS], delta[STEPS], b[STEPS], c[STEPS];
  __device__ __forceinline__ Inputs(const Args& w, const Place& p, int t0) {
    #pragma unroll
    for (int k = 0; k < STEPS; k++) {
      const int t = t0 + k;
      const bool now = t < p.time;
      u[k] = now && p.there ? pointer<const float>(w, w_u)[p.of_channel(t)] : 0.f;
      delta[k] = now && p.there ? pointer<const float>(w, w_delta)[p.of_channel(t)] : 0.f;
      b[k] = now && p.live ? pointer<const float>(w, w_b)[p.of_state(t)] : 0.f;
      c[k] = now && p.live ? pointer<const float>(w, w_c)[p.of_state(t)] : 0.f;
    }
  }
};

__device__ __forceinline__ float own_a(const Args& w, const Place& p) { return p.live ? pointer<const float>(w, w_a)[(i64)p.channel * p.states + p.state] : 0.f; }

/** y and the last state; with SAVE instead the state before every STEPS steps, for the gradient. */
extern "C" __global__ void __launch_bounds__(256) selective_scan(const __grid_constant__ Args w) {
  const Place p(w);
  if (p.b >= integer(w, w_batch)) return;
  const float a = own_a(w, p) * LOG2E;
  const float* const initial = pointer<const float>(w, w_initial);
  float h = initial && p.live ? initial[p.own()] : 0.f;
  for (int t0 = 0; t0 < p.time; t0 += STEPS) {
    if (SAVE && p.live) pointer<float>(w, w_saved)[p.of_saved(t0)] = h;
    const Inputs x(w, p, t0);
    float y[STEPS];
    #pragma unroll
    for (int k = 0; k < STEPS; k++) {
      h = exp2_(x.delta[k] * a) * h + x.delta[k] * x.u[k] * x.b[k];
      y[k] = x.c[k] * h;
    }
    if (!SAVE) {
      #pragma unroll
      for (int k = 0; k < STEPS; k++) {
        const float sum = over_states(y[k]);
        if (p.there && p.state == 0 && t0 + k < p.time) pointer<float>(w, w_y)[p.of_channel(t0 + k)] = sum;
      }
    }
  }
  if (!SAVE && p.live) pointer<float>(w, w_last)[p.own()] = h;
}

/** The chain rule backwards in time; sums over channels (db, dc) and over sequences (da) are left in parts. */
extern "C" __global__ void __launch_bounds__(256) selective_scan_grad(const __grid_constant__ Args w) {
  __shared__ float parts[2][STEPS][8][LANES];
  const Place p(w);
  if (p.b >= integer(w, w_batch)) return;
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  const float a = own_a(w, p);
  const float* const dlast = pointer<const float>(w, w_dlast);
  float g = dlast && p.live ? dlast[p.own()] : 0.f, da = 0.f;
  for (int t0 = (p.time - 1) / STEPS * STEPS; t0 >= 0 && p.time > 0; t0 -= STEPS) {
    const Inputs x(w, p, t0);
    float h[STEPS + 1], decay[STEPS], dy[STEPS];
    h[0] = p.live ? pointer<const float>(w, w_saved)[p.of_saved(t0)] : 0.f;
    #pragma unroll
    for (int k = 0; k < STEPS; k++) {
      dy[k] = p.there && t0 + k < p.time ? pointer<const float>(w, w_dy)[p.of_channel(t0 + k)] : 0.f;
      decay[k] = exp2_(x.delta[k] * (a * LOG2E));
      h[k + 1] = decay[k] * h[k] + x.delta[k] * x.u[k] * x.b[k];
    }
    #pragma unroll
    for (int k = STEPS - 1; k >= 0; k--) {
      g += x.c[k] * dy[k];
      const float exponent = g * decay[k] * h[k];
      float db = g * x.delta[k] * x.u[k], dc = dy[k] * h[k + 1];
      const float du = over_states(g * x.b[k] * x.delta[k]), ddelta = over_states(exponent * a + g * x.b[k] * x.u[k]);
      da += exponent * x.delta[k];
      g *= decay[k];
      #pragma unroll
      for (int d = LANES; d < 32; d <<= 1) {
        db += __shfl_xor_sync(~0u, db, d);
        dc += __shfl_xor_sync(~0u, dc, d);
      }
      if (lane < LANES) {
        parts[0][k][warp][lane] = db;
        parts[1][k][warp][lane] = dc;
      }
      if (p.there && p.state == 0 && t0 + k < p.time) {
        pointer<float>(w, w_du)[p.of_channel(t0 + k)] = du;
        pointer<float>(w, w_ddelta)[p.of_channel(t0 + k)] = ddelta;
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < STEPS * LANES; i += 256) {
      const int k = i / LANES, state = i % LANES, t = t0 + k;
      if (t < p.time && state < p.states) {
        float db = 0.f, dc = 0.f;
        #pragma unroll
        for (int v = 0; v < 8; v++) { db += parts[0][k][v][state]; dc += parts[1][k][v][state]; }
        const i64 at = ((blockIdx.x * wide(w, w_batch) + p.b) * p.time + t) * p.states + state;
        pointer<float>(w, w_dbParts)[at] = db;
        pointer<float>(w, w_dcParts)[at] = dc;
      }
    }
    __syncthreads();
  }
  if (p.live) {
    pointer<float>(w, w_daParts)[p.own()] = da;
    float* const dinitial = pointer<float>(w, w_dinitial);
    if (dinitial) dinitial[p.own()] = g;
  }
}
