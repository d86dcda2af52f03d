// Convolution of f16 or bf16 sequences by transforms that a cluster of blocks holds in shared memory: one read and one write of device memory. In
// front: what tensor-spread.cu needs and tensor-spread.cu.
//
// A cluster takes some rows of the batch (or pairs) one after the other; while one goes back, the next is brought into the second-level cache.

constexpr int WARPS = M / 8, THREADS = 4 * M, BLOCKS = 512 / THREADS;

// Words: u, pre, post, spectrum, scales of the spectra, y, table; strides (batch, channel) of u, pre, post, y; batch, length, rows (or pairs)
// a cluster takes, adjoint.
extern "C" __global__ void __cluster_dims__(S, 1, 1) __launch_bounds__(THREADS, BLOCKS) convolve_cluster(const __grid_constant__ Words<19> w) {
  extern __shared__ __align__(128) u8 memory[];
  const Share at(blockIdx.x % S);
  cluster_arrive();
  const int lane = at.tid & 31, warp = at.tid >> 5;
  const u32 plane = shared_address(memory), notes = plane + 2 * PLANE;
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
  auto bring_item = [&](int item) {
    #pragma unroll
    for (int row = 0; row < SEQUENCES; row++) {
      const int b = item * SEQUENCES + row;
      if (b >= batch) break;
      bring_columns(row_of(u, b), at, length);
    }
  };

  bring(spectrum - lane + 8 * at.tid);
  bring(spectrum - lane + 8 * (at.tid + THREADS));
  // Before a block writes into the others' memory they must have begun.
  cluster_wait();
  for (int item = begin; item < end; item++) {
    u32 peak[2] = {};
    uint2 kept[PRE ? 1 : QUADS][SEQUENCES][S];
    #pragma unroll
    for (int q = 0; q < QUADS; q++)
      #pragma unroll
      for (int row = 0; row < SEQUENCES; row++) {
        uint2 gate[S] = {};
        load(kept[PRE ? 0 : q][row], u, u_whole, item, row, q, PRE);
        if constexpr (PRE) {
          load(gate, pre, pre_whole, item, row, q, true);
          #pragma unroll
          for (int p = 0; p < S; p++) peak[row] = raise(peak[row], kept[0][row][p], gate[p]);
        }
      }
    if constexpr (!PRE)
      #pragma unroll
      for (int q = 0; q < QUADS; q++)
        #pragma unroll
        for (int row = 0; row < SEQUENCES; row++)
          #pragma unroll
          for (int p = 0; p < S; p++) peak[row] = raise(peak[row], kept[q][row][p], make_uint2(0, 0));
    float scale[SEQUENCES];
    // All blocks have read what they need of the planes when they come here.
    cluster_peaks(peak, notes, WARPS, at);
    #pragma unroll
    for (int row = 0; row < SEQUENCES; row++) scale[row] = scale_of(peak[row]);
    #pragma unroll
    for (int q = 0; q < QUADS; q++) {
      uint2 gate[SEQUENCES][S] = {};
      if constexpr (PRE)
        #pragma unroll
        for (int row = 0; row < SEQUENCES; row++) { load(kept[0][row], u, u_whole, item, row, q); load(gate[row], pre, pre_whole, item, row, q); }
      spread_quad<PRE>(kept[PRE ? 0 : q], gate, scale, plane, at, q);
    }
    cluster_barrier();

    Transform256<true> transform;
    transform.load(table, lane);
    #pragma unroll 1
    for (int part = 0; part < 2; part++) columns_forward<0>(transform, table, twiddles, plane, warp + WARPS * part, lane, Scales());
    __syncthreads();
    // The next rows need the spectrum again.
    const u64 policy = item + 1 < end ? leaving_last() : leaving_first();
    #pragma unroll 1
    for (int tile = 0; tile < 16 / WARPS; tile++) {
      const int k2 = warp * (16 / WARPS) + tile;
      const Tile here = tile_of(plane, k2, lane);
      half2 xr[C][2], xi[C][2];
      load_tile(xr, xi, here, lane);
      const uint4* k = spectrum + k2 * C * 32;
      half2 yr[C][2], yi[C][2];
      #pragma unroll
      for (int c = 0; c < C; c++) {
        const int s = place<C>(c);
        const uint4 f = load_once(k + c * 32, policy);
        half2 a[2], b[2];
        apply(a, b, xr[s][0], xr[s][1], xi[s][0], xi[s][1], matrix(table + CLASSES + 32 * c + lane));
        times(a[0], b[0], f.x, f.y ^ adjoint);
        times(a[1], b[1], f.z, f.w ^ adjoint);
        apply(yr[c], yi[c], a[0], a[1], b[0], b[1], matrix(table + CLASSES + 32 * (C + c) + lane));
      }
      store_tile(yr, yi, here, lane);
    }
    __syncthreads();
    transform.load(table, lane);
    // Gated rows are read twice, and more of them do not fit into the second-level cache.
    if (!PRE && item + 1 < end) bring_item(item + 1);
    #pragma unroll 1
    for (int part = 0; part < 2; part++) columns_inverse(transform, table, twiddles, plane, warp + WARPS * part, lane);
    cluster_barrier();

    #pragma unroll 1
    for (int q = 0; q < QUADS; q++) {
      uint2 gate[SEQUENCES][S] = {};
      if constexpr (POST)
        #pragma unroll
        for (int row = 0; row < SEQUENCES; row++) load(gate[row], post, post_whole, item, row, q);
      Gathered z;
      gather_quad(z, plane, at, q);
      #pragma unroll
      for (int row = 0; row < SEQUENCES; row++) {
        const int b = item * SEQUENCES + row;
        if (b >= batch) break;
        const float factor = gain / scale[row];
        #pragma unroll
        for (int p = 0; p < S; p++) store_elements((u16*)row_of(y, b), at.column(q) + p * N, length, y_whole, of_sequence(z, row, p, factor, gate[row][p]));
      }
    }
  }
  // The others may still read here.
  cluster_barrier();
}
