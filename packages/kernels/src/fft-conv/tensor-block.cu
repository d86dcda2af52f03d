// Convolution of f16 or bf16 sequences by transforms of N = 256 M points on the tensor cores: one read and one write of device memory. In front:
// what tensor-columns.cu needs and tensor-columns.cu.
//
// A team of M / 8 warps does one transform after the other, one of twice as many warps two real rows side by side (`#define SETS 1|2`), for which it reads
// matrices and spectra once. `#define TEAMS n`: teams of a block. With `SHARED` 1 they share a copy of the table
// in shared memory and take transforms of one channel at a time, whose spectrum they find in the first-level cache: the constants of a transform are
// several times its data, and the second-level cache cannot deliver them as often as they are needed.
//
// Behind a team's planes lie (`#define EARLY n`) n sixteenths of the next rows, which travel while these are transformed; the others follow when these
// have been written. Whole rows (APART) are transformed from there. A gate before lies in the imaginary plane, which real rows leave free, and
// travels from when that is done with. A thread reads only what it has copied itself before others may.

constexpr int WARPS = M / 8 * SETS, THREADS = 4 * M * SETS, BLOCKS = SHARED ? 1 : 512 / THREADS;
// Rows of an item; elements of a row that a thread has in fours.
constexpr int LINES = ROWS * SETS, EACH = 16 / SETS;
// Bytes of a team's planes and of the early rows behind them.
constexpr int LINE = PAIRED ? PLANE : 2 * PLANE, TEAM = 2 * PLANE * SETS + LINES * PLANE / EACH * EARLY;
constexpr bool APART = EARLY == EACH;

// What comes before the transform: rows of f16 are multiplied by their gate as they are and scaled when the columns are read; rows of bf16, and
// those whose products f16 cannot hold or not precisely, become f16 in float32.
constexpr bool SCALES = SCALED && !BRAIN;

