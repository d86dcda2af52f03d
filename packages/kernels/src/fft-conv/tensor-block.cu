// Convolution of f16 or bf16 sequences by transforms of N = 256 M points on the tensor cores: one read and one write of device memory.
//
// In front: `#define FACTOR m` (M: 8 to 128), `#define PAIRED 0|1` (circular: two rows are the real and the imaginary part of one
// transform), what tensor-sequences.cu needs, and tensor-instructions.cu, tensor-256.cu, tensor-sequences.cu.
//
// A block of M / 8 warps holds one transform in shared memory as planes of real and imaginary parts, 256 rows of M values (row n1 16 + n2,
// later k2 16 + the place of k1), and takes some rows of the batch one after the other. Each warp transforms columns of four n3 at a time over
// n1 and n2 in registers and puts the result where it took its data; then each warp takes some k2 and does n3, the filter and n3 back; and the
// columns again. What follows n3 is a circular convolution of every row, so a row may lie rotated, each by another amount: rotations by
// 8 bytes keep all accesses free of bank conflicts and never are undone.
//
// Behind the planes may lie (`#define NEAR 1`) the gate before, later that after, or (`#define EARLY n`) n sixteenths of the next rows, which
// travel meanwhile. A thread reads there only what it has copied itself.

constexpr int M = FACTOR, N = 256 * M, C = M / 8, WARPS = M / 8, THREADS = 4 * M, ROWS = PAIRED ? 2 : 1, PLANE = 512 * M, SLOTS = M / 4;
constexpr int BLOCKS = 512 / THREADS;

// Slots by which a row is rotated, from its low bits and bits 4 to 7: distinct for the rows that lanes access together.
__device__ __forceinline__ int turned(int low, int b5, int b6, int b7) {
  const int quarter = b6 + 2 * (b5 ^ b7);
  return M >= 64 ? (low & 3) + 4 * quarter : M == 32 ? (low >> 1 & 1) + 2 * quarter : quarter;
}
__device__ __forceinline__ int slot(int group, int turn) { return 8 * ((group + turn) & (SLOTS - 1)); }

