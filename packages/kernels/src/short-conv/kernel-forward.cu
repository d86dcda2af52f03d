extern "C" __global__ void __launch_bounds__(256) short_conv(const __grid_constant__ Args w) {
  Place p;
  if (!p.of(w)) return;
  const Filter f(w, p);
  float x[RUN + BACK][WIDE], y[RUN][WIDE];
  window<RUN + BACK, -BACK>(x, w, w_x, w_xBatch, p);
#if INPUT_BIAS
  #pragma unroll
  for (int v = 0; v < WIDE; v++) {
    const float more = pointer<const float>(w, w_inputBias)[p.channel + v];
    #pragma unroll
    for (int i = 0; i < RUN + BACK; i++)
      if (p.t0 - BACK + i >= 0) x[i][v] += more;
  }
#endif
  #pragma unroll
  for (int i = 0; i < RUN; i++)
    #pragma unroll
    for (int v = 0; v < WIDE; v++) {
      const float z = f.at(x, i, v);
      y[i][v] = SILU ? z * sigmoid_(z) : z;
    }
  write_run(w, w_y, p, y);
}