// Words: u, pre, post, spectrum, scales of the spectra, y, table; strides (batch, channel) of u, pre, post, y; batch, length, rows (or pairs)
// that kernels of one warp take, adjoint, channels.
extern "C" __global__ void __launch_bounds__(THREADS * TEAMS, BLOCKS) convolve_block(const __grid_constant__ Words<20> w) {
  extern __shared__ __align__(128) u8 memory[];
  __shared__ u32 peaks[TEAMS][2][WARPS];
  const int lane = threadIdx.x & 31, all = __shfl_sync(~0u, threadIdx.x >> 5, 0), team = TEAMS > 1 ? all / WARPS : 0;
  const int warp = TEAMS > 1 ? all % WARPS : all, tid = warp * 32 + lane;
  const u32 plane = shared_address(memory) + team * TEAM;
  const int batch = integer(w, 15), length = integer(w, 16), channels = integer(w, 19);
  const u32 adjoint = integer(w, 18) ? SIGNS : 0;
  const Rows u = rows_of(w, 0, 7), pre = rows_of(w, 1, 9), post = rows_of(w, 2, 11), y = rows_of(w, 5, 13);
  const bool u_whole = aligned(u, length), pre_whole = PRE && aligned(pre, length), post_whole = POST && aligned(post, length), y_whole = aligned(y, length);
  auto together = [&] { if constexpr (TEAMS == 1) __syncthreads(); else if constexpr (WARPS == 1) __syncwarp(); else meet(1 + team, THREADS); };
  const Table table(pointer<const uint4>(w, 6), shared_address(memory) + TEAMS * TEAM);

  // Of the elements tid 4 + THREADS 4 i a thread itself copies, measures and writes.
  auto own = [&](int i) { return own_place(SETS * i + tid / (4 * M), tid % (4 * M)); };
  auto line = [&](int row) { return plane + row * LINE; };
  // Rows that came early, and what lies in front of the transform.
  const u32 early_plane = plane + 2 * PLANE * SETS;
  auto behind = [&](int row, int i) { return APART ? early_plane + row * PLANE + own(i) : early_plane + ((row * EARLY + i) * THREADS + tid) * 8; };
  auto front = [&](int row, int i) { return APART ? behind(row, i) : line(row) + own(i); };
  // A row's elements from the thread's first one on, and how many there are.
  struct Share { const u16* at; int count; };
  auto share_of = [&](const Rows& r, int b, int channel) { return Share{r.at + b * r.batch + channel * r.channel + 4 * tid, length - 4 * tid}; };

  // Transforms of a channel, and of all those that this block takes; a team's next one.
  const int groups = (batch + LINES - 1) / LINES;
  const u64 total = (u64)channels * groups;
  const u32 begin = (u32)(total * blockIdx.x / gridDim.x), end = (u32)(total * (blockIdx.x + 1) / gridDim.x);
  u32 unit = begin + team;
  int channel = unit / groups, item = unit % groups;
  auto copy_row = [&](const Rows& r, bool whole, int row, int first, int last, bool early, u32 to) {
    const int b = item * LINES + row;
    Share from = share_of(r, b < batch ? b : 0, channel);
    if (b >= batch) from.count = 0;
    if (whole)
      #pragma unroll
      for (int i = first; i < last; i++) copy_async(early ? behind(row, i) : own(i) + to, from.at + 4 * THREADS * i, 4 * THREADS * i < from.count);
    else
      #pragma unroll 1
      for (int i = first; i < last; i++) { const uint2 v = four_elements(from.at, 4 * THREADS * i, from.count, false); store_shared(early ? behind(row, i) : own(i) + to, v.x, v.y); }
  };
  auto fill_early = [&] {
    #pragma unroll
    for (int row = 0; row < LINES; row++) copy_row(u, u_whole, row, 0, EARLY, true, 0);
  };
  auto fill_gate = [&] { 
    if constexpr (PRE && !PAIRED)
      #pragma unroll
      for (int row = 0; row < LINES; row++) copy_row(pre, pre_whole, row, 0, EACH, false, line(row) + PLANE);
  };
  // A thread's share of a gate, all of it under way at once.
  auto read_gate = [&](const Rows& r, bool whole, int b, int channel, uint2 (&to)[EACH]) {
    Share from = share_of(r, min_(b, batch - 1), channel);
    if (!whole) from.count = 0;
    #pragma unroll
    for (int i = 0; i < EACH; i++) { to[i] = make_uint2(0, 0); if (4 * THREADS * i < from.count) to[i] = __ldcs((const uint2*)(from.at + 4 * THREADS * i)); }
  };
  // The largest of what the team's warps have.
  auto agree = [&](u32 peak, int row) {
    if constexpr (WARPS > 1) {
      if (lane == 0) peaks[team][row][warp] = peak;
      together();
      peak = __reduce_max_sync(~0u, peaks[team][row][lane % WARPS]);
    }
    return peak;
  };
  // A row in float32, whatever lies where.
  auto convert_slowly = [&](int row) {
    const int b = item * LINES + row;
    if (b >= batch) return 1.f;
    const Share from = share_of(u, b, channel), by = PRE ? share_of(pre, b, channel) : from;
    u32 peak = 0;
    #pragma unroll 1
    for (int i = 0; i < EACH; i++) peak = raise_single(peak, four_elements(from.at, 4 * THREADS * i, from.count, false), four_elements(by.at, 4 * THREADS * i, by.count, false));
    together();
    const float scale = scale_of_single(agree(__reduce_max_sync(~0u, peak), row), 1);
    #pragma unroll 1
    for (int i = 0; i < EACH; i++) {
      const uint2 x = converted(four_elements(from.at, 4 * THREADS * i, from.count, false), four_elements(by.at, 4 * THREADS * i, by.count, false), scale);
      store_shared(front(row, i), x.x, x.y);
    }
    return scale;
  };
  if (unit < end) {
    fill_early();
    fill_gate();
  }
  while (unit < end) {
    // Every thread writes over what only it has read.
    #pragma unroll
    for (int row = 0; row < LINES; row++) copy_row(u, u_whole, row, EARLY, EACH, false, line(row));
    const uint4* spectrum = pointer<const uint4>(w, 3) + (i64)channel * 16 * C * 32 + lane;
    const float gain = SCALED ? __ldg(pointer<const float>(w, 4) + channel) : 1.f;
    uint2 gate[LINES][EACH];
    if constexpr (PRE && PAIRED)
      #pragma unroll
      for (int row = 0; row < LINES; row++) read_gate(pre, pre_whole, item * LINES + row, channel, gate[row]);
    copies_done();
    float scale[LINES];
    Scales by[SETS] = {};
    if constexpr (SCALED || EARLY > 0) {
      if constexpr (PRE && !PAIRED)
        #pragma unroll
        for (int row = 0; row < LINES; row++)
          #pragma unroll
          for (int i = 0; i < EACH; i++) gate[row][i] = load_shared(line(row) + PLANE + own(i));
      u32 peak[LINES];
      #pragma unroll
      for (int row = 0; row < LINES; row++) {
        uint2 v[EACH];
        peak[row] = 0;
        #pragma unroll
        for (int i = 0; i < EACH; i++) {
          v[i] = load_shared(i < EARLY ? behind(row, i) : line(row) + own(i));
          if constexpr (BRAIN) {
            peak[row] = raise_single(peak[row], v[i], gate[row][i]);
          } else {
            if constexpr (PRE) { v[i].x = product(v[i].x, gate[row][i].x); v[i].y = product(v[i].y, gate[row][i].y); }
            if constexpr (SCALED) peak[row] = raise_half(peak[row], v[i]);
            if (PRE || i < EARLY && !APART) store_shared(front(row, i), v[i].x, v[i].y);
          }
        }
        if constexpr (BRAIN && SCALED) {
          if (PRE && PAIRED && !pre_whole) { scale[row] = convert_slowly(row); continue; }
          scale[row] = scale_of_single(agree(__reduce_max_sync(~0u, peak[row]), row), 1);
          #pragma unroll
          for (int i = 0; i < EACH; i++) { const uint2 x = converted(v[i], gate[row][i], scale[row]); store_shared(front(row, i), x.x, x.y); }
        } else if constexpr (SCALED) {
          peak[row] = half_peak(peak[row]);
          if (WARPS > 1 && lane == 0) peaks[team][row][warp] = peak[row];
        }
      }
      together();
      if constexpr (SCALES) {
        #pragma unroll
        for (int row = 0; row < LINES; row++) {
          if (WARPS > 1) peak[row] = __reduce_max_sync(~0u, peaks[team][row][lane % WARPS]);
          scale[row] = scale_of_half(peak[row]);
          by[row / ROWS].one[row % ROWS] = packed(scale[row], scale[row]);
        }
        if constexpr (PRE) {
          bool again = false;
          #pragma unroll
          for (int row = 0; row < LINES; row++)
            if (PAIRED && !pre_whole || peak[row] < LEAST_PEAK || peak[row] > MOST_PEAK) { scale[row] = convert_slowly(row); by[row / ROWS].one[row % ROWS] = 0x3c003c00u; again = true; }
          if (again) together();
        }
      }
    } else {
      together();
    }
    // What comes after this transform.
    const u32 next = unit + TEAMS;
    const int now_item = item, now_channel = channel;
    item += TEAMS;
    while (item >= groups) { item -= groups; channel++; }
    if (!APART && next < end) fill_early();

    Twiddles twiddles = load_twiddles(table, false, lane);
    u32 planes[SETS], fronts[SETS];
    #pragma unroll
    for (int set = 0; set < SETS; set++) { planes[set] = plane + 2 * PLANE * set; fronts[set] = APART ? early_plane + ROWS * PLANE * set : planes[set]; }
    #pragma unroll 1
    for (int part = 0; part < 2 / SETS; part++) columns_forward<SCALES>(table, twiddles, fronts, planes, warp + WARPS * part, lane, by);

    // Of few classes the matrices stay in registers, and coefficients are read a tile ahead.
    constexpr bool FEW = C <= 4;
    constexpr int KEPT = FEW ? C : 1;
    const uint4* k = spectrum + warp * (16 / WARPS) * C * 32;
    uint4 f[KEPT];
    Class classes[KEPT];
    if constexpr (FEW) {
      #pragma unroll
      for (int c = 0; c < C; c++) { f[c] = __ldg(k + c * 32); classes[c] = load_class(table, c, lane); }
    }
    together();
    if (APART && next < end) fill_early();

    #pragma unroll 1
    for (int tile = 0; tile < 16 / WARPS; tile++) {
      #pragma unroll
      for (int set = 0; set < SETS; set++) {
        const u32 here = tile_of(planes[set], warp * (16 / WARPS) + tile, lane);
        half2 xr[C][2], xi[C][2], yr[C][2], yi[C][2];
        load_tile(xr, xi, here);
        #pragma unroll
        for (int c = 0; c < C; c++) {
          const int s = place<C>(c);
          const uint4 by = FEW ? f[c % KEPT] : __ldg(k + c * 32);
          if constexpr (FEW) if (set == SETS - 1 && tile + 1 < 16 / WARPS) f[c % KEPT] = __ldg(k + (C + c) * 32);
          const Class m = FEW ? classes[c % KEPT] : load_class(table, c, lane);
          half2 a[2], b[2];
          apply(a, b, xr[s][0], xr[s][1], xi[s][0], xi[s][1], m.there);
          times(a[0], b[0], by.x, by.y ^ adjoint);
          times(a[1], b[1], by.z, by.w ^ adjoint);
          apply(yr[c], yi[c], a[0], a[1], b[0], b[1], m.back);
        }
        store_tile(yr, yi, here);
      }
      k += C * 32;
    }
    twiddles = load_twiddles(table, true, lane);
    together();

    #pragma unroll 1
    for (int part = 0; part < 2 / SETS; part++) columns_inverse(table, twiddles, planes, warp + WARPS * part, lane);
    // Gates travel while other warps finish.
    uint2 post_gate[POST ? LINES : 1][EACH];
    if constexpr (POST)
      #pragma unroll
      for (int row = 0; row < LINES; row++) read_gate(post, post_whole, now_item * LINES + row, now_channel, post_gate[row]);
    together();
    if (next < end) fill_gate();

    #pragma unroll
    for (int row = 0; row < LINES; row++) {
      const int b = now_item * LINES + row;
      if (b >= batch) break;
      const Share out = share_of(y, b, now_channel);
      u16* to = (u16*)out.at;
      kept_as_it_is(to);
      const float by = SCALED ? gain / scale[row] : 1.f;
      Finish finish = POST ? finish_of(by, post_gate[POST ? row : 0]) : finish_of(by);
      if (POST && !post_whole) finish.fast = false;
      if (y_whole && finish.fast)
        #pragma unroll
        for (int i = 0; i < EACH; i++) {
          uint2 v = load_shared(line(row) + own(i));
          if constexpr (SCALED) v = finished(v, post_gate[POST ? row : 0][i], finish);
          if (4 * THREADS * i < out.count) __stcs((uint2*)(to + 4 * THREADS * i), v);
        }
      else {
        const Share g = POST ? share_of(post, b, now_channel) : out;
        #pragma unroll 1
        for (int i = 0; i < EACH; i++) {
          uint2 v = load_shared(line(row) + own(i));
          if constexpr (SCALED) v = finished_single(v, four_elements(g.at, 4 * THREADS * i, POST ? g.count : 0, false), by);
          store_elements(to, 4 * THREADS * i, out.count, false, v);
        }
      }
    }
    unit = next;
  }
}
