// Columns to rows (tensor-long.cu) of sequences whose peaks nobody has taken yet, in one launch: sequences come from memory once, and are in the second-level
// cache when their columns are read. In front: what tensor-long.cu needs (CREWS 1, PRE 0), tensor-long.cu, tickets.cu.
//
// A ticket takes a part of the sequences of one transform to shared memory, makes columns of an earlier transform while that is on its way, and
// then raises the peaks. A transform has as many parts as it has blocks of columns; columns are `ahead` tickets behind, more than a transform has, so that
// what a ticket waits for has lower tickets.

constexpr int TICKETS = R / (COLUMNS * SIDE), PART = S * COLUMNS * SIDE, COPIES = PART / (8 * WIDTH), CELL_BYTES = PARTS == 1 ? 0 : 256 * WIDTH;

// Copies 16 bytes past the first-level cache, behind the back of the thread; zeros where `inside` is false.
__device__ __forceinline__ void copy_async_wide(u32 to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(to), "l"(from), "r"(inside ? 16 : 0) : "memory");
}

// Words: u, rows, peaks (zeros), counters (one, and one for each transform, zeros), strides of u; batch, length, first row, channels, transforms, ahead;
// the peaks of partners, exponents (PARTNER).
extern "C" __global__ void __launch_bounds__(WIDTH, 512 / WIDTH) measured_columns(const __grid_constant__ Words<14> w) {
  extern __shared__ __align__(128) float cells[];
  __shared__ u32 notes[2];
  const Crew crew;
  const int tid = threadIdx.x, lane = tid & 31;
  const Rows u = rows_of(w, 0, 4);
  const int length = integer(w, 7), channels = integer(w, 9);
  const u32 all = (u32)integer(w, 10) * TICKETS, ahead = integer(w, 11);
  u32 *peaks = pointer<u32>(w, 2), *counters = pointer<u32>(w, 3), *measured = counters + 1;
  const u32 own = shared_address(cells) + CELL_BYTES + 16 * tid;
  const bool wide_copies = ((((u64)u.at >> 1) | (u64)u.batch | (u64)u.channel | (u64)length) & 7) == 0;
  auto lines = [&](int t) { return Lines{u, u, integer(w, 6), length, wide(w, 8) + (i64)(t / channels) * SEQUENCES, t % channels, channels}; };
  // Of the transform whose columns belong to a ticket, whether all peaks are there.
  auto waits_for = [&](u32 ticket) { return ticket >= ahead && ticket < all + ahead ? measured + (ticket - ahead) / TICKETS : nullptr; };
  if (tid == 0) {
    notes[0] = draw(counters);
    if (const u32* some = waits_for(notes[0])) wait_until(some, TICKETS);
  }
  const float4* roots = make_roots();
  u32 ticket = notes[0];
  #pragma unroll 1
  for (int turn = 1; ticket < all + ahead; turn ^= 1) {
    const bool to_measure = ticket < all;
    const int t = ticket / TICKETS, begin = ticket % TICKETS * PART;
    const Lines from = lines(t);
    if (to_measure && wide_copies) {
      #pragma unroll
      for (int r = 0; r < SEQUENCES; r++) {
        const u16* line = from.line(r);
        #pragma unroll
        for (int i = 0; i < COPIES; i++) {
          const int n = begin + 8 * (tid + WIDTH * i);
          const bool inside = n < length && from.b(r) < from.batch;
          copy_async_wide(own + 16 * WIDTH * (COPIES * r + i), line + (inside ? n : 0), inside);
        }
      }
    }
    const u32 next = tid == 0 ? draw(counters) : 0;
    auto raise_peaks = [&] {
      if (!to_measure) return;
      copies_done();
      #pragma unroll
      for (int r = 0; r < SEQUENCES; r++) {
        if (from.b(r) >= from.batch) break;
        u32 peak = 0;
        if (wide_copies) {
          #pragma unroll
          for (int i = 0; i < COPIES; i++) {
            const uint4 v = load_shared_wide(own + 16 * WIDTH * (COPIES * r + i));
            peak = raise(raise(peak, make_uint2(v.x, v.y), {}), make_uint2(v.z, v.w), {});
          }
        } else {
          #pragma unroll 2
          for (int i = 0; i < 2 * COPIES; i++) peak = raise(peak, four_elements(from.line(r), begin + 4 * (tid + WIDTH * i), length, false), {});
        }
        peak = warp_peak(peak);
        if (lane == 0) count_highest(peaks + from.row(r) * 32 + (8 * (int)(ticket % 4) + tid / 32) % 32, CONVERTED ? peak : __float_as_uint(low_half(peak)));
      }
    };
    // After a barrier, and not by the thread that waits: who waits has counted what it has measured.
    const u32* missing = nullptr;
    auto count_part = [&] {
      if (tid == WIDTH - 32 && to_measure) count(measured + t);
      if (tid == 0) {
        missing = waits_for(next);
        if (missing && counted(missing) >= TICKETS) missing = nullptr;
      }
    };
    if (ticket >= ahead) {
      const int which = (ticket - ahead) / TICKETS;
      const Lines here = lines(which);
      const i64 pair = which / channels;
      const Place at = place_of(crew, (ticket - ahead) % TICKETS);
      const Partners partners = {pointer<const u32>(w, 12), pointer<int>(w, 13) + which};
      u16* rows = pointer<u16>(w, 1) + (2 * pair * channels + here.d) * S * R;
      columns_to_rows(here, peaks, partners, rows, (i64)channels * S * R, crew, at, roots, cells, raise_peaks, count_part);
    }
    if (PARTS == 1 || ticket < ahead) {
      raise_peaks();
      __syncthreads();
      count_part();
    }
    if (tid == 0) {
      if (missing) wait_until(missing, TICKETS);
      notes[turn] = next;
    }
    __syncthreads();
    ticket = notes[turn];
  }
}
