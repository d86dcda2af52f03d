// Backward pass of the convolution by transforms that a cluster of blocks holds in shared memory: one read of u and dy, one write of du, and the sums
// of conj(U) D over some rows of the batch, which filter-gradient.cu and filter-columns.cu make taps of.
//
// In front: what tensor-spread.cu needs with SIDES 2, tensor-spread.cu, `#define JOINED 0`, tensor-products.cu; flags as in tensor-backward.cu, whose
// order of planes and sums this has: those of u, those of dy, the sums.

constexpr int WARPS = M / 4, THREADS = 8 * M, BLOCKS = 512 / THREADS, TILES = 16 / WARPS;

// Whether u is scaled down by 2^SPREAD only for the products: what comes back of it would lose bits, and so would gated rows, whose peaks stand out.
constexpr bool LATE = U_GATED || DPOST;
constexpr half2 LOWER = (u32)(15 - SPREAD) * 0x04000400u;
static_assert(SPREAD < 15, "2^-SPREAD is a normal number");

// A tile of both: conj(U) D is added to the sums at `sums`, then either goes on times the filter's spectrum, if it has to come back.
template <bool DY_BACK, bool U_BACK> __device__ __forceinline__ void product_tile(u32 plane, u32 dy_plane, int k2, u32 sums, const uint4* table, const uint4* spectrum, u32 back, half2 weight, int lane) {
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
    if constexpr (DY_BACK || U_BACK) {
      const uint4 f = load_passing(spectrum + (k2 * C + c) * 32);
      const Matrix m = matrix(table + CLASSES + 32 * (C + c) + lane);
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
  }
  if constexpr (DY_BACK) store_tile(yr, yi, dy_tile, lane);
  if constexpr (U_BACK) store_tile(vr, vi, u_tile, lane);
}

