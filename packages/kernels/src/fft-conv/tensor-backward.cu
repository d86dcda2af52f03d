// Backward pass of the convolution by transforms of N = 256 M points: one read of u and dy, one write of du, and per team the sum of
// conj(U) D over some rows of the batch, in the order of spectra (filter-gradient.cu makes taps of them).
//
// In front: what tensor-columns.cu needs and tensor-columns.cu, `#define JOINED 0|1` and tensor-products.cu; `#define U_GATED`, `DY_GATED` 0|1:
// whether u has a gate before, dy one after (not PAIRED then; PRE and POST say whether there is any); `#define DU`, `DPRE`, `DPOST` 0|1: which
// results are wanted: du, u times what du is without its gate, dy times the convolution of u (of JOINED rows that convolution alone);
// `#define TEAMS n` as in tensor-block.cu.
//
// A team of M / 4 warps takes one item (a row, or two that are PAIRED) after the other; its planes of u lie in front, then those of dy, then the sums.
// The next rows travel while the last ones are worked on. A gate lies in the imaginary plane of its row, which real rows leave free.

constexpr int WARPS = M / 4, THREADS = 8 * M, BLOCKS = TEAMS > 1 ? 1 : 512 / THREADS, TILES = 16 / WARPS;
constexpr int TEAM = 4 * PLANE + 1024 * M;
constexpr bool SCALES = SCALED && !BRAIN;
// Whether u and dy share what is read of the table.
constexpr bool TOGETHER = !PAIRED;

