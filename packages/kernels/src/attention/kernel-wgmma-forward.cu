// Attention on sm_90. Blocks stay; one warpgroup copies tiles, the others own 64 queries each and take turns: while one multiplies, the
// next computes its softmax (Shah et al. 2024). Scores of a block are multiplied while the block before is added to the output.
//
// Where tiles are few, blocks take parts of a tile's keys; kernel-parts.cu joins them. Blocks of keys are those between two edges, from the
// last one down, or with LISTS what a walk finds in a list (kernel-walks.cu): then each tells beside its keys where it lies.
//
// Defined before: OWN (queries of a tile, 64 a warpgroup), GROUPS (warpgroups that compute), BLOCK (keys at a time), STAGES (such blocks in flight), RESIDENT (blocks of a
// multiprocessor), HELD (whether queries stay in registers: less traffic in shared memory, where there is room), COPY_REGISTERS and
// PRODUCT_REGISTERS (of a thread of the warpgroup that copies, and of those that compute), PARTS (whether tiles take parts of the keys),
// LENGTHS (whether sequences have lengths of their own).

extern "C" __global__ void __launch_bounds__((GROUPS + 1) * 128, RESIDENT) attention_wgmma(const __grid_constant__ Args w) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) u8 memory[];
  const u32 base = (shared_address(memory) + 1023) & ~1023u;
  const u32 at_q = base, at_k = at_q + Q_STAGES * Q_BYTES, at_v = at_k + STAGES * KV_BYTES, at_out = at_v + STAGES * KV_BYTES, barriers = at_out + 4 * GROUPS * OUT_BYTES;
  const u32 q_full = barriers, q_free = q_full + 8 * Q_STAGES, k_full = q_free + 8 * Q_STAGES, k_free = k_full + 8 * STAGES, v_full = k_free + 8 * STAGES,
    v_free = v_full + 8 * STAGES, begun = v_free + 8 * STAGES, tile_full = begun + 8, next_tile = (tile_full + 8 * Q_STAGES + 15) & ~15u, k_place = next_tile + Q_STAGES * TILE_BYTES;
  const int thread = threadIdx.x, group = uniform(thread >> 7);
  int* const counter = pointer<int>(w, w_counters);
  Tile x;
  if (thread == GROUPS * 128) {
    map_wanted(&w.word[w_qMap]);
    map_wanted(&w.word[w_kMap]);
    x = tile_of(w, blockIdx.x);
  }
  if (thread == 0) {
    barrier_make(begun, 1);
    for (int i = 0; i < Q_STAGES; i++) {
      barrier_make(tile_full + 8 * i, 1);
      barrier_make(q_full + 8 * i, 1);
      barrier_make(q_free + 8 * i, GROUPS * 4 + 1);
    }
    for (int i = 0; i < STAGES; i++) {
      barrier_make(k_full + 8 * i, 1);
      barrier_make(v_full + 8 * i, 1);
      barrier_make(k_free + 8 * i, GROUPS * 4);
      barrier_make(v_free + 8 * i, GROUPS * 4);
    }
    barriers_visible();
  }
  __syncthreads();

  if (group == GROUPS) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(COPY_REGISTERS));
    if (thread == GROUPS * 128) {
      // Hands out tiles; brings queries and keys.
      const u64 *q_map = &w.word[w_qMap], *k_map = &w.word[w_kMap];
      const int tiles = integer(w, w_tiles);
      int t = blockIdx.x, qs = 0, ks = 0;
      bool first = true;
      u32 k_parity = 1, q_parity = 1;
      for (;;) {
        const u32 full = q_full + 8 * qs;
        barrier_wait(q_free + 8 * qs, q_parity);
        store_tile(next_tile + TILE_BYTES * qs, x);
        barrier_arrive(tile_full + 8 * qs);
        if (x.b < 0) { barrier_arrive(full); break; }
        barrier_expect(full, Q_BYTES);
        copy_rows<OWN>(at_q + qs * Q_BYTES, q_map, full, x.q0, x.h, x.b);
        if (++qs == Q_STAGES) { qs = 0; q_parity ^= 1; }
        t = atomicAdd(counter, 1) + gridDim.x;
        // What is needed first arrives first: everything at once would arrive when all of it has.
        auto begin = [&](bool wait) {
          if (!first) return;
          first = false;
          if (wait) barrier_wait(k_full, 0);
          barrier_arrive(begun);
        };
#if LISTS
        begin(false);
        KeyWalk walk(w, Sight(w, x.b), Owned(x.q0, x.last, x.first), x.h, 0, 1);
        for (bool more = true; more;) {
          Step step;
          more = walk.next(step);
          if (!more) step.end = -1;
          barrier_wait(k_free + 8 * ks, k_parity);
          asm volatile("st.shared.v2.b32 [%0], {%1, %2};" :: "r"(k_place + 8 * ks), "r"(step.first), "r"(step.end) : "memory");
          if (more) {
            barrier_expect(k_full + 8 * ks, KV_BYTES);
            copy_rows<BLOCK>(at_k + ks * KV_BYTES, k_map, k_full + 8 * ks, step.first, x.hk, x.b);
          } else barrier_arrive(k_full + 8 * ks);
          if (++ks == STAGES) { ks = 0; k_parity ^= 1; }
        }
#else
        #pragma unroll 1
        for (int j = x.last - 1; j >= x.first; j--) {
          barrier_wait(k_free + 8 * ks, k_parity);
          barrier_expect(k_full + 8 * ks, KV_BYTES);
          copy_rows<BLOCK>(at_k + ks * KV_BYTES, k_map, k_full + 8 * ks, j * BLOCK, x.hk, x.b);
          begin(!PARTS);
          if (++ks == STAGES) { ks = 0; k_parity ^= 1; }
        }
#endif
        x.b = -1;
        if (t < tiles) x = tile_of(w, t);
      }
      // The last block leaves the counters as it found them.
      if (atomicAdd(counter + 1, 1) == (int)gridDim.x - 1) { counter[0] = 0; counter[1] = 0; }
    } else if (thread == GROUPS * 128 + 32) {
      // Brings values.
      const u64* v_map = &w.word[w_vMap];
      map_wanted(v_map);
      if constexpr (BOXES) map_wanted(&w.word[w_yMap]);
      int qs = 0, vs = 0;
      bool first = true;
      u32 v_parity = 1, q_parity = 0;
      for (;;) {
        barrier_wait(tile_full + 8 * qs, q_parity);
        const Tile x = load_tile(next_tile + TILE_BYTES * qs);
        if (x.b < 0) break;
        barrier_arrive(q_free + 8 * qs);
        if (++qs == Q_STAGES) { qs = 0; q_parity ^= 1; }
#if LISTS
        KeyWalk walk(w, Sight(w, x.b), Owned(x.q0, x.last, x.first), x.h, 0, 1);
        for (Step step; walk.next(step);) {
          const int row = step.first;
#else
        #pragma unroll 1
        for (int j = x.last - 1; j >= x.first; j--) {
          const int row = j * BLOCK;
#endif
          if (first) barrier_wait(begun, 0);
          first = false;
          barrier_wait(v_free + 8 * vs, v_parity);
          barrier_expect(v_full + 8 * vs, KV_BYTES);
          copy_rows<BLOCK>(at_v + vs * KV_BYTES, v_map, v_full + 8 * vs, row, x.hk, x.b);
          if (++vs == STAGES) { vs = 0; v_parity ^= 1; }
        }
      }
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(PRODUCT_REGISTERS));
    const int lane = thread & 31, q = lane & 3, in_group = (thread & 127) >> 5;
    const float scale = number(w, w_scoreScale);
    float o[VALUE_COLUMNS / 2], s[BLOCK / 2];
    u32 p[BLOCK / 4], q_held[HELD ? KEY_COLUMNS / 4 : 1];
    int qs = 0, ks = 0, vs = 0;
    u32 k_parity = 0, v_parity = 0, q_parity = 0;
    auto take_turn = [&]() { if constexpr (GROUPS > 1) meet(1 + group, 256); };
    auto pass_turn = [&]() { if constexpr (GROUPS > 1) signal(1 + (group + 1) % GROUPS, 256); };
    if (group == GROUPS - 1) pass_turn();
    for (;;) {
      barrier_wait(q_full + 8 * qs, q_parity);
      x = load_tile(next_tile + TILE_BYTES * qs);
      x.b = uniform(x.b);
      if (x.b < 0) {
        if (BOXES && lane == 0) stores_read();
        break;
      }
      x.first = uniform(x.first);
      x.last = uniform(x.last);
      x.q0 = uniform(x.q0);
      x.h = uniform(x.h);
      x.part = uniform(x.part);
      const Sight sight(w, x.b);
      const u32 q_rows = uniform((at_q + qs * Q_BYTES + group * 64 * 128) >> 4), q_used = q_free + 8 * qs;
      if (++qs == Q_STAGES) { qs = 0; q_parity ^= 1; }
      if constexpr (HELD) {
        #pragma unroll
        for (int k = 0; k < KEY_COLUMNS / 16; k++) {
          const int at = group * 64 + in_group * 16 + (lane & 15);
          load_fragment(q_held + 4 * k, at_q + (k >> 2) * OWN * 128 + at * 128 + ((((k & 3) * 2 + (lane >> 4)) ^ (at & 7)) << 4));
        }
        __syncwarp();
        if (lane == 0) barrier_arrive(q_used);
      }
      const int top = x.q0 + group * 64, row = top + in_group * 16 + (lane >> 2);
#if !LISTS
      // The blocks that rows of this warpgroup see.
      const int bottom = min(top + 64, sight.queries) - 1;
      const int first = max(x.first, sight.from(top) / BLOCK), last = top < sight.queries ? min(x.last, (sight.to(bottom) + BLOCK - 1) / BLOCK) : first;
#endif
      float m0 = -1e30f, m1 = -1e30f, l0 = 0.f, l1 = 0.f, c0, c1;
      #pragma unroll
      for (int i = 0; i < VALUE_COLUMNS / 2; i++) o[i] = 0.f;

      auto free_k = [&]() { if (lane == 0) barrier_arrive(k_free + 8 * ks); if (++ks == STAGES) { ks = 0; k_parity ^= 1; } };
      auto free_v = [&]() { if (lane == 0) barrier_arrive(v_free + 8 * vs); if (++vs == STAGES) { vs = 0; v_parity ^= 1; } };
      [[maybe_unused]] auto skip = [&]() {
        barrier_wait(k_full + 8 * ks, k_parity);
        free_k();
        take_turn();
        pass_turn();
        barrier_wait(v_full + 8 * vs, v_parity);
        free_v();
      };
      auto multiply_scores = [&]() {
        barrier_wait(k_full + 8 * ks, k_parity);
        take_turn();
        pin(s);
        products_begin();
        const u32 k_rows = uniform((at_k + ks * KV_BYTES) >> 4);
        #pragma unroll
        for (int k = 0; k < KEY_COLUMNS / 16; k++) {
          const u64 right = descriptor(k_rows, columns16<BLOCK>(k), 16);
          if constexpr (HELD) Product<BLOCK>::template registers<0>(s, q_held[4 * k], q_held[4 * k + 1], q_held[4 * k + 2], q_held[4 * k + 3], right, k > 0);
          else Product<BLOCK>::template shared<0, 0>(s, descriptor(q_rows, columns16<OWN>(k), 16), right, k > 0);
        }
        products_commit();
      };
      // Of keys from `k0` up to `end`.
      auto multiply_values = [&](int k0, int end) {
        barrier_wait(v_full + 8 * vs, v_parity);
        if constexpr (LENGTHS || LISTS) {
          // What lies behind a sequence or a list may be anything, and weights of zero would not hide it.
          if (k0 + BLOCK > end) clear_rows<BLOCK>(at_v + vs * KV_BYTES, end - k0, 1 + GROUPS + group);
        }
        pin(o);
        pin(p);
        products_begin();
        const u32 v_rows = uniform((at_v + vs * KV_BYTES) >> 4);
        #pragma unroll
        for (int k = 0; k < BLOCK / 16; k++)
          Product<VALUE_COLUMNS>::template registers<1>(o, p[4 * k], p[4 * k + 1], p[4 * k + 2], p[4 * k + 3], descriptor(v_rows, k * 2048, BLOCK * 128), 1);
        products_commit();
      };
      auto softmax = [&](int k0, int end) {
        // Each edge on its own, so that causal attention pays one comparison an element.
        const float hidden = -__int_as_float(0x7f800000);
        auto to = [&](int query) { return LISTS ? min(sight.to(query), end) : sight.to(query); };
        if (k0 + BLOCK > to(top)) {
          const int to0 = to(row) - k0 - 2 * q, to1 = to(row + 8) - k0 - 2 * q;
          #pragma unroll
          for (int i = 0; i < BLOCK / 8; i++) {
            if (8 * i >= to0) s[4 * i] = hidden;
            if (8 * i + 1 >= to0) s[4 * i + 1] = hidden;
            if (8 * i >= to1) s[4 * i + 2] = hidden;
            if (8 * i + 1 >= to1) s[4 * i + 3] = hidden;
          }
        }
        if (k0 < sight.from(top + 63)) {
          const int from0 = sight.from(row) - k0 - 2 * q, from1 = sight.from(row + 8) - k0 - 2 * q;
          #pragma unroll
          for (int i = 0; i < BLOCK / 8; i++) {
            if (8 * i < from0) s[4 * i] = hidden;
            if (8 * i + 1 < from0) s[4 * i + 1] = hidden;
            if (8 * i < from1) s[4 * i + 2] = hidden;
            if (8 * i + 1 < from1) s[4 * i + 3] = hidden;
          }
        }
        float x0 = m0, x1 = m1;
        #pragma unroll
        for (int i = 0; i < BLOCK / 8; i++) {
          x0 = fmaxf(x0, fmaxf(s[4 * i], s[4 * i + 1]));
          x1 = fmaxf(x1, fmaxf(s[4 * i + 2], s[4 * i + 3]));
        }
        x0 = fmaxf(x0, __shfl_xor_sync(~0u, x0, 1));
        x1 = fmaxf(x1, __shfl_xor_sync(~0u, x1, 1));
        x0 = fmaxf(x0, __shfl_xor_sync(~0u, x0, 2));
        x1 = fmaxf(x1, __shfl_xor_sync(~0u, x1, 2));
        c0 = exp2_((m0 - x0) * scale);
        c1 = exp2_((m1 - x1) * scale);
        m0 = x0;
        m1 = x1;
        const float a0 = -x0 * scale, a1 = -x1 * scale;
        l0 *= c0;
        l1 *= c1;
        #pragma unroll
        for (int i = 0; i < BLOCK / 8; i++) {
          s[4 * i] = exp2_(__fmaf_rn(s[4 * i], scale, a0));
          s[4 * i + 1] = exp2_(__fmaf_rn(s[4 * i + 1], scale, a0));
          s[4 * i + 2] = exp2_(__fmaf_rn(s[4 * i + 2], scale, a1));
          s[4 * i + 3] = exp2_(__fmaf_rn(s[4 * i + 3], scale, a1));
          l0 += s[4 * i] + s[4 * i + 1];
          l1 += s[4 * i + 2] + s[4 * i + 3];
        }
      };
      auto round_weights = [&]() {
        #pragma unroll
        for (int i = 0; i < BLOCK / 8; i++) { p[2 * i] = pair(s[4 * i], s[4 * i + 1]); p[2 * i + 1] = pair(s[4 * i + 2], s[4 * i + 3]); }
      };

      // `leave`: nobody needs the queries any more.
      auto first_block = [&](int k0, int end, bool leave) {
        multiply_scores();
        pass_turn();
        products_wait<0>();
        pin(s);
        free_k();
        if (!HELD && leave && lane == 0) barrier_arrive(q_used);
        softmax(k0, end);
        round_weights();
      };
      // The scores of a block from `k0` on, and the values of the one before, from `v0` on.
      auto next_block = [&](int k0, int end, int v0, int v_end, bool leave) {
        multiply_scores();
        multiply_values(v0, v_end);
        pass_turn();
        products_wait<1>();
        pin(s);
        free_k();
        if (!HELD && leave && lane == 0) barrier_arrive(q_used);
        softmax(k0, end);
        pin(s);
        products_wait<0>();
        pin(o);
        pin(p);
        free_v();
        #pragma unroll
        for (int i = 0; i < VALUE_COLUMNS / 8; i++) { o[4 * i] *= c0; o[4 * i + 1] *= c0; o[4 * i + 2] *= c1; o[4 * i + 3] *= c1; }
        round_weights();
      };
      auto last_values = [&](int v0, int v_end) {
        multiply_values(v0, v_end);
        l0 += __shfl_xor_sync(~0u, l0, 1);
        l1 += __shfl_xor_sync(~0u, l1, 1);
        l0 += __shfl_xor_sync(~0u, l0, 2);
        l1 += __shfl_xor_sync(~0u, l1, 2);
        products_wait<0>();
        pin(o);
        free_v();
      };
#if LISTS
      int k0, k_end;
      auto look = [&]() {
        barrier_wait(k_full + 8 * ks, k_parity);
        asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(k0), "=r"(k_end) : "r"(k_place + 8 * ks) : "memory");
        k0 = uniform(k0);
        k_end = uniform(k_end);
      };
      look();
      if (k_end >= 0) {
        first_block(k0, k_end, false);
        int v0 = k0, v_end = k_end;
        for (look(); k_end >= 0; look()) {
          next_block(k0, k_end, v0, v_end, false);
          v0 = k0;
          v_end = k_end;
        }
        last_values(v0, v_end);
      }
      free_k();
      if (!HELD && lane == 0) barrier_arrive(q_used);
#else
      const int keys = sight.keys;
      if (last > first) {
        for (int j = x.last; j > last; j--) skip();
        first_block((last - 1) * BLOCK, keys, last - first == 1);
        for (int j = last - 2; j >= first; j--) next_block(j * BLOCK, keys, (j + 1) * BLOCK, keys, j == first);
        last_values(first * BLOCK, keys);
        for (int j = first; j > x.first; j--) skip();
      } else {
        if (!HELD && lane == 0) barrier_arrive(q_used);
        for (int j = x.last; j > x.first; j--) skip();
      }
#endif

      // Rows of padding give zeros, whatever their queries are.
      const bool live0 = !LENGTHS || row < sight.queries, live1 = !LENGTHS || row + 8 < sight.queries;
      const float i0 = l0 > 0.f ? 1.f / l0 : 0.f, i1 = l1 > 0.f ? 1.f / l1 : 0.f, nothing = -__int_as_float(0x7f800000);
      const int queries = integer(w, w_queries), valueDim = integer(w, w_valueDim);
      const int below = LISTS ? x.last : queries;
      const bool there0 = row < below, there1 = row + 8 < below;
      const float lse0 = live0 && l0 > 0.f ? (m0 * scale + log2f(l0)) * LN2 : nothing, lse1 = live1 && l1 > 0.f ? (m1 * scale + log2f(l1)) * LN2 : nothing;
      if constexpr (PARTS) {
        const i64 at = ((i64)x.part * integer(w, w_rows) + x.b * integer(w, w_heads) + x.h) * queries + row;
        float* const y = pointer<float>(w, w_y) + at * valueDim + 2 * q;
        #pragma unroll
        for (int i = 0; i < VALUE_COLUMNS / 8; i++) {
          if (8 * i >= valueDim) break;
          if (there0) *(float2*)(y + 8 * i) = live0 ? make_float2(o[4 * i] * i0, o[4 * i + 1] * i0) : make_float2(0.f, 0.f);
          if (there1) *(float2*)(y + 8 * valueDim + 8 * i) = live1 ? make_float2(o[4 * i + 2] * i1, o[4 * i + 3] * i1) : make_float2(0.f, 0.f);
        }
        if (q == 0) {
          float* const lse = pointer<float>(w, w_lse) + at;
          if (there0) lse[0] = lse0;
          if (there1) lse[8] = lse1;
        }
      } else if constexpr (BOXES) {
        const u32 out = at_out + (group * 4 + in_group) * OUT_BYTES, to = out + (lane & 15) * 128;
        if (lane == 0) stores_read();
        __syncwarp();
        #pragma unroll
        for (int k = 0; k < VALUE_COLUMNS / 16; k++) {
          u32 r[4];
          #pragma unroll
          for (int e = 0; e < 4; e++) {
            const int n = 8 * k + 2 * e;
            r[e] = (e & 1 ? live1 : live0) ? pair(o[n] * (e & 1 ? i1 : i0), o[n + 1] * (e & 1 ? i1 : i0)) : 0;
          }
          store_fragment(to + (k >> 2) * 2048 + ((((k & 3) * 2 + (lane >> 4)) ^ (lane & 7)) << 4), r[0], r[1], r[2], r[3]);
        }
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncwarp();
        const int from = top + in_group * 16;
        if (lane == 0 && from < queries) {
          #pragma unroll
          for (int p = 0; p < PANELS; p++)
            if (p * 64 < valueDim) store_box(&w.word[w_yMap], out + p * 2048, p * 64, from, x.h, x.b);
          stores_commit();
        }
      } else {
        const i64 stride = wide(w, w_yTime);
        E* const y = pointer<E>(w, w_y) + x.b * wide(w, w_yBatch) + x.h * wide(w, w_yHead) + row * stride;
        #pragma unroll
        for (int i = 0; i < HEAD / 32; i++) {
          u32 a[4], b[4];
          #pragma unroll
          for (int e = 0; e < 4; e++) {
            const int n = 4 * (4 * i + e);
            a[e] = live0 ? pair(o[n] * i0, o[n + 1] * i0) : 0;
            b[e] = live1 ? pair(o[n + 2] * i1, o[n + 3] * i1) : 0;
          }
          const uint4 ra = quad_transpose(a[0], a[1], a[2], a[3], q), rb = quad_transpose(b[0], b[1], b[2], b[3], q);
          const int column = (4 * i + q) * 8;
          if (there0 && column < valueDim) *(uint4*)(y + column) = ra;
          if (there1 && column < valueDim) *(uint4*)(y + 8 * stride + column) = rb;
        }
      }
      if (!PARTS && q == 0) {
        const i64 each = wide(w, w_lseTime);
        float* const lse = pointer<float>(w, w_lse) + x.b * wide(w, w_lseBatch) + x.h * wide(w, w_lseHead) + row * each;
        if (there0) lse[0] = lse0;
        if (there1) lse[8 * each] = lse1;
      }
    }
  }
#endif
}
