// Convolution of f16 or bf16 sequences of at most 1024 elements: one warp a transform. In front: what tensor-warp-rows.cu needs and
// tensor-warp-rows.cu.

// Words: u, pre, post, spectrum, scales of the spectra, y, table; strides (batch, channel) of u, pre, post, y; batch, length, rows (or pairs)
// a warp takes, adjoint, channels.
extern "C" __global__ void __launch_bounds__(128, PRE || POST ? 2 : 3) convolve_warp(const __grid_constant__ Words<20> w) {
  const int lane = threadIdx.x & 31;
  const int batch = integer(w, 15), length = integer(w, 16), items = integer(w, 17), channels = integer(w, 19);
  const u32 adjoint = integer(w, 18) ? SIGNS : 0;
  const int groups = (batch + ROWS - 1) / ROWS, parts = (groups + items - 1) / items;
  const int job = blockIdx.x * 4 + (threadIdx.x >> 5), channel = job / parts, begin = job % parts * items, end = min_(begin + items, groups);
  if (channel >= channels) return;
  const Rows u = rows_of(w, 0, 7), pre = rows_of(w, 1, 9), post = rows_of(w, 2, 11), y = rows_of(w, 5, 13);
  const bool u_whole = aligned(u, length), pre_whole = PRE && aligned(pre, length), post_whole = POST && aligned(post, length), y_whole = aligned(y, length);
  const uint4* table = pointer<const uint4>(w, 6);
  const uint4* spectrum = pointer<const uint4>(w, 3) + (i64)channel * 256 + lane;
  const float gain = pointer<const float>(w, 4)[channel];
  Transform256<PAIRED> transform;
  transform.load(table, lane);
  Stage stage;
  u32 twiddles[24];
  load_twiddles(twiddles, table, lane);
  Elements raw[ROWS], gates[PRE ? ROWS : 1] = {}, posts[POST ? ROWS : 1] = {};
  auto read_rows = [&](int item) {
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      read_row(raw[row], u, u_whole, item * ROWS + row, channel, batch, length, lane);
      if constexpr (PRE) read_row(gates[PRE ? row : 0], pre, pre_whole, item * ROWS + row, channel, batch, length, lane);
    }
  };
  read_rows(begin);
  for (int item = begin; item < end; item++) {
    Factor factor[ROWS];
    if constexpr (POST)
      #pragma unroll
      for (int row = 0; row < ROWS; row++) read_row(posts[POST ? row : 0], post, post_whole, item * ROWS + row, channel, batch, length, lane);
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      const Elements& gate = gates[PRE ? row : 0];
      const float scale = scale_of(warp_peak(peak_of(raw[row], gate)));
      factor[row] = factor_of(gain / scale);
      scale_row(raw[row], gate, scale);
    }
    transform.load_forward(stage, table, table + CLASSES, lane);
    half2 zr[4][4], zi[4][4];
    forward_rows(transform, stage, raw, twiddles, zr, zi);
    // The next rows travel while this one is transformed.
    if (item + 1 < end) read_rows(item + 1);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const uint4 a = reload(spectrum + 64 * i), b = reload(spectrum + 64 * i + 32);
      dft4(zr[0][i], zi[0][i], zr[1][i], zi[1][i], zr[2][i], zi[2][i], zr[3][i], zi[3][i]);
      times(zr[0][i], zi[0][i], a.x, a.y ^ adjoint);
      times(zr[1][i], zi[1][i], a.z, a.w ^ adjoint);
      times(zr[2][i], zi[2][i], b.x, b.y ^ adjoint);
      times(zr[3][i], zi[3][i], b.z, b.w ^ adjoint);
      back_twiddled(zr, zi, twiddles, i);
    }
    transform.load_inverse(stage, table, table + CLASSES, lane);
    Elements out[ROWS];
    inverse_rows(transform, stage, zr, zi, out);
    #pragma unroll
    for (int row = 0; row < ROWS; row++)
      if (item * ROWS + row < batch) write_row(out[row], posts[POST ? row : 0], y, y_whole, item * ROWS + row, channel, length, factor[row], lane);
  }
}
