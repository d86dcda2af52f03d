// Convolution of f16 or bf16 sequences of at most 1024 elements: one warp a transform, in registers, without shared memory or barriers. The
// last factor (M = 4) is a DFT of one thread. In front: as for tensor-block.cu, without FACTOR. A lane holds n1 = 2t + s % 2 + 8 (s / 2),
// n2 = g + 8 j and four n3.

constexpr int N = 1024, ROWS = PAIRED ? 2 : 1;

// Words: u, pre, post, spectrum, scales of the spectra, y, table; strides (batch, channel) of u, pre, post, y; batch, length, rows (or pairs)
// a warp takes, adjoint, channels.
extern "C" __global__ void __launch_bounds__(128, PRE || POST ? 2 : 3) convolve_warp(const __grid_constant__ Words<20> w) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
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
  // W_N^((k1 + d + 16 k2) n3), n3 = 1 to 3.
  u32 twiddles[24];
  #pragma unroll
  for (int i = 0; i < 6; i++) {
    const uint4 v = table[CLASSES + 128 + 32 * i + lane];
    twiddles[4 * i] = v.x; twiddles[4 * i + 1] = v.y; twiddles[4 * i + 2] = v.z; twiddles[4 * i + 3] = v.w;
  }
  auto row_of = [&](const Rows& r, int row) { return r.at + row * r.batch + channel * r.channel; };
  auto index = [&](int j, int s) { return (2 * t + (s & 1) + 8 * (s >> 1)) * 64 + (g + 8 * j) * 4; };
  auto read = [&](const Rows& r, bool whole, int b, uint2 (&to)[2][4]) {
    const u16* from = row_of(r, b < batch ? b : 0);
    const int here = b < batch ? length : 0;
    if (whole) {
      #pragma unroll
      for (int j = 0; j < 2; j++)
        #pragma unroll
        for (int s = 0; s < 4; s++) { const int n = index(j, s); to[j][s] = make_uint2(0, 0); if (n < here) to[j][s] = __ldcs((const uint2*)(from + n)); }
    } else {
      #pragma unroll
      for (int j = 0; j < 2; j++)
        #pragma unroll
        for (int s = 0; s < 4; s++) to[j][s] = four_elements(from, index(j, s), here, false);
    }
  };
  uint2 raw[ROWS][2][4], gates[PRE ? ROWS : 1][2][4] = {}, posts[POST ? ROWS : 1][2][4] = {};
  auto read_rows = [&](int item) {
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      read(u, u_whole, item * ROWS + row, raw[row]);
      if constexpr (PRE) read(pre, pre_whole, item * ROWS + row, gates[PRE ? row : 0]);
    }
  };
  read_rows(begin);
  for (int item = begin; item < end; item++) {
    Factor factor[ROWS];
    if constexpr (POST)
      #pragma unroll
      for (int row = 0; row < ROWS; row++) read(post, post_whole, item * ROWS + row, posts[POST ? row : 0]);
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      const uint2 (&gate)[2][4] = gates[PRE ? row : 0];
      u32 peak = 0;
      #pragma unroll
      for (int j = 0; j < 2; j++)
        #pragma unroll
        for (int s = 0; s < 4; s++) peak = raise(peak, raw[row][j][s], gate[j][s]);
      const float scale = scale_of(warp_peak(peak));
      factor[row] = factor_of(gain / scale);
      const half2 by = packed(scale, scale);
      #pragma unroll
      for (int j = 0; j < 2; j++)
        #pragma unroll
        for (int s = 0; s < 4; s++) {
          uint2& v = raw[row][j][s];
          if constexpr (CONVERTED) v = converted(v, gate[j][s], scale);
          else { v.x = product(v.x, by); v.y = product(v.y, by); }
        }
    }
    transform.load_forward(stage, table, table + CLASSES, lane);
    half2 zr[4][4], zi[4][4];
    #pragma unroll
    for (int q = 0; q < 4; q++) {
      half2 xr[2][2], xi[2][2], ar[2][2], ai[2][2];
      #pragma unroll
      for (int j = 0; j < 2; j++)
        #pragma unroll
        for (int b = 0; b < 2; b++) {
          const uint2 p = raw[0][j][2 * b], o = raw[0][j][2 * b + 1];
          xr[j][b] = q < 2 ? halves(p.x, o.x, q & 1) : halves(p.y, o.y, q & 1);
          if constexpr (PAIRED) {
            const uint2 p = raw[ROWS - 1][j][2 * b], o = raw[ROWS - 1][j][2 * b + 1];
            xi[j][b] = q < 2 ? halves(p.x, o.x, q & 1) : halves(p.y, o.y, q & 1);
          } else {
            xi[j][b] = 0;
          }
        }
      transform.forward(stage, xr, xi, ar, ai);
      #pragma unroll
      for (int r = 0; r < 2; r++)
        #pragma unroll
        for (int j = 0; j < 2; j++) {
          half2 a = ar[j][r], b = ai[j][r];
          if (q > 0) times(a, b, twiddles[((q - 1) * 4 + r * 2 + j) * 2], twiddles[((q - 1) * 4 + r * 2 + j) * 2 + 1]);
          zr[q][r * 2 + j] = a; zi[q][r * 2 + j] = b;
        }
    }
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
      dft4(zi[0][i], zr[0][i], zi[1][i], zr[1][i], zi[2][i], zr[2][i], zi[3][i], zr[3][i]);
      #pragma unroll
      for (int q = 1; q < 4; q++) times_conjugate(zr[q][i], zi[q][i], twiddles[((q - 1) * 4 + i) * 2], twiddles[((q - 1) * 4 + i) * 2 + 1]);
    }
    transform.load_inverse(stage, table, table + CLASSES, lane);
    half2 kept[ROWS][2][2][2];
    #pragma unroll
    for (int pair = 0; pair < 2; pair++) {
      half2 er[2][2][2], ei[2][2][2];
      #pragma unroll
      for (int o = 0; o < 2; o++) {
        half2 xr[2][2], xi[2][2];
        #pragma unroll
        for (int r = 0; r < 2; r++)
          #pragma unroll
          for (int j = 0; j < 2; j++) { xr[r][j] = zr[2 * pair + o][r * 2 + j]; xi[r][j] = zi[2 * pair + o][r * 2 + j]; }
        transform.inverse(stage, xr, xi, er[o], ei[o]);
      }
      #pragma unroll
      for (int c = 0; c < 2; c++)
        #pragma unroll
        for (int h = 0; h < 2; h++)
          #pragma unroll
          for (int e = 0; e < 2; e++)
            #pragma unroll
            for (int row = 0; row < ROWS; row++) {
              const half2 a = row ? halves(ei[0][h][c], ei[1][h][c], e) : halves(er[0][h][c], er[1][h][c], e);
              if (pair == 0) { kept[row][c][h][e] = a; continue; }
              const int b = item * ROWS + row, n = (8 * h + 2 * t + e) * 64 + (g + 8 * c) * 4;
              if (b >= batch) continue;
              const uint2 v = finished(make_uint2(kept[row][c][h][e], a), posts[POST ? row : 0][c][2 * h + e], factor[row]);
              store_elements((u16*)row_of(y, b), n, length, y_whole, v);
            }
    }
  }
}
