// Backward pass of the convolution by transforms of N = 256 M points: one read of u and dy, one write of du, and per block the sum of
// conj(U) D over some rows of the batch, in the order of spectra (filter-gradient.cu makes taps of them).
//
// In front: what tensor-columns.cu needs and tensor-columns.cu, `#define JOINED 0|1` and tensor-products.cu; `#define U_GATED`, `DY_GATED` 0|1:
// whether u has a gate before, dy one after (not PAIRED then; PRE and POST say whether there is any); `#define DU`, `DPRE`, `DPOST` 0|1: which
// results are wanted: du, u times what du is without its gate, dy times the convolution of u (of JOINED rows that convolution alone).
//
// The planes of u lie in front, then those of dy, then the sums. A block of M / 4 warps takes one item (a row, or two that are PAIRED) after
// the other; the next rows travel while the last ones are worked on. A gate lies in the imaginary plane of its row, which real rows
// leave free.

constexpr int WARPS = M / 4, THREADS = 8 * M, BLOCKS = 512 / THREADS, TILES = 16 / WARPS;

// Words: u, pre, dy, post, spectrum, scales of the spectra, du, dpre, dpost, sums, exponents of their units, table; strides (batch, channel) of
// u, pre, dy, post, and of all results; batch, length, items a block takes, adjoint, residues, exponents of products (JOINED); parts of the
// batch in all, and how many come before those of this launch.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) backward_block(const __grid_constant__ Words<30> w) {
  extern __shared__ __align__(128) u8 memory[];
  __shared__ u32 peaks[2][2][WARPS];
  const int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5;
  const u32 plane = shared_address(memory), dy_plane = plane + 2 * PLANE, sums = plane + 4 * PLANE + (warp * TILES * C * 32 + lane) * 16;
  const int batch = integer(w, 22), length = integer(w, 23), items = integer(w, 24), residues = integer(w, 26);
  // du goes the other way than y.
  const u32 back = integer(w, 25) ? 0 : SIGNS;
  const int groups = (batch + ROWS - 1) / ROWS, parts = (groups + items - 1) / items;
  const int channel = blockIdx.x / parts, begin = blockIdx.x % parts * items, end = min_(begin + items, groups);
  const Rows u = rows_of(w, 0, 12), pre = rows_of(w, 1, 14), dy = rows_of(w, 2, 16), post = rows_of(w, 3, 18), du = rows_of(w, 6, 20);
  const bool u_whole = aligned(u, length), dy_whole = aligned(dy, length), du_whole = aligned(du, length);
  const bool pre_whole = U_GATED && aligned(pre, length), post_whole = DY_GATED && aligned(post, length);
  const uint4* table = pointer<const uint4>(w, 11);
  const uint4* twiddles = table + CLASSES + 64 * C;
  const uint4* spectrum = pointer<const uint4>(w, 4) + (i64)channel * 16 * C * 32 + lane;
  const float gain = (DU || DPRE || DPOST) && !JOINED ? pointer<const float>(w, 5)[channel] : 1.f;

  // Of the elements tid 4 + 32 M i a thread itself copies, measures and writes.
  const int own_row = tid / SLOTS, own_group = tid % SLOTS;
  auto own = [&](int i) { return (32 * i + own_row) * 2 * M + slot(own_group, turned(own_row, i & 1, i >> 1 & 1, i >> 2)); };
  auto offset_of = [&](const Rows& r, int b) { return b * r.batch + channel * r.channel; };
  auto copy_row = [&](const Rows& r, bool whole, int b, u32 to) {
    const u16* from = r.at + offset_of(r, b < batch ? b : 0);
    const int here = b < batch ? length : 0;
    if (whole && here == N)
      #pragma unroll
      for (int i = 0; i < 8; i++) copy_async(to + own(i), from + 32 * M * i + 4 * tid, true);
    else if (whole)
      #pragma unroll
      for (int i = 0; i < 8; i++) { const int n = 32 * M * i + 4 * tid; copy_async(to + own(i), from + (n < here ? n : 0), n < here); }
    else
      for (int i = 0; i < 8; i++) { const uint2 v = four_elements(from, 32 * M * i + 4 * tid, here, false); store_shared(to + own(i), v.x, v.y); }
  };
  auto fill_u = [&](int item) {
    #pragma unroll
    for (int row = 0; row < ROWS; row++) copy_row(u, u_whole, item * ROWS + row, plane + row * PLANE);
    if constexpr (U_GATED) copy_row(pre, pre_whole, item, plane + PLANE);
  };
  auto fill_dy = [&](int item) {
    #pragma unroll
    for (int row = 0; row < ROWS; row++) copy_row(dy, dy_whole, item * ROWS + row, dy_plane + row * PLANE);
    if constexpr (DY_GATED) copy_row(post, post_whole, item, dy_plane + PLANE);
  };
  // The peak of what a thread has of a row; what it has, converted.
  auto peak_of = [&](u32 from, bool gated) {
    u32 peak = 0;
    #pragma unroll
    for (int i = 0; i < 8; i++) peak = raise(peak, load_shared(from + own(i)), gated ? load_shared(from + PLANE + own(i)) : make_uint2(ONES, ONES));
    return warp_peak(peak);
  };
  auto convert = [&](u32 at, bool gated, float scale) {
    #pragma unroll
    for (int i = 0; i < 8; i++) {
      const uint2 v = converted(load_shared(at + own(i)), gated ? load_shared(at + PLANE + own(i)) : make_uint2(ONES, ONES), scale);
      store_shared(at + own(i), v.x, v.y);
    }
  };

  #pragma unroll
  for (int i = 0; i < TILES * C; i++) store_shared_wide(sums + i * 512, make_uint4(0, 0, 0, 0));
  Unit unit;
  unit.sums = 4096;
  fill_u(begin);
  fill_dy(begin);
  for (int item = begin; item < end; item++) {
    copies_done();
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      const u32 a = peak_of(plane + row * PLANE, U_GATED), b = peak_of(dy_plane + row * PLANE, DY_GATED);
      if (lane == 0) { peaks[0][row][warp] = a; peaks[1][row][warp] = b; }
    }
    __syncthreads();
    {
      float a[ROWS], b[ROWS];
      #pragma unroll
      for (int row = 0; row < ROWS; row++) {
        a[row] = scale_of(__reduce_max_sync(~0u, peaks[0][row][lane % WARPS]));
        b[row] = scale_of(__reduce_max_sync(~0u, peaks[1][row][lane % WARPS]));
      }
      next_rows(unit, a, b, JOINED ? pointer<const int>(w, 27)[(i64)item * (gridDim.x / parts / residues) + channel / residues] : 0);
    }
    Scales u_by, dy_by;
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      if constexpr (CONVERTED) {
        convert(plane + row * PLANE, U_GATED, power(unit.u[row] + unit.lower[row] - SPREAD));
        convert(dy_plane + row * PLANE, DY_GATED, power(unit.dy[row]));
      } else {
        const float a = power(unit.u[row] - (PAIRED ? 0 : SPREAD)), b = power(unit.dy[row]), c = power(unit.lower[row] - SPREAD);
        u_by.one[row] = packed(a, a); u_by.two[row] = packed(c, c); dy_by.one[row] = packed(b, b);
      }
    }
    if constexpr (CONVERTED) __syncthreads();
    Transform256<PAIRED> transform;
    transform.load(table, lane);
    columns_forward<CONVERTED ? 0 : PAIRED ? 2 : 1>(transform, table, twiddles, plane, warp, lane, u_by);
    columns_forward<CONVERTED ? 0 : 1>(transform, table, twiddles, dy_plane, warp, lane, dy_by);
    __syncthreads();

    if (item > begin && unit.down != 1.f)
      for (int i = 0; i < TILES * C; i++) scale_sums(sums + i * 512, unit.down);
    #pragma unroll 1
    for (int tile = 0; tile < TILES; tile++) {
      const int k2 = warp * TILES + tile;
      const Tile u_tile = tile_of(plane, k2, lane), dy_tile = tile_of(dy_plane, k2, lane);
      half2 zr[C][2], zi[C][2], xr[C][2], xi[C][2], yr[C][2], yi[C][2], vr[C][2], vi[C][2];
      load_tile(zr, zi, u_tile, lane);
      load_tile(xr, xi, dy_tile, lane);
      #pragma unroll
      for (int c = 0; c < C; c++) {
        const int s = place<C>(c);
        half2 p[2], q[2], a[2], b[2];
        {
          const Matrix m = matrix(table + CLASSES + 32 * c + lane);
          apply(p, q, zr[s][0], zr[s][1], zi[s][0], zi[s][1], m);
          apply(a, b, xr[s][0], xr[s][1], xi[s][0], xi[s][1], m);
        }
        const u32 at = sums + (tile * C + c) * 512;
        uint4 sum = load_shared_wide(at);
        add_product(sum.x, sum.y, p[0], q[0], a[0], b[0], unit.weight);
        add_product(sum.z, sum.w, p[1], q[1], a[1], b[1], unit.weight);
        store_shared_wide(at, sum);
        if constexpr (DU || DPRE || DPOST) {
          const uint4 f = load_passing(spectrum + (k2 * C + c) * 32);
          const Matrix m = matrix(table + CLASSES + 32 * (C + c) + lane);
          if constexpr (DU || DPRE) {
            times(a[0], b[0], f.x, f.y ^ back);
            times(a[1], b[1], f.z, f.w ^ back);
            apply(yr[c], yi[c], a[0], a[1], b[0], b[1], m);
          }
          if constexpr (DPOST) {
            times(p[0], q[0], f.x, f.y ^ back ^ SIGNS);
            times(p[1], q[1], f.z, f.w ^ back ^ SIGNS);
            apply(vr[c], vi[c], p[0], p[1], q[0], q[1], m);
          }
        }
      }
      if constexpr (DU || DPRE) store_tile(yr, yi, dy_tile, lane);
      if constexpr (DPOST) store_tile(vr, vi, u_tile, lane);
    }
    __syncthreads();

    const bool more = item + 1 < end;
    if (!DPOST && more) fill_u(item + 1);
    if constexpr (DU || DPRE || DPOST) {
      transform.load(table, lane);
      if constexpr (DU || DPRE) columns_inverse(transform, table, twiddles, dy_plane, warp, lane);
      if constexpr (DPOST) columns_inverse(transform, table, twiddles, plane, warp, lane);
      __syncthreads();
      #pragma unroll
      for (int row = 0; row < ROWS; row++) {
        const int b = item * ROWS + row;
        if (b >= batch) break;
        const i64 to = offset_of(du, b);
        auto results = [&](u32 from, float scale, const Rows& gate, bool gate_whole, int result) {
          u16* out = pointer<u16>(w, result) + to;
          const Factor factor = factor_of(scale);
          #pragma unroll
          for (int i = 0; i < 8; i++) {
            const int n = 32 * M * i + 4 * tid;
            uint2 v = load_shared(from + own(i)), g = {ONES, ONES};
            if constexpr (POST || PRE) if (gate.at) g = four_elements(gate.at + offset_of(gate, b), n, length, gate_whole);
            store_elements(out, n, length, du_whole, finished(v, g, factor));
          }
        };
        // A power of two each, together within range.
        const float dy_scale = gain * power(-unit.dy[row]);
        if constexpr (DU) results(dy_plane + row * PLANE, dy_scale, U_GATED ? pre : Rows{}, pre_whole, 6);
        if constexpr (DPRE) results(dy_plane, dy_scale, u, u_whole, 7);
        if constexpr (DPOST) results(plane + row * PLANE, gain * power(SPREAD - unit.u[row]), JOINED ? Rows{} : dy, dy_whole, 8);
      }
    }
    // Every thread writes over what only it has read.
    if (DPOST && more) fill_u(item + 1);
    if (more) fill_dy(item + 1);
  }
  const i64 job = (i64)channel * integer(w, 28) + integer(w, 29) + blockIdx.x % parts;
  uint4* out = pointer<uint4>(w, 9) + (job * WARPS + warp) * TILES * C * 32 + lane;
  #pragma unroll
  for (int i = 0; i < TILES * C; i++) out[i * 32] = load_shared_wide(sums + i * 512);
  if (tid == 0) pointer<int>(w, 10)[job] = unit.sums - SPREAD;
}
