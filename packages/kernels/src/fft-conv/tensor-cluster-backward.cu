// Backward pass of the convolution by transforms that a cluster of blocks holds in shared memory: one read of u and dy, one write of du, and the sums
// of conj(U) D over some rows of the batch, which filter-gradient.cu and filter-columns.cu make taps of.
//
// In front: what tensor-spread.cu needs with SIDES 2, tensor-spread.cu, `#define JOINED 0`, tensor-products.cu; flags as in tensor-backward.cu, whose
// order of planes and sums this has: those of u, those of dy, the sums.
//
// From the products on the planes of u are free, unless something comes back in them: a block's part of the next rows of dy travels there, and is gone
// before u comes. u itself waits in registers until the peaks of both are known.

constexpr int WARPS = M / 4, THREADS = 8 * M, BLOCKS = 512 / THREADS, TILES = 16 / WARPS;

// Whether u is scaled down by 2^SPREAD only for the products: what comes back of it would lose bits, and so would gated rows, whose peaks stand out.
constexpr bool LATE = U_GATED || DPOST;
constexpr half2 LOWER = (u32)(15 - SPREAD) * 0x04000400u;
static_assert(SPREAD < 15, "2^-SPREAD is a normal number");

// Sequences that travel: rows of dy, or one and its gate; and how many copies they make.
constexpr int LINES = SEQUENCES == 2 || DY_GATED ? 2 : 1, COPIES = S * LINES;
static_assert(WARPS == S || WARPS == 2 * S, "every warp makes a copy or two");

// A tile of both: conj(U) D is added to the sums at `sums`, then either goes on times the filter's spectrum, if it has to come back.
template <bool DY_BACK, bool U_BACK> __device__ __forceinline__ void product_tile(u32 plane, u32 dy_plane, int k2, u32 sums, const uint4* table, const uint4* spectrum, u64 policy, u32 back, half2 weight, int lane) {
  const Tile u_tile = tile_of(plane, k2, lane), dy_tile = tile_of(dy_plane, k2, lane);
  half2 zr[C][2], zi[C][2], xr[C][2], xi[C][2], yr[C][2], yi[C][2], vr[C][2], vi[C][2];
  const uint4* k = spectrum + k2 * C * 32;
  uint4 f = {}, next = {};
  if constexpr (DY_BACK || U_BACK) next = load_once(k, policy);
  Matrix there = matrix(table + CLASSES + lane);
  load_tile(zr, zi, u_tile, lane);
  load_tile(xr, xi, dy_tile, lane);
  #pragma unroll
  for (int c = 0; c < C; c++) {
    const int s = place<C>(c);
    half2 p[2], q[2], a[2], b[2];
    apply(p, q, zr[s][0], zr[s][1], zi[s][0], zi[s][1], there);
    apply(a, b, xr[s][0], xr[s][1], xi[s][0], xi[s][1], there);
    // What follows stores cannot be loaded beside them.
    if (c + 1 < C) there = matrix(table + CLASSES + 32 * (c + 1) + lane);
    Matrix m;
    if constexpr (DY_BACK || U_BACK) {
      f = next;
      m = matrix(table + CLASSES + 32 * (C + c) + lane);
      if (c + 1 < C) next = load_once(k + (c + 1) * 32, policy);
    }
    const u32 at = sums + c * 512;
    uint4 sum = load_shared_wide(at);
    if constexpr (LATE) {
      add_product(sum.x, sum.y, product(p[0], LOWER), product(q[0], LOWER), a[0], b[0], weight);
      add_product(sum.z, sum.w, product(p[1], LOWER), product(q[1], LOWER), a[1], b[1], weight);
    } else {
      add_product(sum.x, sum.y, p[0], q[0], a[0], b[0], weight);
      add_product(sum.z, sum.w, p[1], q[1], a[1], b[1], weight);
    }
    store_shared_wide(at, sum);
    if constexpr (DY_BACK) {
      times(a[0], b[0], f.x, f.y ^ back);
      times(a[1], b[1], f.z, f.w ^ back);
      apply(yr[c], yi[c], a[0], a[1], b[0], b[1], m);
    }
    if constexpr (U_BACK) {
      times(p[0], q[0], f.x, f.y ^ back ^ SIGNS);
      times(p[1], q[1], f.z, f.w ^ back ^ SIGNS);
      apply(vr[c], vi[c], p[0], p[1], q[0], q[1], m);
    }
  }
  if constexpr (DY_BACK) store_tile(yr, yi, dy_tile, lane);
  if constexpr (U_BACK) store_tile(vr, vi, u_tile, lane);
}

