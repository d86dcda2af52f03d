// Convolution of f16 or bf16 sequences by transforms of N = 256 M points on the tensor cores: one read and one write of device memory. In front:
// what tensor-columns.cu needs and tensor-columns.cu.
//
// A block of M / 8 warps holds one transform and takes some rows of the batch one after the other.
//
// The next rows travel while the last ones are written: real rows with the gate before, which lies in the imaginary plane until that is needed.
// Behind the planes may lie (`#define EARLY n`) n sixteenths of the next rows, which travel earlier. A thread reads there only what it has
// copied itself.

constexpr int WARPS = M / 8, THREADS = 4 * M, BLOCKS = 512 / THREADS;

// Words: u, pre, post, spectrum, scales of the spectra, y, table; strides (batch, channel) of u, pre, post, y; batch, length, rows (or pairs)
// a block takes, adjoint, residues.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) convolve_block(const __grid_constant__ Words<20> w) {
  extern __shared__ __align__(128) u8 memory[];
  __shared__ u32 peaks[2][WARPS];
  const int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5;
  const u32 plane = shared_address(memory);
  const int batch = integer(w, 15), length = integer(w, 16), items = integer(w, 17), residues = integer(w, 19);
  const u32 adjoint = integer(w, 18) ? SIGNS : 0;
  const int groups = (batch + ROWS - 1) / ROWS, parts = (groups + items - 1) / items;
  const int channel = blockIdx.x / parts, begin = blockIdx.x % parts * items, end = min_(begin + items, groups);
  const Rows u = rows_of(w, 0, 7), pre = rows_of(w, 1, 9), post = rows_of(w, 2, 11), y = rows_of(w, 5, 13);
  const bool u_whole = aligned(u, length), pre_whole = PRE && aligned(pre, length), post_whole = POST && aligned(post, length), y_whole = aligned(y, length);
  const uint4* table = pointer<const uint4>(w, 6);
  const uint4* twiddles = table + CLASSES + 64 * C + channel % residues * (128 + 64 * M);
  const uint4* spectrum = pointer<const uint4>(w, 3) + (i64)channel * 16 * C * 32 + lane;
  const float gain = SCALED ? pointer<const float>(w, 4)[channel] : 1.f;
  Transform256<PAIRED> transform;
  transform.load(table, lane);

  // Of the elements tid 4 + 16 M i a thread itself copies, measures and writes.
  const int own_row = tid / SLOTS, own_group = tid % SLOTS;
  auto own = [&](int i) { return plane + (16 * i + own_row) * 2 * M + slot(own_group, turned(own_row, i >> 1 & 1, i >> 2 & 1, i >> 3)); };
  auto row_of = [&](const Rows& r, int row) { return r.at + row * r.batch + channel * r.channel; };
  auto behind = [&](int row, int i) { return plane + 2 * PLANE + ((row * EARLY + i) * THREADS + tid) * 8; };
  auto copy_row = [&](const Rows& r, bool whole, int item, int row, int first, int last, bool early, u32 to = 0) {
    const int b = item * ROWS + row;
    const u16* from = row_of(r, b < batch ? b : 0);
    const int here = b < batch ? length : 0;
    if (M < 128 && whole && here == N)
      #pragma unroll
      for (int i = first; i < last; i++) copy_async(early ? behind(row, i) : own(i) + row * PLANE + to, from + 16 * M * i + 4 * tid, true);
    else if (whole)
      #pragma unroll
      for (int i = first; i < last; i++) { const int n = 16 * M * i + 4 * tid; copy_async(early ? behind(row, i) : own(i) + row * PLANE + to, from + (n < here ? n : 0), n < here); }
    else
      for (int i = first; i < last; i++) { const uint2 v = four_elements(from, 16 * M * i + 4 * tid, here, false); store_shared(early ? behind(row, i) : own(i) + row * PLANE + to, v.x, v.y); }
  };
  auto fill_early = [&](int item) {
    #pragma unroll
    for (int row = 0; row < ROWS; row++) copy_row(u, u_whole, item, row, 0, EARLY, true);
  };
  auto fill = [&](int item) {
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      copy_row(u, u_whole, item, row, EARLY, 16, false);
      if constexpr (PRE && !PAIRED) copy_row(pre, pre_whole, item, 0, 0, 16, false, PLANE);
    }
  };
  // A thread's share of a gate, all of it under way at once.
  auto read_gate = [&](const Rows& r, bool whole, int item, int row, uint2 (&to)[16]) {
    const u16* from = row_of(r, min_(item * ROWS + row, batch - 1));
    if (whole) {
      #pragma unroll
      for (int i = 0; i < 16; i++) { const int n = 16 * M * i + 4 * tid; to[i] = make_uint2(0, 0); if (n < length) to[i] = __ldcs((const uint2*)(from + n)); }
    } else {
      #pragma unroll
      for (int i = 0; i < 16; i++) to[i] = four_elements(from, 16 * M * i + 4 * tid, length, false);
    }
  };
  if constexpr (EARLY > 0) fill_early(begin);
  fill(begin);
  for (int item = begin; item < end; item++) {
    float scale[ROWS];
    copies_done();
    if constexpr (CONVERTED) {
      #pragma unroll
      for (int row = 0; row < ROWS; row++) {
        uint2 gate[16] = {}, v[16];
        u32 peak = 0;
        if constexpr (PRE && PAIRED) read_gate(pre, pre_whole, item, row, gate);
        else if constexpr (PRE)
          #pragma unroll
          for (int i = 0; i < 16; i++) gate[i] = load_shared(own(i) + PLANE);
        #pragma unroll
        for (int i = 0; i < 16; i++) { v[i] = load_shared(i < EARLY ? behind(row, i) : own(i) + row * PLANE); peak = raise(peak, v[i], gate[i]); }
        peak = warp_peak(peak);
        if (lane == 0) peaks[row][warp] = peak;
        __syncthreads();
        scale[row] = scale_of(__reduce_max_sync(~0u, peaks[row][lane % WARPS]));
        #pragma unroll
        for (int i = 0; i < 16; i++) { const uint2 x = converted(v[i], gate[i], scale[row]); store_shared(own(i) + row * PLANE, x.x, x.y); }
      }
    } else if constexpr (SCALED || EARLY > 0) {
      #pragma unroll
      for (int row = 0; row < ROWS; row++) {
        u32 peak = 0;
        #pragma unroll
        for (int i = 0; i < 16; i++) {
          const uint2 v = load_shared(i < EARLY ? behind(row, i) : own(i) + row * PLANE);
          if (i < EARLY) store_shared(own(i) + row * PLANE, v.x, v.y);
          if constexpr (SCALED) peak = raise(peak, v, v);
        }
        if constexpr (SCALED) {
          peak = warp_peak(peak);
          if (lane == 0) peaks[row][warp] = peak;
        }
      }
    }
    if (EARLY > 0 && item + 1 < end) fill_early(item + 1);
    __syncthreads();
    if constexpr (SCALED && !CONVERTED) {
      #pragma unroll
      for (int row = 0; row < ROWS; row++) scale[row] = scale_of(__reduce_max_sync(~0u, peaks[row][lane % WARPS]));
    }

    #pragma unroll 1
    for (int part = 0; part < 2; part++) {
      Scales by;
      #pragma unroll
      for (int row = 0; row < ROWS; row++) by.one[row] = SCALED && !CONVERTED ? packed(scale[row], scale[row]) : 0;
      columns_forward<SCALED && !CONVERTED>(transform, table, twiddles, plane, warp + WARPS * part, lane, by);
    }
    __syncthreads();

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
        const uint4 f = __ldg(k + c * 32);
        half2 a[2], b[2];
        apply(a, b, xr[s][0], xr[s][1], xi[s][0], xi[s][1], matrix(table + CLASSES + 32 * c + lane));
        times(a[0], b[0], f.x, f.y ^ adjoint);
        times(a[1], b[1], f.z, f.w ^ adjoint);
        apply(yr[c], yi[c], a[0], a[1], b[0], b[1], matrix(table + CLASSES + 32 * (C + c) + lane));
      }
      store_tile(yr, yi, here, lane);
    }
    __syncthreads();

    #pragma unroll 1
    for (int part = 0; part < 2; part++) columns_inverse(transform, table, twiddles, plane, warp + WARPS * part, lane);
    __syncthreads();

    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      const int b = item * ROWS + row;
      if (b >= batch) break;
      u16* to = (u16*)row_of(y, b);
      const Factor factor = factor_of(SCALED ? gain / scale[row] : 1.f);
      const bool full = M < 128 && y_whole && length == N;
      uint2 gate[16] = {};
      if constexpr (POST) read_gate(post, post_whole, item, row, gate);
      #pragma unroll
      for (int i = 0; i < 16; i++) {
        const int n = 16 * M * i + 4 * tid;
        uint2 v = load_shared(own(i) + row * PLANE);
        if constexpr (SCALED) v = finished(v, gate[i], factor);
        if (full) __stcs((uint2*)(to + n), v); else store_elements(to, n, length, y_whole, v);
      }
    }
    // Every thread writes over what only it has read.
    if (item + 1 < end) fill(item + 1);
  }
}
