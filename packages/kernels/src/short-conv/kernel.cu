// Short causal depthwise convolution. A thread owns RUN neighbouring steps of one channel (TIME_LAST), or RUN steps of VEC neighbouring
// channels; what it needs of the steps around them comes from the cache. Where VEC > 1, memory is read and written 16 bytes at a time.
//
// Defined before: E (element), W (taps), VEC, RUN, TIME_LAST, SILU, BIAS, and the word indices w_*, WORDS.

typedef Words<WORDS> Args;
constexpr int BACK = W - 1;

struct __align__(sizeof(E) * VEC) Pack { E at[VEC]; };
__device__ __forceinline__ void read(float (&to)[VEC], const E* p) {
  const Pack x = *(const Pack*)p;
  #pragma unroll
  for (int v = 0; v < VEC; v++) to[v] = get(x.at[v]);
}
__device__ __forceinline__ void write(E* p, const float (&x)[VEC]) {
  Pack to;
  #pragma unroll
  for (int v = 0; v < VEC; v++) put(to.at[v], x[v]);
  *(Pack*)p = to;
}

// Channels of a thread, and its steps.
constexpr int WIDE = TIME_LAST ? 1 : VEC;

struct Place {
  int channel, t0, length;
  i64 b;
  __device__ __forceinline__ bool of(const Args& w) {
    const i64 id = (i64)blockIdx.x * 256 + threadIdx.x;
    const int runs = integer(w, w_runs), groups = integer(w, w_groups);
    length = integer(w, w_length);
    i64 row;
    if (TIME_LAST) {
      row = id / runs;
      t0 = (int)(id - row * runs) * RUN;
      channel = (int)(row % groups);
      b = row / groups;
    } else {
      row = id / groups;
      channel = (int)(id - row * groups) * VEC;
      t0 = (int)(row % runs) * RUN;
      b = row / runs;
    }
    return b < wide(w, w_batch);
  }
};

/** Steps t0 + OFFSET .. t0 + OFFSET + N - 1 of a sequence; zeros outside of it. */
template <int N, int OFFSET> __device__ __forceinline__ void window(float (&to)[N][WIDE], const Args& w, int at, int strides, const Place& p) {
  const E* const base = pointer<const E>(w, at) + p.b * wide(w, strides) + (TIME_LAST ? p.channel * wide(w, strides + 1) : (i64)p.channel);
  if constexpr (TIME_LAST) {
    // t0 is a multiple of VEC, and so is where a read begins.
    constexpr int SKIP = (OFFSET % VEC + VEC) % VEC;
    #pragma unroll
    for (int k = 0; k < (SKIP + N + VEC - 1) / VEC; k++) {
      const int t = p.t0 + OFFSET - SKIP + k * VEC;
      float x[VEC];
      #pragma unroll
      for (int v = 0; v < VEC; v++) x[v] = 0.f;
      if (t >= 0 && t < p.length) read(x, base + t);
      #pragma unroll
      for (int v = 0; v < VEC; v++) {
        const int i = k * VEC + v - SKIP;
        if (i >= 0 && i < N) to[i][0] = x[v];
      }
    }
  } else {
    const i64 step = wide(w, strides + 1);
    #pragma unroll
    for (int i = 0; i < N; i++) {
      const int t = p.t0 + OFFSET + i;
      #pragma unroll
      for (int v = 0; v < VEC; v++) to[i][v % WIDE] = 0.f;
      float(&x)[VEC] = (float(&)[VEC])to[i];
      if (t >= 0 && t < p.length) read(x, base + t * step);
    }
  }
}

/** The taps and the bias of a thread's channels. */
struct Filter {
  float tap[W][WIDE], bias[WIDE];
  __device__ __forceinline__ Filter(const Args& w, const Place& p) {
    #pragma unroll
    for (int v = 0; v < WIDE; v++) {
      #pragma unroll
      for (int j = 0; j < W; j++) tap[j][v] = pointer<const float>(w, w_w)[(i64)(p.channel + v) * W + j];
      bias[v] = BIAS ? pointer<const float>(w, w_bias)[p.channel + v] : 0.f;
    }
  }
  /** The sum at the step whose oldest input is row i of a window. */
  template <int N> __device__ __forceinline__ float at(const float (&x)[N][WIDE], int i, int v) const {
    float z = bias[v];
    #pragma unroll
    for (int j = 0; j < W; j++) z += tap[j][v] * x[i + j][v];
    return z;
  }
};

__device__ __forceinline__ float silu_slope(float z) {
  const float s = sigmoid_(z);
  return s * (1.f + z * (1.f - s));
}

/** Writes RUN steps of the thread's channels. */
__device__ __forceinline__ void write_run(const Args& w, int at, const Place& p, const float (&y)[RUN][WIDE]) {
  const int channels = integer(w, w_groups) * WIDE;
  E* const base = pointer<E>(w, at);
  if constexpr (TIME_LAST) {
    float x[VEC];
    #pragma unroll
    for (int v = 0; v < VEC; v++) x[v] = y[v][0];
    write(base + (p.b * channels + p.channel) * p.length + p.t0, x);
  } else {
    #pragma unroll
    for (int i = 0; i < RUN; i++)
      if (p.t0 + i < p.length) write(base + (p.b * p.length + p.t0 + i) * channels + p.channel, (const float(&)[VEC])y[i]);
  }
}
