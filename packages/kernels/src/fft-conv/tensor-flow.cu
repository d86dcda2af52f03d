// Convolutions whose transform spans many blocks, in one launch whose intermediate results stay in the second-level cache. In front:
// butterflies.cu, tensor-instructions.cu, tensor-256.cu, tensor-sequences.cu, what tensor-teams.cu needs with PAIRED 1, tensor-teams.cu, what
// tensor-long.cu needs, tensor-long.cu, tickets.cu.
//
// A transform goes through four stages: peaks of its sequences, columns, rows, columns back (tensor-long.cu). Its rows lie in one of some slots, which
// transforms take in turn. Work comes in tickets, which blocks draw one after the other: in step s the peaks of transform s, the columns of transform
// s - ahead, before which those of the transform that leaves the slot go back, and the rows of transform s - ahead - lag. What a ticket waits for has
// lower tickets, so blocks may wait for it whatever number of them runs. A wait is rare where there are slots enough, for all tickets of a step lie in between.

constexpr int TEAM_THREADS = 4 * M, TEAM_WARPS = M / 8, TEAMS = WIDTH / TEAM_THREADS;
constexpr int PEAK_TICKETS = 32 * SEQUENCES, COLUMN_TICKETS = R / (COLUMNS * SIDE), ROW_TICKETS = S / TEAMS, TICKETS = PEAK_TICKETS + COLUMN_TICKETS + ROW_TICKETS;

// Convolves a row, its real parts at `re`, its imaginary ones `apart` further on, in place, by the team that meets at barrier `team`. Calls `midway` when half
// of the work is done.
template <typename F> __device__ __forceinline__ void convolve_row(u16* re, i64 apart, const uint4* spectrum, u32 adjoint, const Table& table, u32 plane, int team, int warp, int lane, F midway) {
  const int tid = warp * 32 + lane;
  auto own = [&](int i) { return plane + own_place(i, tid); };
  auto together = [&] { if constexpr (TEAM_WARPS == 1) __syncwarp(); else meet(team, TEAM_THREADS); };
  re += 4 * tid;
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    copy_async(own(i), re + 4 * TEAM_THREADS * i, true);
    copy_async(own(i) + PLANE, re + apart + 4 * TEAM_THREADS * i, true);
  }
  Twiddles twiddles = load_twiddles(table, false, lane);
  copies_done();
  together();
  const u32 planes[1] = {plane};
  const Scales by[1] = {};
  #pragma unroll 1
  for (int part = 0; part < 2; part++) columns_forward<0>(table, twiddles, planes, planes, warp + TEAM_WARPS * part, lane, by);
  // Of few classes the matrices stay in registers, and coefficients are read a tile ahead.
  constexpr bool FEW = C <= 4;
  constexpr int KEPT = FEW ? C : 1;
  const uint4* k = spectrum + warp * (16 / TEAM_WARPS) * C * 32 + lane;
  uint4 f[KEPT];
  Class classes[KEPT];
  if constexpr (FEW) {
    #pragma unroll
    for (int c = 0; c < C; c++) { f[c] = __ldg(k + c * 32); classes[c] = load_class(table, c, lane); }
  }
  together();
  #pragma unroll 1
  for (int tile = 0; tile < 16 / TEAM_WARPS; tile++) {
    const u32 here = tile_of(plane, warp * (16 / TEAM_WARPS) + tile, lane);
    half2 xr[C][2], xi[C][2], yr[C][2], yi[C][2];
    load_tile(xr, xi, here);
    #pragma unroll
    for (int c = 0; c < C; c++) {
      const int s = place<C>(c);
      const uint4 by = FEW ? f[c % KEPT] : __ldg(k + c * 32);
      if constexpr (FEW) if (tile + 1 < 16 / TEAM_WARPS) f[c % KEPT] = __ldg(k + (C + c) * 32);
      const Class m = FEW ? classes[c % KEPT] : load_class(table, c, lane);
      half2 a[2], b[2];
      apply(a, b, xr[s][0], xr[s][1], xi[s][0], xi[s][1], m.there);
      times(a[0], b[0], by.x, by.y ^ adjoint);
      times(a[1], b[1], by.z, by.w ^ adjoint);
      apply(yr[c], yi[c], a[0], a[1], b[0], b[1], m.back);
    }
    store_tile(yr, yi, here);
    k += C * 32;
  }
  twiddles = load_twiddles(table, true, lane);
  midway();
  together();
  #pragma unroll 1
  for (int part = 0; part < 2; part++) columns_inverse(table, twiddles, planes, warp + TEAM_WARPS * part, lane);
  together();
  #pragma unroll
  for (int i = 0; i < 16; i++) {
    *(uint2*)(re + 4 * TEAM_THREADS * i) = load_shared(own(i));
    *(uint2*)(re + apart + 4 * TEAM_THREADS * i) = load_shared(own(i) + PLANE);
  }
}