// Words: u, pre, dy, post, spectrum, scales of the spectra, du, dpre, dpost, sums, exponents of their units, table; strides (batch, channel) of
// u, pre, dy, post, and of all results; batch, length, items a cluster takes, adjoint.
extern "C" __global__ void __cluster_dims__(S, 1, 1) __launch_bounds__(THREADS, BLOCKS) backward_cluster(const __grid_constant__ Words<26> w) {
  extern __shared__ __align__(128) u8 memory[];
  const Share at(blockIdx.x % S);
  const int lane = at.tid & 31, warp = at.tid >> 5;
  const u32 plane = shared_address(memory), dy_plane = plane + 2 * PLANE, all_sums = plane + 4 * PLANE;
  const Notes notes(plane + 6 * PLANE, WARPS);
  make_barriers(notes, COPIES);
  // Before a block writes into the others' memory they must have begun.
  cluster_barrier();
  const u32 sums = all_sums + (warp * TILES * C * 32 + lane) * 16;
  const int batch = integer(w, 22), length = integer(w, 23), items = integer(w, 24);
  // du goes the other way than y.
  const u32 back = integer(w, 25) ? 0 : SIGNS;
  const int groups = (batch + SEQUENCES - 1) / SEQUENCES, parts = (groups + items - 1) / items, job = blockIdx.x / S;
  const int channel = job / parts, begin = job % parts * items, end = min_(begin + items, groups);
  const Rows u = rows_of(w, 0, 12), pre = rows_of(w, 1, 14), dy = rows_of(w, 2, 16), post = rows_of(w, 3, 18), du = rows_of(w, 6, 20);
  const bool u_whole = aligned(u, length), dy_whole = aligned(dy, length), du_whole = aligned(du, length);
  const bool pre_whole = U_GATED && aligned(pre, length), post_whole = DY_GATED && aligned(post, length);
  const uint4* table = pointer<const uint4>(w, 11);
  const uint4* twiddles = table + CLASSES + 64 * C;
  const uint4* spectrum = pointer<const uint4>(w, 4) + ((i64)channel * S + at.rank) * 16 * C * 32 + lane;
  const float gain = DU || DPRE || DPOST ? pointer<const float>(w, 5)[channel] : 1.f;

  auto row_of = [&](const Rows& r, int b) { return r.at + (b < batch ? b : 0) * r.batch + channel * r.channel; };
  // Of a row that is not there nothing is read.
  auto load = [&](uint2 (&to)[S], const Rows& r, bool whole, int item, int row, int q, bool again) {
    const int b = item * SEQUENCES + row;
    load_quad(to, row_of(r, b), at, q, b < batch ? length : 0, whole, again);
  };
  auto bring_row = [&](const Rows& r, int item, int row) {
    const int b = item * SEQUENCES + row;
    if (b < batch) bring_columns(row_of(r, b), at, length);
  };
  // Rows of dy, and the gate of one, on their way into the planes of u; where a thread finds what it has asked for.
  const bool travels = !DPOST && copied_whole(dy, length) && (!DY_GATED || copied_whole(post, length));
  auto waiting = [&](int line, int q, int p) { return plane + (line * S + p) * (2 * N / S) + 2 * (at.column(q) - at.rank * (N / S)); };
  auto send = [&](const Rows& r, int item, int row, int line) {
    const int b = item * SEQUENCES + row;
    const int p = at.tid / 32 % S, left = length - at.rank * (N / S) - p * N, count = b >= batch || left < 0 ? 0 : left < N / S ? left : N / S;
    expect_bytes(notes.barrier(ROWS_HERE), 2 * count);
    if (count) copy_bulk(plane + (line * S + p) * (2 * N / S), row_of(r, b) + at.rank * (N / S) + p * N, 2 * count, notes.barrier(ROWS_HERE), leaving_first());
  };
  // A thread of every warp does its part.
  auto send_dy = [&](int item) {
    if (lane != 0) return;
    before_copies();
    #pragma unroll
    for (int line = 0; line < LINES; line++)
      if (WARPS == S || warp / S == line) send(DY_GATED && line ? post : dy, item, DY_GATED ? 0 : line, line);
  };
  auto take_dy = [&](bool travelled, uint2 (&v)[SEQUENCES][S], uint2 (&gate)[SEQUENCES][S], int item, int q, bool again) {
    #pragma unroll
    for (int row = 0; row < SEQUENCES; row++) {
      if (travelled) {
        #pragma unroll
        for (int p = 0; p < S; p++) {
          v[row][p] = gate[row][p] = make_uint2(0, 0);
          if (item * SEQUENCES + row < batch && at.column(q) + p * N < length) {
            v[row][p] = load_shared(waiting(row, q, p));
            if constexpr (DY_GATED) gate[row][p] = load_shared(waiting(1, q, p));
          }
        }
      } else {
        load(v[row], dy, dy_whole, item, row, q, again);
        if constexpr (DY_GATED) load(gate[row], post, post_whole, item, row, q, again);
      }
    }
  };

  #pragma unroll
  for (int i = 0; i < TILES * C; i++) store_shared_wide(sums + i * 512, make_uint4(0, 0, 0, 0));
  if constexpr (DU || DPRE || DPOST) bring(spectrum - lane + 8 * at.tid);
  Unit unit;
  unit.sums = 4096;
  if (travels) send_dy(begin);
  for (int item = begin; item < end; item++) {
    const u32 parity = item - begin & 1;
    if (at.tid == 0)
      #pragma unroll
      for (int i = 0; i < 2; i++) { expect_bytes(notes.barrier(PEAKS + i), PEAK_BYTES); expect_bytes(notes.barrier(FULL + i), PLANE_BYTES); }
    float dy_by[ROWS], u_by[ROWS];
    u32 peak[2] = {};
    auto measure_dy = [&](bool travelled) {
      #pragma unroll
      for (int q = 0; q < QUADS; q++) {
        uint2 v[SEQUENCES][S], gate[SEQUENCES][S];
        take_dy(travelled, v, gate, item, q, true);
        #pragma unroll
        for (int row = 0; row < SEQUENCES; row++)
          #pragma unroll
          for (int p = 0; p < S; p++) peak[row] = raise(peak[row], v[row][p], DY_GATED ? gate[row][p] : make_uint2(ONES, ONES));
      }
    };
    if (travels) { wait_phase(notes.barrier(ROWS_HERE), parity); measure_dy(true); } else measure_dy(false);
    // All blocks have read what they need of the planes of dy when they come here.
    cluster_peaks<!CONVERTED>(peak, notes, 0, parity, WARPS, at);
    #pragma unroll
    for (int row = 0; row < ROWS; row++) dy_by[row] = scale_of(peak[row < SEQUENCES ? row : 0]);
    #pragma unroll
    for (int q = 0; q < QUADS; q++) {
      uint2 v[SEQUENCES][S], gate[SEQUENCES][S];
      if (travels) take_dy(true, v, gate, item, q, false); else take_dy(false, v, gate, item, q, false);
      spread_quad<DY_GATED>(v, gate, dy_by, dy_plane, notes.barrier(FULL), at, q);
    }

    uint2 kept[QUADS][SEQUENCES][S], gate[QUADS][SEQUENCES][S];
    auto load_u = [&](bool whole) {
      #pragma unroll
      for (int q = 0; q < QUADS; q++)
        #pragma unroll
        for (int row = 0; row < SEQUENCES; row++) {
          load(kept[q][row], u, whole, item, row, q, DPRE);
          if constexpr (U_GATED) load(gate[q][row], pre, whole, item, row, q, true);
        }
    };
    if (u_whole && (!U_GATED || pre_whole)) load_u(true); else load_u(false);
    peak[0] = peak[1] = 0;
    #pragma unroll
    for (int q = 0; q < QUADS; q++)
      #pragma unroll
      for (int row = 0; row < SEQUENCES; row++)
        #pragma unroll
        for (int p = 0; p < S; p++) peak[row] = raise(peak[row], kept[q][row][p], U_GATED ? gate[q][row][p] : make_uint2(ONES, ONES));
    // And have taken dy out of those of u when they come here.
    cluster_peaks<!CONVERTED>(peak, notes, 1, parity, WARPS, at);
    {
      const float a[ROWS] = {scale_of(peak[0]), scale_of(peak[SEQUENCES - 1])};
      next_rows(unit, a, dy_by, 0);
    }
    #pragma unroll
    for (int row = 0; row < ROWS; row++) u_by[row] = power(unit.u[row] + unit.lower[row] - (LATE ? 0 : SPREAD));
    #pragma unroll
    for (int q = 0; q < QUADS; q++) spread_quad<U_GATED>(kept[q], gate[q], u_by, plane, notes.barrier(FULL + 1), at, q);

    Transform256<true> transform;
    transform.load(table, lane);
    wait_phase(notes.barrier(FULL), parity);
    columns_forward<0>(transform, table, twiddles, dy_plane, warp, lane, Scales());
    wait_phase(notes.barrier(FULL + 1), parity);
    columns_forward<0>(transform, table, twiddles, plane, warp, lane, Scales());
    __syncthreads();
    if (item > begin && unit.down != 1.f)
      for (int i = 0; i < TILES * C; i++) scale_sums(sums + i * 512, unit.down);
    const u64 policy = item + 1 < end ? leaving_last() : leaving_first();
    #pragma unroll 1
    for (int tile = 0; tile < TILES; tile++) product_tile<DU || DPRE, DPOST>(plane, dy_plane, warp * TILES + tile, sums + tile * C * 512, table, spectrum, policy, back, unit.weight, lane);
    __syncthreads();
    if (item + 1 < end) {
      if (travels) send_dy(item + 1);
      #pragma unroll
      for (int row = 0; row < SEQUENCES; row++) {
        bring_row(u, item + 1, row);
        if constexpr (U_GATED) bring_row(pre, item + 1, row);
      }
    }
    if constexpr (DU || DPRE || DPOST) {
      transform.load(table, lane);
      if constexpr (DU || DPRE) columns_inverse(transform, table, twiddles, dy_plane, warp, lane);
      if constexpr (DPOST) columns_inverse(transform, table, twiddles, plane, warp, lane);
      wait_for_results(notes, parity, at);

      // Writes what came of the planes at `from`, times a gate where that is in `one` (and `two`), the numbers of the words of the results.
      auto results = [&](u32 from, const float (&factor)[SEQUENCES], int one, bool one_gated, const Rows& one_gate, bool one_whole, int two, const Rows& two_gate, bool two_whole) {
        #pragma unroll 1
        for (int q = 0; q < QUADS; q++) {
          uint2 by[SEQUENCES][S], other[SEQUENCES][S], out[SEQUENCES][S], second_out[SEQUENCES][S];
          #pragma unroll
          for (int row = 0; row < SEQUENCES; row++) {
            if (one && one_gated) load(by[row], one_gate, one_whole, item, row, q, false);
            if (two) load(other[row], two_gate, two_whole, item, row, q, false);
          }
          gather_quad(from, at, q, [&](int row, int p, int h, float a, float b) {
            a *= factor[row]; b *= factor[row];
            if (one) {
              const u32 g = one_gated ? half_of(by[row][p], h) : ONES;
              (h ? out[row][p].y : out[row][p].x) = stored(a * first(g), b * second(g));
            }
            if (two) {
              const u32 g = half_of(other[row][p], h);
              (h ? second_out[row][p].y : second_out[row][p].x) = stored(a * first(g), b * second(g));
            }
          });
          auto write = [&](int result, const uint2 (&v)[SEQUENCES][S]) {
            store_quad(v, {pointer<const u16>(w, result), du.batch, du.channel}, item, batch, channel, at, q, length, du_whole);
          };
          if (one) write(one, out);
          if (two) write(two, second_out);
        }
      };
      float factor[SEQUENCES];
      if constexpr (DU || DPRE) {
        #pragma unroll
        for (int row = 0; row < SEQUENCES; row++) factor[row] = gain * power(-unit.dy[row]);
        results(dy_plane, factor, DU ? 6 : 0, U_GATED, pre, pre_whole, DPRE ? 7 : 0, u, u_whole);
      }
      if constexpr (DPOST) {
        #pragma unroll
        for (int row = 0; row < SEQUENCES; row++) factor[row] = gain * power((LATE ? 0 : SPREAD) - unit.u[row] - unit.lower[row]);
        results(plane, factor, 8, true, dy, dy_whole, 0, dy, false);
      }
    }
  }
  const i64 line = ((i64)channel * S + at.rank) * parts + job % parts;
  uint4* out = pointer<uint4>(w, 9) + (line * WARPS + warp) * TILES * C * 32 + lane;
  #pragma unroll
  for (int i = 0; i < TILES * C; i++) out[i * 32] = load_shared_wide(sums + i * 512);
  if (at.tid == 0) pointer<int>(w, 10)[line] = unit.sums - SPREAD;
  // The others may still read here.
  cluster_barrier();
}