// Words: u, pre, dy, post, spectrum, scales of the spectra, du, dpre, dpost, sums, exponents of their units, table; strides (batch, channel) of
// u, pre, dy, post, and of all results; batch, length, items of a sum, adjoint, residues, exponents of products (JOINED); parts of the
// batch in all, and how many come before those of this launch; channels.
extern "C" __global__ void __launch_bounds__(THREADS * TEAMS, BLOCKS) backward_block(const __grid_constant__ Words<31> w) {
  extern __shared__ __align__(128) u8 memory[];
  __shared__ u32 peaks[TEAMS][2][2][WARPS];
  const int lane = threadIdx.x & 31, all = __shfl_sync(~0u, threadIdx.x >> 5, 0), team = TEAMS > 1 ? all / WARPS : 0;
  const int warp = TEAMS > 1 ? all % WARPS : all, tid = warp * 32 + lane;
  const u32 plane = shared_address(memory) + team * TEAM, dy_plane = plane + 2 * PLANE, sums = plane + 4 * PLANE + (warp * TILES * C * 32 + lane) * 16;
  const int batch = integer(w, 22), length = integer(w, 23), items = integer(w, 24), residues = integer(w, 26), channels = integer(w, 30);
  // du goes the other way than y.
  const u32 back = integer(w, 25) ? 0 : SIGNS;
  const Rows u = rows_of(w, 0, 12), pre = rows_of(w, 1, 14), dy = rows_of(w, 2, 16), post = rows_of(w, 3, 18), du = rows_of(w, 6, 20);
  const bool u_whole = aligned(u, length), dy_whole = aligned(dy, length), du_whole = aligned(du, length);
  const bool pre_whole = U_GATED && aligned(pre, length), post_whole = DY_GATED && aligned(post, length);
  auto together = [&] { if constexpr (TEAMS == 1) __syncthreads(); else meet(1 + team, THREADS); };
  const Table table(pointer<const uint4>(w, 11), shared_address(memory) + TEAMS * TEAM);

  // Of the elements tid 4 + 32 M i a thread itself copies, measures and writes.
  auto own = [&](int i) { return own_place(2 * i + tid / (4 * M), tid % (4 * M)); };
  // A row's elements from the thread's first one on, and how many there are.
  struct Share { const u16* at; int count; };
  auto share_of = [&](const Rows& r, int b, int channel) { return Share{r.at + b * r.batch + channel * r.channel + 4 * tid, length - 4 * tid}; };

  // Sums of a channel, and of all those that this block makes; where a team is.
  const int groups = (batch + ROWS - 1) / ROWS, parts = (groups + items - 1) / items;
  const u64 total = (u64)channels * parts;
  const u32 first_job = (u32)(total * blockIdx.x / gridDim.x), end_job = (u32)(total * (blockIdx.x + 1) / gridDim.x);
  u32 job = first_job + team;
  int channel = job / parts, item = job % parts * items;
  auto copy_row = [&](const Rows& r, bool whole, int b, u32 to) {
    Share from = share_of(r, b < batch ? b : 0, channel);
    if (b >= batch) from.count = 0;
    if (whole)
      #pragma unroll
      for (int i = 0; i < 8; i++) copy_async(to + own(i), from.at + 32 * M * i, 32 * M * i < from.count);
    else
      #pragma unroll 1
      for (int i = 0; i < 8; i++) { const uint2 v = four_elements(from.at, 32 * M * i, from.count, false); store_shared(to + own(i), v.x, v.y); }
  };
  auto fill_u = [&] {
    #pragma unroll
    for (int row = 0; row < ROWS; row++) copy_row(u, u_whole, item * ROWS + row, plane + row * PLANE);
    if constexpr (U_GATED) copy_row(pre, pre_whole, item, plane + PLANE);
  };
  auto fill_dy = [&] {
    #pragma unroll
    for (int row = 0; row < ROWS; row++) copy_row(dy, dy_whole, item * ROWS + row, dy_plane + row * PLANE);
    if constexpr (DY_GATED) copy_row(post, post_whole, item, dy_plane + PLANE);
  };
  // The peak of what a thread has of a row; rows of f16 get their gate.
  auto peak_of = [&](u32 from, bool gated) {
    u32 peak = 0;
    #pragma unroll
    for (int i = 0; i < 8; i++) {
      uint2 v = load_shared(from + own(i)), gate = {ONES, ONES};
      if (gated) gate = load_shared(from + PLANE + own(i));
      if constexpr (BRAIN) { peak = raise_single(peak, v, gate); continue; }
      if (gated) { v.x = product(v.x, gate.x); v.y = product(v.y, gate.y); store_shared(from + own(i), v.x, v.y); }
      peak = raise_half(peak, v);
    }
    return BRAIN ? __reduce_max_sync(~0u, peak) : half_peak(peak);
  };
  auto convert = [&](u32 at, bool gated, float scale) {
    #pragma unroll
    for (int i = 0; i < 8; i++) {
      const uint2 v = converted(load_shared(at + own(i)), gated ? load_shared(at + PLANE + own(i)) : make_uint2(ONES, ONES), scale);
      store_shared(at + own(i), v.x, v.y);
    }
  };
  // A gated row of f16 in float32, in units of its peak, which it returns.
  auto convert_slowly = [&](const Rows& r, const Rows& gate, u32 to, int which) {
    const Share from = share_of(r, item, channel), by = share_of(gate, item, channel);
    u32 peak = 0;
    #pragma unroll 1
    for (int i = 0; i < 8; i++) peak = raise_single(peak, four_elements(from.at, 32 * M * i, from.count, false), four_elements(by.at, 32 * M * i, by.count, false));
    together();
    peak = __reduce_max_sync(~0u, peak);
    if (lane == 0) peaks[team][which][0][warp] = peak;
    together();
    const float scale = scale_of_single(__reduce_max_sync(~0u, peaks[team][which][0][lane % WARPS]), 1);
    #pragma unroll 1
    for (int i = 0; i < 8; i++) {
      const uint2 x = converted(four_elements(from.at, 32 * M * i, from.count, false), four_elements(by.at, 32 * M * i, by.count, false), scale);
      store_shared(to + own(i), x.x, x.y);
    }
    together();
    return scale;
  };
  auto clear = [&] {
    #pragma unroll
    for (int i = 0; i < TILES * C; i++) store_shared_wide(sums + i * 512, make_uint4(0, 0, 0, 0));
  };

  clear();
  Unit unit;
  unit.sums = 4096;
  bool fresh = true;
  if (job < end_job) { fill_u(); fill_dy(); }
  while (job < end_job) {
    const uint4* spectrum = pointer<const uint4>(w, 4) + (i64)channel * 16 * C * 32 + lane;
    const float gain = (DU || DPRE || DPOST) && !JOINED ? __ldg(pointer<const float>(w, 5) + channel) : 1.f;
    copies_done();
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      const u32 a = peak_of(plane + row * PLANE, U_GATED), b = peak_of(dy_plane + row * PLANE, DY_GATED);
      if (lane == 0) { peaks[team][0][row][warp] = a; peaks[team][1][row][warp] = b; }
    }
    together();
    Scales by[2];
    {
      u32 u_peak[ROWS], dy_peak[ROWS];
      float a[ROWS], b[ROWS];
      // Exponents that the rows have been scaled by.
      int u_done = 0, dy_done = 0;
      #pragma unroll
      for (int row = 0; row < ROWS; row++) {
        u_peak[row] = __reduce_max_sync(~0u, peaks[team][0][row][lane % WARPS]);
        dy_peak[row] = __reduce_max_sync(~0u, peaks[team][1][row][lane % WARPS]);
        a[row] = BRAIN ? scale_of_single(u_peak[row], 1) : scale_of_half(u_peak[row]);
        b[row] = BRAIN ? scale_of_single(dy_peak[row], 1) : scale_of_half(dy_peak[row]);
      }
      if (U_GATED && SCALES && (u_peak[0] < LEAST_PEAK || u_peak[0] > MOST_PEAK)) { a[0] = convert_slowly(u, pre, plane, 0); u_done = exponent(a[0]); }
      if (DY_GATED && SCALES && (dy_peak[0] < LEAST_PEAK || dy_peak[0] > MOST_PEAK)) { b[0] = convert_slowly(dy, post, dy_plane, 1); dy_done = exponent(b[0]); }
      next_rows(unit, a, b, JOINED ? pointer<const int>(w, 27)[(i64)item * (channels / residues) + channel / residues] : 0);
      #pragma unroll
      for (int row = 0; row < ROWS; row++) {
        if constexpr (BRAIN) {
          convert(plane + row * PLANE, U_GATED, power(unit.u[row] + unit.lower[row] - SPREAD));
          convert(dy_plane + row * PLANE, DY_GATED, power(unit.dy[row]));
        } else {
          const float a = power(unit.u[row] - u_done - (PAIRED ? 0 : SPREAD)), b = power(unit.dy[row] - dy_done), c = power(unit.lower[row] - SPREAD);
          by[0].one[row] = packed(a, a); by[0].two[row] = packed(c, c); by[1].one[row] = packed(b, b);
        }
      }
      if constexpr (BRAIN) together();
    }
    {
      const Twiddles twiddles = load_twiddles(table, false, lane);
      const u32 planes[2] = {plane, dy_plane};
      if constexpr (TOGETHER) {
        columns_forward<SCALES ? 1 : 0>(table, twiddles, planes, planes, warp, lane, by);
      } else {
        columns_forward<SCALES ? PAIRED ? 2 : 1 : 0>(table, twiddles, {plane}, {plane}, warp, lane, {by[0]});
        columns_forward<SCALES ? 1 : 0>(table, twiddles, {dy_plane}, {dy_plane}, warp, lane, {by[1]});
      }
    }
    together();

    // What comes after this item.
    const u32 now_job = job;
    const int now_item = item, now_channel = channel;
    item++;
    if (item % items == 0 || item == groups) {
      job += TEAMS;
      channel = job / parts; item = job % parts * items;
    }
    const bool more = job < end_job;
    if (!fresh && unit.down != 1.f)
      for (int i = 0; i < TILES * C; i++) scale_sums(sums + i * 512, unit.down);
    fresh = false;
    #pragma unroll 1
    for (int tile = 0; tile < TILES; tile++) {
      const int k1 = warp * TILES + tile;
      const u32 u_tile = tile_of(plane, k1, lane), dy_tile = tile_of(dy_plane, k1, lane);
      half2 zr[C][2], zi[C][2], xr[C][2], xi[C][2], yr[C][2], yi[C][2], vr[C][2], vi[C][2];
      load_tile(zr, zi, u_tile);
      load_tile(xr, xi, dy_tile);
      #pragma unroll
      for (int c = 0; c < C; c++) {
        const int s = place<C>(c);
        half2 p[2], q[2], a[2], b[2];
        const Class m = load_class(table, c, lane);
        apply(p, q, zr[s][0], zr[s][1], zi[s][0], zi[s][1], m.there);
        apply(a, b, xr[s][0], xr[s][1], xi[s][0], xi[s][1], m.there);
        uint4 f;
        if constexpr (DU || DPRE || DPOST) f = SHARED ? __ldg(spectrum + (k1 * C + c) * 32) : load_passing(spectrum + (k1 * C + c) * 32);
        const u32 at = sums + (tile * C + c) * 512;
        uint4 sum = load_shared_wide(at);
        add_product(sum.x, sum.y, p[0], q[0], a[0], b[0], unit.weight);
        add_product(sum.z, sum.w, p[1], q[1], a[1], b[1], unit.weight);
        store_shared_wide(at, sum);
        if constexpr (DU || DPRE) {
          times(a[0], b[0], f.x, f.y ^ back);
          times(a[1], b[1], f.z, f.w ^ back);
          apply(yr[c], yi[c], a[0], a[1], b[0], b[1], m.back);
        }
        if constexpr (DPOST) {
          times(p[0], q[0], f.x, f.y ^ back ^ SIGNS);
          times(p[1], q[1], f.z, f.w ^ back ^ SIGNS);
          apply(vr[c], vi[c], p[0], p[1], q[0], q[1], m.back);
        }
      }
      if constexpr (DU || DPRE) store_tile(yr, yi, dy_tile);
      if constexpr (DPOST) store_tile(vr, vi, u_tile);
    }
    together();

    if (!DPOST && more) fill_u();
    if constexpr (DU || DPRE || DPOST) {
      {
        const Twiddles twiddles = load_twiddles(table, true, lane);
        const u32 planes[2] = {plane, dy_plane};
        if constexpr (TOGETHER && DPOST && (DU || DPRE)) {
          columns_inverse(table, twiddles, planes, warp, lane);
        } else {
          if constexpr (DU || DPRE) columns_inverse(table, twiddles, {dy_plane}, warp, lane);
          if constexpr (DPOST) columns_inverse(table, twiddles, {plane}, warp, lane);
        }
      }
      together();
      #pragma unroll
      for (int row = 0; row < ROWS; row++) {
        const int b = now_item * ROWS + row;
        if (b >= batch) break;
        auto results = [&](u32 from, float scale, const Rows& gate, bool gated, bool gate_whole, int result) {
          const Share out = share_of({pointer<const u16>(w, result), du.batch, du.channel}, b, now_channel);
          const Share other = gated ? share_of(gate, b, now_channel) : Share{};
          u16* to = (u16*)out.at;
          uint2 g[8];
          if (POST || PRE)
            #pragma unroll
            for (int i = 0; i < 8; i++) { g[i] = make_uint2(ONES, ONES); if (gated && gate_whole && 32 * M * i < other.count) g[i] = *(const uint2*)(other.at + 32 * M * i); }
          Finish finish = POST || PRE ? finish_of(scale, g) : finish_of(scale);
          if (gated && !gate_whole) finish.fast = false;
          if (du_whole && finish.fast)
            #pragma unroll
            for (int i = 0; i < 8; i++) {
              const uint2 v = finished(load_shared(from + own(i)), g[i], finish);
              if (32 * M * i < out.count) __stcs((uint2*)(to + 32 * M * i), v);
            }
          else
            #pragma unroll 1
            for (int i = 0; i < 8; i++)
              store_elements(to, 32 * M * i, out.count, false, finished_single(load_shared(from + own(i)), gated ? four_elements(other.at, 32 * M * i, other.count, false) : make_uint2(ONES, ONES), scale));
        };
        // A power of two each, together within range.
        const float dy_scale = gain * power(-unit.dy[row]);
        if constexpr (DU) results(dy_plane + row * PLANE, dy_scale, pre, U_GATED, pre_whole, 6);
        if constexpr (DPRE) results(dy_plane, dy_scale, u, true, u_whole, 7);
        if constexpr (DPOST) results(plane + row * PLANE, gain * power(SPREAD - unit.u[row]), dy, !JOINED, dy_whole, 8);
      }
    }
    // Every thread writes over what only it has read.
    if (DPOST && more) fill_u();
    if (more) fill_dy();
    if (job != now_job) {
      const i64 place = (i64)now_channel * integer(w, 28) + integer(w, 29) + now_job % parts;
      uint4* out = pointer<uint4>(w, 9) + (place * WARPS + warp) * TILES * C * 32 + lane;
      #pragma unroll
      for (int i = 0; i < TILES * C; i++) out[i * 32] = load_shared_wide(sums + i * 512);
      if (tid == 0) pointer<int>(w, 10)[place] = unit.sums - SPREAD;
      clear();
      unit.sums = 4096;
      fresh = true;
    }
  }
}