// Words: u, pre, post, spectrum, scales of the spectra, y, table, peaks, slots, counters (one, and three for each transform, all zero); strides
// (batch, channel) of u, pre, post, y; batch, length, channels, number of slots, lag (less than that), adjoint,
// steps that peaks, which bring sequences nearer, are ahead of columns.
#ifdef ONLY_convolve_flow
extern "C" __global__ void __launch_bounds__(WIDTH * CREWS, 1) convolve_flow(const __grid_constant__ Words<25> w) {
  extern __shared__ __align__(128) u8 memory[];
  __shared__ u32 notes[CREWS], late[CREWS], found[CREWS][WIDTH / 32];
  const Crew crew;
  const int lane = threadIdx.x & 31, all = __shfl_sync(~0u, crew.tid >> 5, 0), team = TEAMS > 1 ? all / TEAM_WARPS : 0, warp = all - team * TEAM_WARPS;
  const Rows u = rows_of(w, 0, 10), pre = rows_of(w, 1, 12), post = rows_of(w, 2, 14), y = rows_of(w, 5, 16);
  const int batch = integer(w, 18), length = integer(w, 19), channels = integer(w, 20), slots = integer(w, 21), lag = integer(w, 22), ahead = integer(w, 24);
  const u32 adjoint = integer(w, 23) ? SIGNS : 0;
  const int groups = (batch + SEQUENCES - 1) / SEQUENCES, transforms = channels * groups;
  u32* peaks = pointer<u32>(w, 7);
  u32* counters = pointer<u32>(w, 9);
  u32 *measured = counters + 1, *spread = measured + transforms, *convolved = spread + transforms;
  // The last transform's columns go back `slots` steps behind its own.
  const u32 end = (u32)(transforms + ahead + slots) * TICKETS;
  constexpr int COLUMN_BYTES = PARTS == 1 ? 0 : 16 * 16 * WIDTH, ROW_BYTES = 2 * PLANE * TEAMS, CREW_BYTES = COLUMN_BYTES > ROW_BYTES ? COLUMN_BYTES : ROW_BYTES;
  u8* own = memory + crew.which * CREW_BYTES;
  const Table table(pointer<const uint4>(w, 6), shared_address(memory) + CREWS * CREW_BYTES);
  const float4* roots = make_roots();
  auto is_there = [&](int t) { return (u32)t < (u32)transforms; };
  auto slot_at = [&](int t) { return pointer<u16>(w, 8) + (i64)(t % slots) * 2 * S * R; };
  auto lines = [&](const Rows& of, const Rows& gate, int t) { return Lines{of, gate, batch, length, (i64)(t % groups) * SEQUENCES, t / groups, channels}; };

  u32 next = crew.tid == 0 ? draw(counters) : 0;
  // Late, so that tickets are not held for long before they are worked at.
  auto draw_next = [&] { if (crew.tid == 0) next = draw(counters); };
  for (;;) {
    if (crew.tid == 0) {
      const int step = next / TICKETS, i = next % TICKETS;
      if (i >= PEAK_TICKETS && i < PEAK_TICKETS + COLUMN_TICKETS) {
        const int t = step - ahead;
        // Peaks may be missing still while columns go back.
        late[crew.which] = is_there(t) && counted(measured + t) < PEAK_TICKETS;
        if (is_there(t - slots)) wait_until(convolved + t - slots, ROW_TICKETS);
      } else if (i >= PEAK_TICKETS + COLUMN_TICKETS) {
        const int t = step - ahead - lag;
        if (is_there(t)) wait_until(spread + t, COLUMN_TICKETS);
      }
      notes[crew.which] = next;
    }
    crew.meet_all();
    const u32 ticket = notes[crew.which];
    if (ticket >= end) break;
    const int step = ticket / TICKETS, i = ticket % TICKETS;
    u32* done = nullptr;
    if (i < PEAK_TICKETS) {
      draw_next();
      if (is_there(step)) {
        const Lines from = lines(u, pre, step);
        const int r = i / 32, part = i % 32;
        if (from.b(r) < batch) {
          measure(u, pre, from.b(r), from.d, part, length, crew.tid, WIDTH, found[crew.which]);
          crew.meet_all();
          const u32 peak = __reduce_max_sync(~0u, found[crew.which][lane % (WIDTH / 32)]);
          if (crew.tid == 0) peaks[from.row(r) * 32 + part] = peak;
        }
        done = measured + step;
      }
    } else if (i < PEAK_TICKETS + COLUMN_TICKETS) {
      const int t = step - ahead;
      const Place at = place_of(crew, i - PEAK_TICKETS);
      u16* rows = slot_at(t + slots);
      if (is_there(t - slots)) {
        const Lines to = lines(y, post, t - slots);
        rows_to_columns(rows, S * R, to, peaks, __ldg(pointer<const float>(w, 4) + to.d), crew, at, roots, (float*)own);
      }
      draw_next();
      if (is_there(t)) {
        if (late[crew.which]) {
          if (crew.tid == 0) wait_until(measured + t, PEAK_TICKETS);
          crew.meet_all();
        }
        columns_to_rows(lines(u, pre, t), peaks, {}, rows, S * R, crew, at, roots, (float*)own);
        done = spread + t;
      }
    } else {
      const int t = step - ahead - lag;
      if (is_there(t)) {
        const int row = (i - PEAK_TICKETS - COLUMN_TICKETS) * TEAMS + team;
        const uint4* spectrum = pointer<const uint4>(w, 3) + ((i64)(t / groups) * S + row) * 16 * C * 32;
        // Barriers of teams come behind those of crews.
        const int barrier = TEAMS == 1 ? 1 + crew.which : 1 + CREWS + crew.which * TEAMS + team;
        convolve_row(slot_at(t) + (i64)row * R, S * R, spectrum, adjoint, table, shared_address(own) + team * 2 * PLANE, barrier, warp, lane, draw_next);
        done = convolved + t;
      } else {
        draw_next();
      }
    }
    crew.meet_all();
    // Not by the thread that waits.
    if (crew.tid == WIDTH - 32 && done) count(done);
  }
}
#endif
