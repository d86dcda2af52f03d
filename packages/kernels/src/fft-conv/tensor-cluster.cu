// Convolution of f16 or bf16 sequences by transforms that a cluster of blocks holds in shared memory: one read and one write of device memory. In
// front: what tensor-spread.cu needs and tensor-spread.cu.
//
// A cluster takes some rows of the batch (or pairs) one after the other. Rows of f16 are multiplied by their gate as they are; rows of bf16, and those
// whose products f16 cannot hold or not precisely, are read again and multiplied in float32.

constexpr int WARPS = M / 8, THREADS = 4 * M, BLOCKS = 512 / THREADS;
// How far ahead of the products a filter's coefficients are asked for, where gates do not need the registers.
constexpr int AHEAD = PRE || POST || C < 4 ? 1 : 4;

// Words: u, pre, post, spectrum, scales of the spectra, y, table; strides (batch, channel) of u, pre, post, y; batch, length, rows (or pairs)
// a cluster takes, adjoint.
extern "C" __global__ void __cluster_dims__(S, 1, 1) __launch_bounds__(THREADS, BLOCKS) convolve_cluster(const __grid_constant__ Words<19> w) {
  extern __shared__ __align__(128) u8 memory[];
  const Share at(blockIdx.x % S);
  const int lane = at.tid & 31, warp = at.tid >> 5;
  const u32 plane = shared_address(memory);
  const Notes notes(plane + 2 * PLANE, WARPS);
  make_barriers(notes, 1);
  // Before a block writes into the others' memory they must have begun.
  cluster_barrier();
  const int batch = integer(w, 15), length = integer(w, 16), items = integer(w, 17);
  const u32 adjoint = integer(w, 18) ? SIGNS : 0;
  const int groups = (batch + SEQUENCES - 1) / SEQUENCES, parts = (groups + items - 1) / items, job = blockIdx.x / S;
  const int channel = job / parts, begin = job % parts * items, end = min_(begin + items, groups);
  const Rows u = rows_of(w, 0, 7), pre = rows_of(w, 1, 9), post = rows_of(w, 2, 11), y = rows_of(w, 5, 13);
  const bool u_whole = aligned(u, length), pre_whole = PRE && aligned(pre, length), post_whole = POST && aligned(post, length), y_whole = aligned(y, length);
  const uint4* table = pointer<const uint4>(w, 6);
  const uint4* twiddles = table + CLASSES + 64 * C;
  const uint4* spectrum = pointer<const uint4>(w, 3) + ((i64)channel * S + at.rank) * 16 * C * 32 + lane;
  const float gain = pointer<const float>(w, 4)[channel];

  auto row_of = [&](const Rows& r, int b) { return r.at + (b < batch ? b : 0) * r.batch + channel * r.channel; };
  // Of a row that is not there nothing is read.
  auto load = [&](uint2 (&to)[S], const Rows& r, bool whole, int item, int row, int q, bool again = false) {
    const int b = item * SEQUENCES + row;
    load_quad(to, row_of(r, b), at, q, b < batch ? length : 0, whole, again);
  };

  bring(spectrum - lane + 8 * at.tid);
  bring(spectrum - lane + 8 * (at.tid + THREADS));
  u32 slow = 0;
  for (int item = begin; item < end; item++) {
    const u32 parity = item - begin & 1;
    if (at.tid == 0) { expect_bytes(notes.barrier(PEAKS), PEAK_BYTES); expect_bytes(notes.barrier(FULL), PLANE_BYTES); }
    u32 peak[2] = {};
    uint2 kept[QUADS][SEQUENCES][S];
    auto fill = [&](bool whole) {
      #pragma unroll
      for (int q = 0; q < QUADS; q++)
        #pragma unroll
        for (int row = 0; row < SEQUENCES; row++) {
          uint2 gate[S] = {};
          load(kept[q][row], u, whole, item, row, q, PRE && BRAIN);
          if constexpr (PRE) load(gate, pre, whole, item, row, q, BRAIN);
          #pragma unroll
          for (int p = 0; p < S; p++) {
            uint2& v = kept[q][row][p];
            if constexpr (PRE && !BRAIN) { v.x = product(v.x, gate[p].x); v.y = product(v.y, gate[p].y); }
            peak[row] = BRAIN ? raise_single(peak[row], v, gate[p]) : raise_half(peak[row], v);
          }
        }
    };
    // One branch for all, so that all loads are under way together.
    if (u_whole && (!PRE || pre_whole)) fill(true); else fill(false);
    float scale[ROWS];
    // All blocks have read what they need of the planes when they come here.
    cluster_peaks<!BRAIN>(peak, notes, 0, parity, WARPS, at);
    bool fast = !(PRE && BRAIN);
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      const u32 of_row = peak[row < SEQUENCES ? row : 0];
      scale[row] = BRAIN ? scale_of_single(of_row, 1) : scale_of_half(of_row);
      if (PRE && item * SEQUENCES + row < batch && (of_row < LEAST_PEAK || of_row > MOST_PEAK)) fast = false;
    }
    if (fast) {
      #pragma unroll
      for (int q = 0; q < QUADS; q++) spread_quad<false>(kept[q], kept[q], scale, plane, notes.barrier(FULL), at, q);
    }
    if constexpr (PRE)
      if (!fast) {
        uint2 v[SEQUENCES][S], gate[SEQUENCES][S];
        auto load_both = [&](int q) {
          #pragma unroll
          for (int row = 0; row < SEQUENCES; row++) { load(v[row], u, u_whole, item, row, q); load(gate[row], pre, pre_whole, item, row, q); }
        };
        if constexpr (!BRAIN) {
          peak[0] = peak[1] = 0;
          #pragma unroll 1
          for (int q = 0; q < QUADS; q++) {
            load_both(q);
            #pragma unroll
            for (int row = 0; row < SEQUENCES; row++)
              #pragma unroll
              for (int p = 0; p < S; p++) peak[row] = raise_single(peak[row], v[row][p], gate[row][p]);
          }
          if (at.tid == 0) expect_bytes(notes.barrier(PEAKS + 1), PEAK_BYTES);
          cluster_peaks<false>(peak, notes, 1, slow++ & 1, WARPS, at);
          #pragma unroll
          for (int row = 0; row < ROWS; row++) scale[row] = scale_of_single(peak[row < SEQUENCES ? row : 0], 1);
        }
        #pragma unroll 1
        for (int q = 0; q < QUADS; q++) {
          load_both(q);
          spread_quad<true>(v, gate, scale, plane, notes.barrier(FULL), at, q);
        }
      }

    Transform256<true> transform;
    transform.load(table, lane);
    wait_phase(notes.barrier(FULL), parity);
    #pragma unroll 1
    for (int part = 0; part < 2; part++) columns_forward<0>(transform, table, twiddles, plane, warp + WARPS * part, lane, Scales());
    __syncthreads();
    // The next rows need the spectrum again.
    const u64 policy = item + 1 < end ? leaving_last() : leaving_first();
    #pragma unroll 1
    for (int tile = 0; tile < 16 / WARPS; tile++) {
      const int k2 = warp * (16 / WARPS) + tile;
      const Tile here = tile_of(plane, k2, lane);
      half2 xr[C][2], xi[C][2], yr[C][2], yi[C][2];
      const uint4* k = spectrum + k2 * C * 32;
      uint4 f[C];
      #pragma unroll
      for (int c = 0; c < AHEAD; c++) f[c] = load_once(k + c * 32, policy);
      load_tile(xr, xi, here, lane);
      #pragma unroll
      for (int c = 0; c < C; c++) {
        const int s = place<C>(c);
        if (c + AHEAD < C) f[c + AHEAD] = load_once(k + (c + AHEAD) * 32, policy);
        half2 a[2], b[2];
        apply(a, b, xr[s][0], xr[s][1], xi[s][0], xi[s][1], matrix(table + CLASSES + 32 * c + lane));
        times(a[0], b[0], f[c].x, f[c].y ^ adjoint);
        times(a[1], b[1], f[c].z, f[c].w ^ adjoint);
        apply(yr[c], yi[c], a[0], a[1], b[0], b[1], matrix(table + CLASSES + 32 * (C + c) + lane));
      }
      store_tile(yr, yi, here, lane);
    }
    __syncthreads();
    transform.load(table, lane);
    #pragma unroll 1
    for (int part = 0; part < 2; part++) columns_inverse(transform, table, twiddles, plane, warp + WARPS * part, lane);
    // Gates are asked for a quad ahead, where there are registers for them.
    constexpr bool GATE_AHEAD = POST && S < 8;
    uint2 next_gate[SEQUENCES][S] = {};
    auto load_gates = [&](int q) {
      auto from = [&](bool whole) {
        #pragma unroll
        for (int row = 0; row < SEQUENCES; row++) load(next_gate[row], post, whole, item, row, q);
      };
      if (post_whole) from(true); else from(false);
    };
    if constexpr (GATE_AHEAD) load_gates(0);
    wait_for_results(notes, parity, at);

    #pragma unroll 1
    for (int q = 0; q < QUADS; q++) {
      uint2 gate[SEQUENCES][S];
      if (POST && !GATE_AHEAD) load_gates(q);
      #pragma unroll
      for (int row = 0; row < SEQUENCES; row++)
        #pragma unroll
        for (int p = 0; p < S; p++) gate[row][p] = next_gate[row][p];
      if (GATE_AHEAD && q + 1 < QUADS) load_gates(q + 1);
      float factor[SEQUENCES];
      #pragma unroll
      for (int row = 0; row < SEQUENCES; row++) factor[row] = gain / scale[row];
      uint2 out[SEQUENCES][S];
      gather_quad(plane, at, q, [&](int row, int p, int h, float a, float b) {
        a *= factor[row]; b *= factor[row];
        if constexpr (POST) { const u32 g = half_of(gate[row][p], h); a *= first(g); b *= second(g); }
        (h ? out[row][p].y : out[row][p].x) = stored(a, b);
      });
      store_quad(out, y, item, batch, channel, at, q, length, y_whole);
    }
  }
  // The others may still read here.
  cluster_barrier();
}
