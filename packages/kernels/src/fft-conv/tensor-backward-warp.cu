// Backward pass of convolutions of at most 1024 elements: as in tensor-backward.cu, by one warp a transform, as in tensor-warp.cu. In front: what
// tensor-warp.cu needs, tensor-warp-rows.cu, tensor-products.cu and the definitions of tensor-backward.cu. Only the sums lie in shared memory.

// Words: as in tensor-backward.cu, with the number of channels instead of residues, no exponents of products.
extern "C" __global__ void __launch_bounds__(128, PAIRED || U_GATED || DY_GATED ? 2 : 3) backward_warp(const __grid_constant__ Words<30> w) {
  extern __shared__ __align__(128) u8 memory[];
  const int lane = threadIdx.x & 31;
  const u32 sums = shared_address(memory) + ((threadIdx.x >> 5) * 256 + lane) * 16;
  const int batch = integer(w, 22), length = integer(w, 23), items = integer(w, 24), channels = integer(w, 26);
  // du goes the other way than y.
  const u32 back = integer(w, 25) ? 0 : SIGNS;
  const int groups = (batch + ROWS - 1) / ROWS, parts = (groups + items - 1) / items;
  const int job = blockIdx.x * 4 + (threadIdx.x >> 5), channel = job / parts, begin = job % parts * items, end = min_(begin + items, groups);
  if (channel >= channels) return;
  const Rows u = rows_of(w, 0, 12), pre = rows_of(w, 1, 14), dy = rows_of(w, 2, 16), post = rows_of(w, 3, 18), du = rows_of(w, 6, 20);
  const bool u_whole = aligned(u, length), dy_whole = aligned(dy, length), du_whole = aligned(du, length);
  const bool pre_whole = U_GATED && aligned(pre, length), post_whole = DY_GATED && aligned(post, length);
  const uint4* table = pointer<const uint4>(w, 11);
  const uint4* spectrum = pointer<const uint4>(w, 4) + (i64)channel * 256 + lane;
  const float gain = DU || DPRE || DPOST ? pointer<const float>(w, 5)[channel] : 1.f;
  Transform256<PAIRED> transform;
  transform.load(table, lane);
  Stage stage;
  u32 twiddles[24];
  load_twiddles(twiddles, table, lane);

  #pragma unroll
  for (int i = 0; i < 8; i++) store_shared_wide(sums + i * 512, make_uint4(0, 0, 0, 0));
  Unit unit;
  unit.sums = 4096;
  Elements u_raw[ROWS], dy_raw[ROWS], pre_raw, post_raw;
  auto read_u = [&](int item) {
    #pragma unroll
    for (int row = 0; row < ROWS; row++) read_row(u_raw[row], u, u_whole, item * ROWS + row, channel, batch, length, lane);
    if constexpr (U_GATED) read_row(pre_raw, pre, pre_whole, item, channel, batch, length, lane);
  };
  auto read_dy = [&](int item) {
    #pragma unroll
    for (int row = 0; row < ROWS; row++) read_row(dy_raw[row], dy, dy_whole, item * ROWS + row, channel, batch, length, lane);
    if constexpr (DY_GATED) read_row(post_raw, post, post_whole, item, channel, batch, length, lane);
  };
  if constexpr (!U_GATED) pre_raw.fill(ONES);
  if constexpr (!DY_GATED) post_raw.fill(ONES);
  read_u(begin);
  read_dy(begin);
  for (int item = begin; item < end; item++) {
    float a[ROWS], b[ROWS];
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      a[row] = scale_of(warp_peak(peak_of(u_raw[row], pre_raw)));
      b[row] = scale_of(warp_peak(peak_of(dy_raw[row], post_raw)));
    }
    next_rows(unit, a, b, 0);
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      if constexpr (CONVERTED) {
        scale_row(u_raw[row], pre_raw, power(unit.u[row] + unit.lower[row] - SPREAD));
      } else {
        scale_row(u_raw[row], pre_raw, power(unit.u[row]));
        scale_row(u_raw[row], pre_raw, power(unit.lower[row] - SPREAD));
      }
      scale_row(dy_raw[row], post_raw, power(unit.dy[row]));
    }
    half2 ur[4][4], ui[4][4], zr[4][4], zi[4][4];
    transform.load_forward(stage, table, table + CLASSES, lane);
    forward_rows(transform, stage, u_raw, twiddles, ur, ui);
    forward_rows(transform, stage, dy_raw, twiddles, zr, zi);
    // The next rows travel while these are worked on.
    if (item + 1 < end) { read_u(item + 1); read_dy(item + 1); }
    if (item > begin && unit.down != 1.f)
      for (int i = 0; i < 8; i++) scale_sums(sums + i * 512, unit.down);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      dft4(ur[0][i], ui[0][i], ur[1][i], ui[1][i], ur[2][i], ui[2][i], ur[3][i], ui[3][i]);
      dft4(zr[0][i], zi[0][i], zr[1][i], zi[1][i], zr[2][i], zi[2][i], zr[3][i], zi[3][i]);
      #pragma unroll
      for (int h = 0; h < 2; h++) {
        const int p = 2 * h, q = p + 1;
        const u32 at = sums + (2 * i + h) * 512;
        uint4 sum = load_shared_wide(at);
        add_product(sum.x, sum.y, ur[p][i], ui[p][i], zr[p][i], zi[p][i], unit.weight);
        add_product(sum.z, sum.w, ur[q][i], ui[q][i], zr[q][i], zi[q][i], unit.weight);
        store_shared_wide(at, sum);
        if constexpr (DU || DPRE || DPOST) {
          const uint4 f = reload(spectrum + 64 * i + 32 * h);
          times(zr[p][i], zi[p][i], f.x, f.y ^ back);
          times(zr[q][i], zi[q][i], f.z, f.w ^ back);
          if constexpr (DPOST) {
            times(ur[p][i], ui[p][i], f.x, f.y ^ back ^ SIGNS);
            times(ur[q][i], ui[q][i], f.z, f.w ^ back ^ SIGNS);
          }
        }
      }
      if constexpr (DU || DPRE) back_twiddled(zr, zi, twiddles, i);
      if constexpr (DPOST) back_twiddled(ur, ui, twiddles, i);
    }
    if constexpr (DU || DPRE || DPOST) {
      transform.load_inverse(stage, table, table + CLASSES, lane);
      auto results = [&](int row, const Elements& of, float scale, const Rows& gate, bool gate_whole, int result) {
        const int b = item * ROWS + row;
        if (b >= batch) return;
        Elements g;
        if (gate.at) read_row(g, gate, gate_whole, b, channel, batch, length, lane); else g.fill(ONES);
        write_row(of, g, {pointer<u16>(w, result), du.batch, du.channel}, du_whole, b, channel, length, factor_of(scale), lane);
      };
      Elements out[ROWS];
      if constexpr (DU || DPRE) inverse_rows(transform, stage, zr, zi, out);
      #pragma unroll
      for (int row = 0; row < ROWS; row++) {
        const float scale = gain * power(-unit.dy[row]);
        if constexpr (DU) results(row, out[row], scale, U_GATED ? pre : Rows{}, pre_whole, 6);
        if constexpr (DPRE) results(row, out[row], scale, u, u_whole, 7);
      }
      if constexpr (DPOST) {
        inverse_rows(transform, stage, ur, ui, out);
        results(0, out[0], gain * power(SPREAD - unit.u[0]), dy, dy_whole, 8);
      }
    }
  }
  const i64 place = (i64)channel * integer(w, 28) + integer(w, 29) + job % parts;
  uint4* out = pointer<uint4>(w, 9) + place * 256 + lane;
  #pragma unroll
  for (int i = 0; i < 8; i++) out[i * 32] = load_shared_wide(sums + i * 512);
  if (lane == 0) pointer<int>(w, 10)[place] = unit.sums - SPREAD;
}