// Words: u, pre, post, spectrum, scales of the spectra, y, table; strides (batch, channel) of u, pre, post, y; batch, length, rows (or pairs)
// a block takes, adjoint, residues.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) convolve_block(const __grid_constant__ Words<20> w) {
  extern __shared__ __align__(128) u8 memory[];
  __shared__ u32 peaks[2][WARPS];
  const int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5, g = lane >> 2, t = lane & 3;
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
  Stage stage;

  // Of the elements tid 4 + 16 M i a thread itself copies, measures and writes.
  const int own_row = tid / SLOTS, own_group = tid % SLOTS;
  auto own = [&](int i) { return plane + (16 * i + own_row) * 2 * M + slot(own_group, turned(own_row, i >> 1 & 1, i >> 2 & 1, i >> 3)); };
  auto row_of = [&](const Rows& r, int row) { return r.at + row * r.batch + channel * r.channel; };
  auto behind = [&](int row, int i) { return plane + 2 * PLANE + ((row * (EARLY ? EARLY : 16) + i) * THREADS + tid) * 8; };
  auto copy_row = [&](const Rows& r, bool whole, int item, int row, int first, int last, bool near) {
    const int b = item * ROWS + row;
    const u16* from = row_of(r, b < batch ? b : 0);
    const int here = b < batch ? length : 0;
    if (M < 128 && whole && here == N)
      #pragma unroll
      for (int i = first; i < last; i++) copy_async(near ? behind(row, i) : own(i) + row * PLANE, from + 16 * M * i + 4 * tid, true);
    else if (whole)
      #pragma unroll
      for (int i = first; i < last; i++) { const int n = 16 * M * i + 4 * tid; copy_async(near ? behind(row, i) : own(i) + row * PLANE, from + (n < here ? n : 0), n < here); }
    else
      for (int i = first; i < last; i++) { const uint2 v = four_elements(from, 16 * M * i + 4 * tid, here, false); store_shared(near ? behind(row, i) : own(i) + row * PLANE, v.x, v.y); }
  };
  auto fill_early = [&](int item) {
    #pragma unroll
    for (int row = 0; row < ROWS; row++) copy_row(u, u_whole, item, row, 0, EARLY, true);
  };
  auto fill = [&](int item) {
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      copy_row(u, u_whole, item, row, EARLY, 16, false);
      if constexpr (PRE && NEAR) copy_row(pre, pre_whole, item, row, 0, 16, true);
    }
  };
  auto gate_before = [&](int item, int row, int i) {
    return NEAR ? load_shared(behind(row, i)) : four_elements(row_of(pre, min_(item * ROWS + row, batch - 1)), 16 * M * i + 4 * tid, length, pre_whole);
  };
  if constexpr (EARLY > 0) fill_early(begin);
  fill(begin);
  for (int item = begin; item < end; item++) {
    float scale[ROWS];
    copies_done();
    if constexpr (SCALED || EARLY > 0) {
      #pragma unroll
      for (int row = 0; row < ROWS; row++) {
        u32 peak = 0;
        #pragma unroll
        for (int i = 0; i < 16; i++) {
          uint2 gate = {0, 0};
          if constexpr (PRE) gate = gate_before(item, row, i);
          const uint2 v = load_shared(i < EARLY ? behind(row, i) : own(i) + row * PLANE);
          if (i < EARLY) store_shared(own(i) + row * PLANE, v.x, v.y);
          if constexpr (SCALED) peak = raise(peak, v, gate);
        }
        if constexpr (SCALED) {
          peak = warp_peak(peak);
          if (lane == 0) peaks[row][warp] = peak;
        }
      }
    }
    if (EARLY > 0 && item + 1 < end) fill_early(item + 1);
    __syncthreads();
    if constexpr (SCALED) {
      #pragma unroll
      for (int row = 0; row < ROWS; row++) scale[row] = scale_of(__reduce_max_sync(~0u, peaks[row][lane % WARPS]));
    }
    if constexpr (CONVERTED) {
      #pragma unroll
      for (int row = 0; row < ROWS; row++) {
        #pragma unroll
        for (int i = 0; i < 16; i++) {
          uint2 gate = {0, 0};
          if constexpr (PRE) gate = gate_before(item, row, i);
          const uint2 v = converted(load_shared(own(i) + row * PLANE), gate, scale[row]);
          store_shared(own(i) + row * PLANE, v.x, v.y);
        }
      }
      __syncthreads();
    }
    if constexpr (POST && NEAR)
      #pragma unroll
      for (int row = 0; row < ROWS; row++) copy_row(post, post_whole, item, row, 0, 16, true);

    #pragma unroll 1
    for (int part = 0; part < 2; part++) {
      const int group = warp + WARPS * part;
      // Rows 16 (2t + 8h) + g before, 16 (4t + 2e) + g after.
      u32 before[2], after[2];
      #pragma unroll
      for (int h = 0; h < 2; h++) {
        before[h] = plane + (16 * (2 * t + 8 * h) + g) * 2 * M + slot(group, turned(g, t & 1, t >> 1, h));
        after[h] = plane + (16 * (4 * t + 2 * h) + g) * 2 * M + slot(group, turned(g, h, t & 1, t >> 1));
      }
      uint2 raw[ROWS][2][4];
      #pragma unroll
      for (int row = 0; row < ROWS; row++)
        #pragma unroll
        for (int j = 0; j < 2; j++)
          #pragma unroll
          for (int s = 0; s < 4; s++) raw[row][j][s] = load_shared(before[s >> 1] + row * PLANE + ((s & 1) * 16 + 8 * j) * 2 * M);
      if constexpr (SCALED && !CONVERTED) {
        #pragma unroll
        for (int row = 0; row < ROWS; row++) {
          const half2 by = packed(scale[row], scale[row]);
          #pragma unroll
          for (int j = 0; j < 2; j++)
            #pragma unroll
            for (int s = 0; s < 4; s++) { raw[row][j][s].x = product(raw[row][j][s].x, by); raw[row][j][s].y = product(raw[row][j][s].y, by); }
        }
      }
      half2 zr[8][2], zi[8][2];
      transform.load_forward(stage, table, twiddles, lane);
      #pragma unroll
      for (int pair = 0; pair < 2; pair++) {
        half2 ar[2][2][2], ai[2][2][2];
        #pragma unroll
        for (int o = 0; o < 2; o++) {
          half2 xr[2][2], xi[2][2];
          #pragma unroll
          for (int j = 0; j < 2; j++)
            #pragma unroll
            for (int b = 0; b < 2; b++) {
              const uint2 p = raw[0][j][2 * b], q = raw[0][j][2 * b + 1];
              xr[j][b] = pair == 0 ? halves(p.x, q.x, o) : halves(p.y, q.y, o);
              if constexpr (PAIRED) {
                const uint2 p = raw[ROWS - 1][j][2 * b], q = raw[ROWS - 1][j][2 * b + 1];
                xi[j][b] = pair == 0 ? halves(p.x, q.x, o) : halves(p.y, q.y, o);
              } else {
                xi[j][b] = 0;
              }
            }
          transform.forward(stage, xr, xi, ar[o], ai[o]);
        }
        #pragma unroll
        for (int p = 0; p < 8; p++) {
          const int r = p >> 2, j = p >> 1 & 1, e = p & 1;
          zr[p][pair] = halves(ar[0][j][r], ar[1][j][r], e);
          zi[p][pair] = halves(ai[0][j][r], ai[1][j][r], e);
        }
      }
      __syncwarp();
      #pragma unroll
      for (int p = 0; p < 8; p++) {
        const int r = p >> 2, j = p >> 1 & 1, e = p & 1;
        const uint4 v = reload(twiddles + 128 + (group * 8 + p) * 32 + lane);
        times(zr[p][0], zi[p][0], v.x, v.y);
        times(zr[p][1], zi[p][1], v.z, v.w);
        const u32 at = after[e] + (16 * j + 8 * r) * 2 * M;
        store_shared(at, zr[p][0], zr[p][1]);
        store_shared(at + PLANE, zi[p][0], zi[p][1]);
      }
    }
    __syncthreads();

    #pragma unroll 1
    for (int tile = 0; tile < 16 / WARPS; tile++) {
      const int k2 = warp * (16 / WARPS) + tile, row = k2 * 16 + (lane & 15);
      const u32 line = plane + row * 2 * M;
      const int chunk = (lane >> 4) + (M == 16 ? row >> 2 : M == 32 ? row >> 1 : M == 8 ? 0 : row);
      half2 xr[C][2], xi[C][2];
      if constexpr (C == 1) {
        u32 v[4];
        load_matrices(v, line + (lane >> 4) * PLANE);
        xr[0][0] = v[0]; xr[0][1] = v[1]; xi[0][0] = v[2]; xi[0][1] = v[3];
      } else {
        #pragma unroll
        for (int a = 0; a < C; a += 2) {
          u32 v[4];
          const u32 at = line + 16 * ((a + chunk) & (C - 1));
          load_matrices(v, at);
          xr[a][0] = v[0]; xr[a][1] = v[1]; xr[a + 1][0] = v[2]; xr[a + 1][1] = v[3];
          load_matrices(v, at + PLANE);
          xi[a][0] = v[0]; xi[a][1] = v[1]; xi[a + 1][0] = v[2]; xi[a + 1][1] = v[3];
        }
      }
      dft<C>(xr, xi, 0); dft<C>(xr, xi, 1);
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
      // Real and imaginary parts change places: the transform back.
      dft<C>(yi, yr, 0); dft<C>(yi, yr, 1);
      if constexpr (C == 1) {
        store_matrices(line + (lane >> 4) * PLANE, yr[0][0], yr[0][1], yi[0][0], yi[0][1]);
      } else {
        #pragma unroll
        for (int a = 0; a < C; a += 2) {
          const int p = place<C>(a), q = place<C>(a + 1);
          const u32 at = line + 16 * ((a + chunk) & (C - 1));
          store_matrices(at, yr[p][0], yr[p][1], yr[q][0], yr[q][1]);
          store_matrices(at + PLANE, yi[p][0], yi[p][1], yi[q][0], yi[q][1]);
        }
      }
    }
    __syncthreads();

    #pragma unroll 1
    for (int part = 0; part < 2; part++) {
      const int group = warp + WARPS * part;
      u32 before[2], after[2];
      #pragma unroll
      for (int h = 0; h < 2; h++) {
        before[h] = plane + (16 * (2 * t + 8 * h) + g) * 2 * M + slot(group, turned(g, t & 1, t >> 1, h));
        after[h] = plane + (16 * (4 * t + 2 * h) + g) * 2 * M + slot(group, turned(g, h, t & 1, t >> 1));
      }
      half2 zr[8][2], zi[8][2];
      #pragma unroll
      for (int p = 0; p < 8; p++) {
        const int r = p >> 2, j = p >> 1 & 1, e = p & 1;
        const uint4 v = reload(twiddles + 128 + (group * 8 + p) * 32 + lane);
        const u32 at = after[e] + (16 * j + 8 * r) * 2 * M;
        const uint2 a = load_shared(at), b = load_shared(at + PLANE);
        zr[p][0] = a.x; zr[p][1] = a.y; zi[p][0] = b.x; zi[p][1] = b.y;
        times_conjugate(zr[p][0], zi[p][0], v.x, v.y);
        times_conjugate(zr[p][1], zi[p][1], v.z, v.w);
      }
      transform.load_inverse(stage, table, twiddles, lane);
      __syncwarp();
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
            for (int j = 0; j < 2; j++) {
              const int p = (r * 2 + j) * 2;
              xr[r][j] = halves(zr[p][pair], zr[p + 1][pair], o);
              xi[r][j] = halves(zi[p][pair], zi[p + 1][pair], o);
            }
          transform.inverse(stage, xr, xi, er[o], ei[o]);
        }
        #pragma unroll
        for (int c = 0; c < 2; c++)
          #pragma unroll
          for (int h = 0; h < 2; h++)
            #pragma unroll
            for (int e = 0; e < 2; e++) {
              const half2 a = halves(er[0][h][c], er[1][h][c], e);
              const half2 b = PAIRED ? halves(ei[0][h][c], ei[1][h][c], e) : 0;
              const u32 at = before[h] + (16 * e + 8 * c) * 2 * M;
              if (pair == 0) {
                kept[0][c][h][e] = a;
                if constexpr (PAIRED) kept[ROWS - 1][c][h][e] = b;
              } else {
                store_shared(at, kept[0][c][h][e], a);
                if constexpr (PAIRED) store_shared(at + PLANE, kept[ROWS - 1][c][h][e], b);
              }
            }
      }
    }
    __syncthreads();

    if constexpr (POST && NEAR) copies_done();
    #pragma unroll
    for (int row = 0; row < ROWS; row++) {
      const int b = item * ROWS + row;
      if (b >= batch) break;
      u16* to = (u16*)row_of(y, b);
      const Factor factor = factor_of(SCALED ? gain / scale[row] : 1.f);
      const bool full = M < 128 && y_whole && length == N;
      #pragma unroll
      for (int i = 0; i < 16; i++) {
        const int n = 16 * M * i + 4 * tid;
        uint2 v = load_shared(own(i) + row * PLANE), gate = {0, 0};
        if constexpr (POST) gate = NEAR ? load_shared(behind(row, i)) : four_elements(row_of(post, b), n, length, post_whole);
        if constexpr (SCALED) v = finished(v, gate, factor);
        if (full) __stcs((uint2*)(to + n), v); else store_elements(to, n, length, y_whole, v);
      }
    }
    // Every thread writes over what only it has read.
    if (item + 1 < end) fill(item + 1);
  }
}
