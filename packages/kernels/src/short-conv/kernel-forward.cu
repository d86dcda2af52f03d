extern "C" __global__ void __launch_bounds__(256) short_conv(const __grid_constant__ Args w) {
  Place p;
  if (!p.of(w)) return;
  const Filter f(w, p);
  float x[RUN + BACK][WIDE], y[RUN][WIDE];
  window<RUN + BACK, -BACK>(x, w, w_x, w_xBatch, p);
  #pragma unroll
  for (int i = 0; i < RUN; i++)
    #pragma unroll
    for (int v = 0; v < WIDE; v++) {
      const float z = f.at(x, i, v);
      y[i][v] = SILU ? z * sigmoid_(z) : z;
    }
  write_run(w, w_y, p, y);
}