// Words: u, pre, dy, post, spectrum, scales of the spectra, du, dpre, dpost, sums, exponents of their units, table; strides (batch, channel) of
// u, pre, dy, post, and of all results; batch, length, items a cluster takes, adjoint.
extern "C" __global__ void __cluster_dims__(S, 1, 1) __launch_bounds__(THREADS, BLOCKS) backward_cluster(const __grid_constant__ Words<26> w) {
  extern __shared__ __align__(128) u8 memory[];
  const Share at(blockIdx.x % S);
  cluster_arrive();
  const int lane = at.tid & 31, warp = at.tid >> 5;
  const u32 plane = shared_address(memory), dy_plane = plane + 2 * PLANE, all_sums = plane + 4 * PLANE, notes = plane + 6 * PLANE;
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
  auto bring_item = [&](int item) {
    #pragma unroll
    for (int row = 0; row < SEQUENCES; row++) {
      const int b = item * SEQUENCES + row;
      if (b >= batch) break;
      bring_columns(row_of(u, b), at, length);
      bring_columns(row_of(dy, b), at, length);
      if constexpr (U_GATED) bring_columns(row_of(pre, b), at, length);
      if constexpr (DY_GATED) bring_columns(row_of(post, b), at, length);
    }
  };
  // The peaks that a thread finds of an item's sequences.
  auto peaks_of = [&](const Rows& r, bool whole, bool gated, const Rows& by, bool by_whole, int item, u32& one, u32& two) {
    #pragma unroll
    for (int q = 0; q < QUADS; q++)
      #pragma unroll
      for (int row = 0; row < SEQUENCES; row++) {
        uint2 v[S], gate[S];
        load(v, r, whole, item, row, q, true);
        if (gated) load(gate, by, by_whole, item, row, q, true);
        #pragma unroll
        for (int p = 0; p < S; p++) { u32& peak = row ? two : one; peak = raise(peak, v[p], gated ? gate[p] : make_uint2(ONES, ONES)); }
      }
  };
  auto spread_rows = [&](const Rows& r, bool whole, bool gated, const Rows& by, bool by_whole, int item, const float (&scale)[SEQUENCES], u32 to) {
    #pragma unroll
    for (int q = 0; q < QUADS; q++) {
      uint2 v[SEQUENCES][S], gate[SEQUENCES][S];
      #pragma unroll
      for (int row = 0; row < SEQUENCES; row++) {
        load(v[row], r, whole, item, row, q, LATE);
        if (gated) load(gate[row], by, by_whole, item, row, q, LATE);
      }
      if (gated) spread_quad<true>(v, gate, scale, to, at, q); else spread_quad<false>(v, gate, scale, to, at, q);
    }
  };

  #pragma unroll
  for (int i = 0; i < TILES * C; i++) store_shared_wide(sums + i * 512, make_uint4(0, 0, 0, 0));
  if constexpr (DU || DPRE || DPOST) bring(spectrum - lane + 8 * at.tid);
  Unit unit;
  unit.sums = 4096;
  // Before a block writes into the others' memory they must have begun.
  cluster_wait();
  for (int item = begin; item < end; item++) {
    u32 peak[4] = {};
    peaks_of(u, u_whole, U_GATED, pre, pre_whole, item, peak[0], peak[1]);
    peaks_of(dy, dy_whole, DY_GATED, post, post_whole, item, peak[2], peak[3]);
    // All blocks have read what they need of the planes when they come here.
    cluster_peaks(peak, notes, WARPS, at);
    {
      const float a[ROWS] = {scale_of(peak[0]), scale_of(peak[SEQUENCES - 1])}, b[ROWS] = {scale_of(peak[2]), scale_of(peak[SEQUENCES + 1])};
      next_rows(unit, a, b, 0);
    }
    float u_by[SEQUENCES], dy_by[SEQUENCES];
    #pragma unroll
    for (int row = 0; row < SEQUENCES; row++) {
      u_by[row] = power(unit.u[row] + unit.lower[row] - (LATE ? 0 : SPREAD));
      dy_by[row] = power(unit.dy[row]);
    }
    spread_rows(u, u_whole, U_GATED, pre, pre_whole, item, u_by, plane);
    spread_rows(dy, dy_whole, DY_GATED, post, post_whole, item, dy_by, dy_plane);
    cluster_barrier();
    if (item + 1 < end) bring_item(item + 1);

    Transform256<true> transform;
    transform.load(table, lane);
    columns_forward<0>(transform, table, twiddles, plane, warp, lane, Scales());
    columns_forward<0>(transform, table, twiddles, dy_plane, warp, lane, Scales());
    __syncthreads();
    if (item > begin && unit.down != 1.f)
      for (int i = 0; i < TILES * C; i++) scale_sums(sums + i * 512, unit.down);
    #pragma unroll 1
    for (int tile = 0; tile < TILES; tile++) product_tile<DU || DPRE, DPOST>(plane, dy_plane, warp * TILES + tile, sums + tile * C * 512, table, spectrum, back, unit.weight, lane);
    __syncthreads();
    if constexpr (DU || DPRE || DPOST) {
      transform.load(table, lane);
      if constexpr (DU || DPRE) columns_inverse(transform, table, twiddles, dy_plane, warp, lane);
      if constexpr (DPOST) columns_inverse(transform, table, twiddles, plane, warp, lane);
      cluster_barrier();

      // Writes what came of the planes at `from`, times up to two gates.
      auto results = [&](u32 from, const float (&factor)[SEQUENCES], int one, bool one_gated, const Rows& one_gate, bool one_whole, int two, bool two_gated, const Rows& two_gate, bool two_whole) {
        #pragma unroll 1
        for (int q = 0; q < QUADS; q++) {
          Gathered z;
          gather_quad(z, from, at, q);
          auto write = [&](int result, bool gated, const Rows& gate, bool whole) {
            #pragma unroll
            for (int row = 0; row < SEQUENCES; row++) {
              const int b = item * SEQUENCES + row;
              if (b >= batch) break;
              uint2 g[S];
              if (gated) load(g, gate, whole, item, row, q, false);
              u16* out = pointer<u16>(w, result) + b * du.batch + channel * du.channel;
              #pragma unroll
              for (int p = 0; p < S; p++) {
                const uint2 v = of_sequence(z, row, p, factor[row], gated ? g[p] : make_uint2(ONES, ONES));
                store_elements(out, at.column(q) + p * N, length, du_whole, v);
              }
            }
          };
          if (one) write(one, one_gated, one_gate, one_whole);
          if (two) write(two, two_gated, two_gate, two_whole);
        }
      };
      float factor[SEQUENCES];
      if constexpr (DU || DPRE) {
        #pragma unroll
        for (int row = 0; row < SEQUENCES; row++) factor[row] = gain * power(-unit.dy[row]);
        results(dy_plane, factor, DU ? 6 : 0, U_GATED, pre, pre_whole, DPRE ? 7 : 0, true, u, u_whole);
      }
      if constexpr (DPOST) {
        #pragma unroll
        for (int row = 0; row < SEQUENCES; row++) factor[row] = gain * power((LATE ? 0 : SPREAD) - unit.u[row] - unit.lower[row]);
        results(plane, factor, 8, true, dy, dy_whole, 0, false, dy, false);
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
