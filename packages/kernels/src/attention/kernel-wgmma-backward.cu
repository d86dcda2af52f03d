// Gradient of attention on sm_90. A block owns 128 keys, 64 a warpgroup, and walks the queries that see them, with everything transposed:
// S^T = K Q^T, dP^T = V dO^T, dV += P^T dO, dK += dS^T Q take their left operand from registers; dQ = dS K reads dS^T from shared
// memory and is added to a scratch in the order in which fragments hold it, so that every warp adds to 512 neighbouring bytes. The
// scores of a step are multiplied in the step before, so that the tensor cores have work while sums leave for the scratch.
//
// Where tiles are few, blocks take parts of the steps of a tile, and the parts of dK and dV are summed later.
//
// With LISTS a walk finds the blocks of queries that see a tile (kernel-walks.cu), and each tells beside its queries where they lie.
//
// Defined before: QUERIES (64, at a time), DQ_COLUMNS (of dQ, that a side multiplies; those beyond KEY_COLUMNS are zeros and go nowhere),
// HELD (whether fragments of K and V stay in registers, which needs HEAD 64), ORDERED (whether
// the blocks that add to a query's dQ wait for each other, so that sums keep an order), ALONE (whether there is one tile of keys, whose dQ
// are final), WHOLE (whether a block walks through all tiles of keys of its heads, so that no other adds to its dQ: the first tile that sees a
// query stores, the last one brings dQ into place), PARTS (whether tiles come in parts), KV_STAGES (tiles of keys in flight), LENGTHS, COPY_REGISTERS
// and PRODUCT_REGISTERS (of a thread of the warpgroup that copies, and of the two that multiply).

// Descriptors made from uniform registers are faster with K and V in registers, and slower without (measured).
__device__ __forceinline__ int maybe_uniform(int x) { if constexpr (HELD) return uniform(x); else return x; }
__device__ __forceinline__ u64 operand(u32 base16, u32 offset, u32 leading) {
  if constexpr (HELD) return descriptor(base16, offset, leading);
  else return (u64)((((base16 << 4) + offset) & 0x3FFFF) >> 4) | ((u64)(leading >> 4) << 16) | ((u64)(1024 >> 4) << 32) | (1ull << 62);
}
__device__ __forceinline__ float2 load_two(u32 at) { float2 v; asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(at) : "memory"); return v; }
__device__ __forceinline__ void add_four(float* p, float a, float b, float c, float d) {
  asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1,%2,%3,%4};" :: "l"(p), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
}
// Sums of a block's own: what a thread writes here, the same thread reads.
__device__ __forceinline__ void store_four(float* p, float a, float b, float c, float d) {
  asm volatile("st.relaxed.gpu.global.v4.f32 [%0], {%1,%2,%3,%4};" :: "l"(p), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
}
__device__ __forceinline__ void load_four(const float* p, float* d) {
  asm volatile("ld.relaxed.gpu.global.v4.f32 {%0,%1,%2,%3}, [%4];" : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3]) : "l"(p) : "memory");
}
__device__ __forceinline__ int look(const int* p) { int x; asm volatile("ld.relaxed.gpu.global.b32 %0, [%1];" : "=r"(x) : "l"(p) : "memory"); return x; }
__device__ __forceinline__ float low_half(u32 x) { E e = {(u16)x}; return get(e); }
__device__ __forceinline__ float high_half(u32 x) { E e = {(u16)(x >> 16)}; return get(e); }
extern "C" __global__ void __launch_bounds__(384, 1) attention_grad_wgmma(const __grid_constant__ Args w) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) u8 memory[];
  const u32 base = (shared_address(memory) + 1023) & ~1023u;
  const u32 at_k = base, at_v = at_k + KV_STAGES * KV_BYTES, at_q = at_v + KV_STAGES * KV_BYTES, at_dy = at_q + STAGES * Q_BYTES, at_ds = at_dy + STAGES * Q_BYTES;
  const u32 at_out = at_ds + 2 * DS_BYTES, at_lse = at_out + 8 * OUT_BYTES, at_delta = at_lse + STAGES * QUERIES * 4, barriers = at_delta + STAGES * QUERIES * 4;
  const u32 kv_full = barriers, kv_free = kv_full + 8 * KV_STAGES, tile_full = kv_free + 8 * KV_STAGES, q_full = tile_full + 8 * KV_STAGES, q_free = q_full + 8 * STAGES, dy_full = q_free + 8 * STAGES,
    dy_free = dy_full + 8 * STAGES, next_tile = (dy_free + 8 * STAGES + 15) & ~15u, q_place = next_tile + KV_STAGES * TILE_BYTES;
  const int thread = threadIdx.x, side = maybe_uniform(thread >> 7);
  const int share = integer(w, w_group), heads = integer(w, w_heads), blocks = (integer(w, w_queries) + QUERIES - 1) / QUERIES;
  if (thread == 0) {
    for (int i = 0; i < KV_STAGES; i++) {
      barrier_make(tile_full + 8 * i, 1);
      barrier_make(kv_full + 8 * i, 1);
      barrier_make(kv_free + 8 * i, 9);
    }
    for (int i = 0; i < STAGES; i++) {
      barrier_make(q_full + 8 * i, 1);
      barrier_make(dy_full + 8 * i, 1);
      barrier_make(q_free + 8 * i, 8);
      barrier_make(dy_free + 8 * i, 8);
    }
    barriers_visible();
  }
  __syncthreads();

  if (side == 2) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(COPY_REGISTERS));
    int s = 0, kvs = 0;
    u32 parity = 1, kv_parity = 1;
    // What is needed first arrives first: everything at once would arrive when all of it has.
    bool first = true;
    if (thread == 256) {
      // Hands out tiles; brings K, V, Q and the log-sum-exp.
      map_wanted(&w.word[w_qMap]);
      map_wanted(&w.word[w_kMap]);
      map_wanted(&w.word[w_vMap]);
      int* const counter = pointer<int>(w, w_counters);
      const int tiles = integer(w, w_tiles);
      // Tiles that follow each other in a block.
      const int run = WHOLE ? (integer(w, w_keys) + KEYS - 1) / KEYS : 1;
      int t = blockIdx.x * run;
      for (;;) {
        const u32 full = kv_full + 8 * kvs;
        barrier_wait(kv_free + 8 * kvs, kv_parity);
        Tile x;
        x.b = -1;
        if (t < tiles) x = tile_of(w, t);
#if LISTS
        Walk walk(w, x.b < 0 ? tile_of(w, 0) : x, share);
        x.end = walk.left;
#endif
        store_tile(next_tile + TILE_BYTES * kvs, x);
        barrier_arrive(tile_full + 8 * kvs);
        if (x.b < 0) { barrier_arrive(full); break; }
        barrier_expect(full, 2 * KV_BYTES);
        copy_rows<KEYS>(at_k + kvs * KV_BYTES, &w.word[w_kMap], full, x.k0, x.hk, x.b);
        copy_rows<KEYS>(at_v + kvs * KV_BYTES, &w.word[w_vMap], full, x.k0, x.hk, x.b);
        if (++kvs == KV_STAGES) { kvs = 0; kv_parity ^= 1; }
        if (WHOLE && x.k0 + KEYS < integer(w, w_keys)) t++;
        else t = (atomicAdd(counter, 1) + gridDim.x) * run;
#if !LISTS
        Walk walk(w, x, share);
#endif
        #pragma unroll 1
        while (walk.left > 0) {
          const int m = walk.block(), h = walk.at_head();
          barrier_wait(q_free + 8 * s, parity);
          walk.next();
#if LISTS
          asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %3};" :: "r"(q_place + 16 * s), "r"(m * QUERIES), "r"(h), "r"(walk.left) : "memory");
#endif
          barrier_expect(q_full + 8 * s, Q_BYTES + QUERIES * 4);
          copy_rows<QUERIES>(at_q + s * Q_BYTES, &w.word[w_qMap], q_full + 8 * s, m * QUERIES, h, x.b);
          copy_bytes(at_lse + s * QUERIES * 4, pointer<const float>(w, w_rowLse) + (i64)((x.b * heads + h) * blocks + m) * QUERIES, QUERIES * 4, q_full + 8 * s);
          if (first) barrier_wait(kv_full, 0);
          first = false;
          if (++s == STAGES) { s = 0; parity ^= 1; }
        }
      }
      // The last block leaves the counters as it found them.
      if (atomicAdd(counter + 1, 1) == (int)gridDim.x - 1) { counter[0] = 0; counter[1] = 0; }
    } else if (thread == 288) {
      // Brings dO and delta.
      map_wanted(&w.word[w_dyMap]);
      kv_parity = 0;
      for (;;) {
        barrier_wait(tile_full + 8 * kvs, kv_parity);
        const Tile x = load_tile(next_tile + TILE_BYTES * kvs);
        if (x.b < 0) break;
        barrier_arrive(kv_free + 8 * kvs);
        if (++kvs == KV_STAGES) { kvs = 0; kv_parity ^= 1; }
        #pragma unroll 1
        for (Walk walk(w, x, share); walk.left > 0; walk.next()) {
          const int m = walk.block(), h = walk.at_head();
          barrier_wait(dy_free + 8 * s, parity);
          barrier_expect(dy_full + 8 * s, Q_BYTES + QUERIES * 4);
          copy_rows<QUERIES>(at_dy + s * Q_BYTES, &w.word[w_dyMap], dy_full + 8 * s, m * QUERIES, h, x.b);
          copy_bytes(at_delta + s * QUERIES * 4, pointer<const float>(w, w_rowDelta) + (i64)((x.b * heads + h) * blocks + m) * QUERIES, QUERIES * 4, dy_full + 8 * s);
          if (first) barrier_wait(dy_full, 0);
          first = false;
          if (++s == STAGES) { s = 0; parity ^= 1; }
        }
      }
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(PRODUCT_REGISTERS));
    const int lane = thread & 31, in_side = (thread >> 5) & 3, q = lane & 3;
    const float scale = number(w, w_scoreScale);
    float s[QUERIES / 2], dp[QUERIES / 2], dk[KEY_COLUMNS / 2], dv[VALUE_COLUMNS / 2], dq[DQ_COLUMNS / 2];
    u32 p[QUERIES / 4], ds[QUERIES / 4], k_held[HELD ? KEY_COLUMNS / 4 : 1], v_held[HELD ? VALUE_COLUMNS / 4 : 1];
    int stage = 0, kvs = 0;
    u32 parity = 0, kv_parity = 0, buffer = 0;
    const int own = side * 64 + in_side * 16;
    // Where this lane's rows go in dS^T: key row, and what its chunks are swizzled by.
    const u32 ds_row = own + (lane & 7) + ((lane >> 3) & 1) * 8, ds_swizzle = lane & 7;
    for (;;) {
      barrier_wait(kv_full + 8 * kvs, kv_parity);
      Tile x = load_tile(next_tile + TILE_BYTES * kvs);
      x.b = maybe_uniform(x.b);
      if (x.b < 0) {
        if (!LISTS && lane == 0) stores_read();
        break;
      }
      x.k0 = maybe_uniform(x.k0);
      x.first = maybe_uniform(x.first);
      x.last = maybe_uniform(x.last);
      x.begin = maybe_uniform(x.begin);
      x.end = maybe_uniform(x.end);
      const u32 k_tile = at_k + kvs * KV_BYTES, v_tile = at_v + kvs * KV_BYTES, used_up = kv_free + 8 * kvs;
      const u32 k_rows = (k_tile + side * 64 * 128) >> 4, v_rows = (v_tile + side * 64 * 128) >> 4;
      if (++kvs == KV_STAGES) { kvs = 0; kv_parity ^= 1; }
      const Sight sight(w, x.b);
      if constexpr (LENGTHS) {
        // What lies behind a sequence may be anything, and weights of zero would not hide it.
        if (x.k0 + KEYS > sight.keys) {
          const int from = max(0, sight.keys - x.k0);
          clear_rows<KEYS>(k_tile, from, 2 + side);
          clear_rows<KEYS>(v_tile, from, 2 + side);
        }
      }
      #pragma unroll
      for (int i = 0; i < HEAD / 2; i++) {
        if (2 * i < VALUE_COLUMNS) dv[i] = 0.f;
        if (2 * i < KEY_COLUMNS) dk[i] = 0.f;
      }
      if constexpr (HELD) {
        #pragma unroll
        for (int k = 0; k < HEAD / 16; k++) {
          const u32 row = own + (lane & 15), offset = (k >> 2) * KEYS * 128 + row * 128 + ((((k & 3) * 2 + (lane >> 4)) ^ (row & 7)) << 4);
          if (16 * k < KEY_COLUMNS) load_fragment(k_held + 4 * k, k_tile + offset);
          if (16 * k < VALUE_COLUMNS) load_fragment(v_held + 4 * k, v_tile + offset);
        }
      }
      // Each edge of the mask on its own. `lower` and `upper`: the first queries of blocks that need it; `from`, `to`: the first and the last query of a key.
      const int key0 = x.k0 + side * 64, key = x.k0 + own + (lane >> 2), never = 1 << 30;
      const int key_end = LISTS ? min(sight.keys, x.last) : sight.keys;
      const int lower = key0 + 64 > key_end ? never : key0 + 63 - sight.offset - sight.right, upper = key0 - sight.offset + sight.left - QUERIES + 1;
      const int from = key - sight.offset - sight.right - 2 * q, from0 = key < key_end ? from : never, from1 = key + 8 < key_end ? from + 8 : never;
      const int to0 = key - sight.offset + sight.left - 2 * q;
#if LISTS
      // Where the next step lies, and whether one follows it.
      int query0 = 0, head = 0, further = 0, next_query = 0, next_head = 0, next_further = 0;
      const i64 first_block = 0;
      float* sum = nullptr;
      auto sum_at = [&](int h, int query) {
        return pointer<float>(w, w_scratch) + (i64)((x.b * heads + h) * blocks + query / QUERIES) * SUMS + side * (QUERIES * DQ_COLUMNS) + (thread & 127) * 4;
      };
#else
      // Unordered sums spread over the queries.
      constexpr int ahead = ORDERED ? -1 : 1;
      const int steps = x.last - x.first, start = (ORDERED ? x.last - 1 : x.first) * QUERIES, before = PARTS && steps > 0 ? x.begin / steps : 0;
      const int skipped = x.begin - before * steps;
      int query0 = start + ahead * skipped * QUERIES, here = steps - skipped, head = x.head + before;
      const int first_block = (WHOLE ? (int)blockIdx.x * share : (int)x.b * heads + head) * blocks + query0 / QUERIES;
      float* sum = pointer<float>(w, w_scratch) + (i64)first_block * SUMS + side * (QUERIES * DQ_COLUMNS) + (thread & 127) * 4;
#endif
      // Key tiles add to a block in order, warp by warp, since the same lanes hold the same sums in each.
      int* turn_at = pointer<int>(w, w_turns) + (i64)first_block * 8 + side * 4 + in_side;
      int* passed = nullptr;
      // Whether this side has columns `i` to `i` + 7 of its own to add.
      auto summed = [&](int i) { return DQ_COLUMNS + 8 * i < KEY_COLUMNS || (8 * i < KEY_COLUMNS && side == 0); };
      auto pass = [&]() {
        if (passed) {
          __syncwarp();
          if (lane == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" :: "l"(passed) : "memory");
        }
      };
      auto put_queries = [&](const float (&d)[DQ_COLUMNS / 2], int at, int h) {
        const float out_scale = number(w, w_scale);
        // Narrow heads: both sides fill one panel.
        const u32 panel = at_out + (HEAD == 128 ? side * 4 + in_side : in_side) * OUT_BYTES;
        #pragma unroll
        for (int k = 0; k < DQ_COLUMNS / 16; k++) {
          const int n = 8 * k, chunk = (HEAD == 128 ? 0 : DQ_COLUMNS / 8 * side) + 2 * k + (lane >> 4);
          store_fragment(panel + (lane & 15) * 128 + ((chunk ^ (lane & 7)) << 4), pair(d[n] * out_scale, d[n + 1] * out_scale), pair(d[n + 2] * out_scale, d[n + 3] * out_scale),
            pair(d[n + 4] * out_scale, d[n + 5] * out_scale), pair(d[n + 6] * out_scale, d[n + 7] * out_scale));
        }
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        if constexpr (HEAD == 128) __syncwarp();
        else meet(4 + in_side, 64);
        const int row = at + in_side * 16, column = HEAD == 128 ? 64 * side : 0;
        if (lane == 0 && (HEAD == 128 || side == 0) && row < integer(w, w_queries) && column < integer(w, w_keyDim)) {
          store_box(&w.word[w_dqMap], panel, column, row, h, x.b);
          stores_commit();
        }
      };
      // The last step multiplies once for nothing: a branch around the product would cost more.
      auto next_scores = [&](bool there, int following) {
        if (there) {
          barrier_wait(q_full + 8 * stage, parity);
#if LISTS
          int unused;
          asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(next_query), "=r"(next_head), "=r"(next_further), "=r"(unused) : "r"(q_place + 16 * stage) : "memory");
          next_query = uniform(next_query);
          next_head = uniform(next_head);
          next_further = uniform(next_further);
          following = next_query;
#endif
        }
        if constexpr (LENGTHS) {
          if (there && following + QUERIES > sight.queries) clear_rows<QUERIES>(at_q + stage * Q_BYTES, max(0, sight.queries - following), 2 + side);
        }
        const u32 q_rows = maybe_uniform((at_q + stage * Q_BYTES) >> 4);
        pin(s);
        products_begin();
        #pragma unroll
        for (int k = 0; k < KEY_COLUMNS / 16; k++) {
          const u64 right = operand(q_rows, columns16<QUERIES>(k), 16);
          if constexpr (HELD) Product<QUERIES>::template registers<0>(s, k_held[4 * k], k_held[4 * k + 1], k_held[4 * k + 2], k_held[4 * k + 3], right, k > 0);
          else Product<QUERIES>::template shared<0, 0>(s, operand(k_rows, columns16<KEYS>(k), 16), right, k > 0);
        }
        products_commit();
      };
      auto step = [&](bool more) {
        // Whose turn it is, is asked long before it must be known: this tile is number `mine` of those that see the block.
        int mine = 0, turn = 0;
        if constexpr (ORDERED) {
          mine = x.k0 / KEYS - sight.from(query0) / KEYS;
          turn = look(turn_at);
        }
        // Whether other tiles saw these queries before, or see them later.
        [[maybe_unused]] bool begun = false, open = false;
        if constexpr (WHOLE) {
          begun = x.k0 > sight.from(query0);
          open = x.k0 + KEYS < sight.to(query0 + QUERIES - 1);
        }
        const u32 q_rows = maybe_uniform((at_q + stage * Q_BYTES) >> 4), dy_rows = maybe_uniform((at_dy + stage * Q_BYTES) >> 4);
        barrier_wait(dy_full + 8 * stage, parity);
        if constexpr (LENGTHS) {
          if (query0 + QUERIES > sight.queries) clear_rows<QUERIES>(at_dy + stage * Q_BYTES, max(0, sight.queries - query0), 2 + side);
        }
        pin(dp);
        products_begin();
        #pragma unroll
        for (int k = 0; k < VALUE_COLUMNS / 16; k++) {
          const u64 right = operand(dy_rows, columns16<QUERIES>(k), 16);
          if constexpr (HELD) Product<QUERIES>::template registers<0>(dp, v_held[4 * k], v_held[4 * k + 1], v_held[4 * k + 2], v_held[4 * k + 3], right, k > 0);
          else Product<QUERIES>::template shared<0, 0>(dp, operand(v_rows, columns16<KEYS>(k), 16), right, k > 0);
        }
        products_commit();
        const float hidden = -__int_as_float(0x7f800000);
        if (query0 < lower) {
          const int a = from0 - query0, b = from1 - query0;
          #pragma unroll
          for (int i = 0; i < QUERIES / 8; i++) {
            if (8 * i < a) s[4 * i] = hidden;
            if (8 * i + 1 < a) s[4 * i + 1] = hidden;
            if (8 * i < b) s[4 * i + 2] = hidden;
            if (8 * i + 1 < b) s[4 * i + 3] = hidden;
          }
        }
        if (query0 > upper) {
          const int a = to0 - query0, b = a + 8;
          #pragma unroll
          for (int i = 0; i < QUERIES / 8; i++) {
            if (8 * i > a) s[4 * i] = hidden;
            if (8 * i + 1 > a) s[4 * i + 1] = hidden;
            if (8 * i > b) s[4 * i + 2] = hidden;
            if (8 * i + 1 > b) s[4 * i + 3] = hidden;
          }
        }
        #pragma unroll
        for (int i = 0; i < QUERIES / 8; i++) {
          const float2 l = load_two(at_lse + (stage * QUERIES + 8 * i + 2 * q) * 4);
          s[4 * i] = exp2_(__fmaf_rn(s[4 * i], scale, -l.x));
          s[4 * i + 1] = exp2_(__fmaf_rn(s[4 * i + 1], scale, -l.y));
          s[4 * i + 2] = exp2_(__fmaf_rn(s[4 * i + 2], scale, -l.x));
          s[4 * i + 3] = exp2_(__fmaf_rn(s[4 * i + 3], scale, -l.y));
          p[2 * i] = pair(s[4 * i], s[4 * i + 1]);
          p[2 * i + 1] = pair(s[4 * i + 2], s[4 * i + 3]);
        }
        pin(dv);
        pin(p);
        products_begin();
        #pragma unroll
        for (int k = 0; k < QUERIES / 16; k++)
          Product<VALUE_COLUMNS>::template registers<1>(dv, p[4 * k], p[4 * k + 1], p[4 * k + 2], p[4 * k + 3], operand(dy_rows, k * 2048, QUERIES * 128), 1);
        products_commit();
        products_wait<1>();
        pin(dp);
        #pragma unroll
        for (int i = 0; i < QUERIES / 8; i++) {
          const float2 d = load_two(at_delta + (stage * QUERIES + 8 * i + 2 * q) * 4);
          float p0 = s[4 * i], p1 = s[4 * i + 1], p2 = s[4 * i + 2], p3 = s[4 * i + 3];
          if constexpr (ROUNDED) {
            p0 = low_half(p[2 * i]);
            p1 = high_half(p[2 * i]);
            p2 = low_half(p[2 * i + 1]);
            p3 = high_half(p[2 * i + 1]);
          }
          ds[2 * i] = pair(p0 * (dp[4 * i] - d.x), p1 * (dp[4 * i + 1] - d.y));
          ds[2 * i + 1] = pair(p2 * (dp[4 * i + 2] - d.x), p3 * (dp[4 * i + 3] - d.y));
        }
        const u32 at = at_ds + buffer * DS_BYTES;
        #pragma unroll
        for (int k = 0; k < QUERIES / 16; k++)
          store_fragment(at + ds_row * 128 + ((((k & 3) * 2 + (lane >> 4)) ^ ds_swizzle) << 4), ds[4 * k], ds[4 * k + 1], ds[4 * k + 2], ds[4 * k + 3]);
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        // The dQ of the step before have left shared memory.
        if ((ALONE || WHOLE) && lane == 0) stores_read();
        meet(1, 256);
        // Each side multiplies half of the columns of dQ.
        const u32 ds_rows = maybe_uniform(at >> 4), k_columns = (k_tile + (HEAD == 128 ? side * KEYS * 128 : side * DQ_COLUMNS * 2)) >> 4;
        pin(dq);
        products_begin();
        #pragma unroll
        for (int k = 0; k < KEYS / 16; k++)
          Product<DQ_COLUMNS>::template shared<1, 1>(dq, operand(ds_rows, k * 2048, 1024), operand(k_columns, k * 2048, KEYS * 128), k > 0);
        products_commit();
        pin(dk);
        pin(ds);
        products_begin();
        #pragma unroll
        for (int k = 0; k < QUERIES / 16; k++)
          Product<KEY_COLUMNS>::template registers<1>(dk, ds[4 * k], ds[4 * k + 1], ds[4 * k + 2], ds[4 * k + 3], operand(q_rows, k * 2048, QUERIES * 128), 1);
        products_commit();
        // What the tiles before have summed arrives behind the products, where there are registers for it.
        [[maybe_unused]] float before[WHOLE ? DQ_COLUMNS / 2 : 1];
        [[maybe_unused]] auto load_sums = [&]() {
          if (begun && !open) {
            #pragma unroll
            for (int i = 0; i < DQ_COLUMNS / 8; i++)
              if (summed(i)) load_four(sum + i * 512, before + 4 * i);
          }
        };
        if constexpr (WHOLE && HELD) load_sums();
        const int used = stage;
#if LISTS
        const int following = 0;
#else
        const int following = here == 1 ? start : query0 + ahead * QUERIES;
#endif
        if (++stage == STAGES) { stage = 0; parity ^= 1; }
        buffer ^= 1;
        products_wait<2>();
        pin(dv);
        pin(p);
        if (lane == 0) barrier_arrive(dy_free + 8 * used);
        // Measured: where registers are short, sums that leave first cost less.
        if constexpr (HELD) next_scores(more, following);
        products_wait<HELD ? 2 : 1>();
        pin(dq);
        if constexpr (ORDERED) {
          // The sums of the step before have arrived by now: to wait for it costs least here.
          pass();
          while (turn != mine) turn = look(turn_at);
          passed = turn_at;
        }
        if constexpr (ALONE) put_queries(dq, query0, head);
        else if (WHOLE && !open) {
          if constexpr (WHOLE && !HELD) load_sums();
          if (begun) {
            #pragma unroll
            for (int i = 0; i < DQ_COLUMNS / 2; i++)
              if (summed(i / 4)) dq[i] += before[i];
          }
          put_queries(dq, query0, head);
        } else if (WHOLE && !begun) {
          #pragma unroll
          for (int i = 0; i < DQ_COLUMNS / 8; i++)
            if (summed(i)) store_four(sum + i * 512, dq[4 * i], dq[4 * i + 1], dq[4 * i + 2], dq[4 * i + 3]);
        } else {
          #pragma unroll
          for (int i = 0; i < DQ_COLUMNS / 8; i++)
            if (summed(i)) add_four(sum + i * 512, dq[4 * i], dq[4 * i + 1], dq[4 * i + 2], dq[4 * i + 3]);
        }
        if constexpr (!HELD) next_scores(more, following);
        products_wait<1>();
        pin(dk);
        pin(ds);
        if (lane == 0) barrier_arrive(q_free + 8 * used);
        products_wait<0>();
        pin(s);
      };
#if LISTS
      if (x.end > 0) {
        next_scores(true, 0);
        products_wait<0>();
        pin(s);
        do {
          query0 = next_query;
          head = next_head;
          further = next_further;
          sum = sum_at(head, query0);
          step(further != 0);
        } while (further != 0);
      }
#else
      int left = x.end - x.begin;
      if (left > 0) {
        next_scores(true, query0);
        products_wait<0>();
        pin(s);
      }
      for (; left > 0; left--) {
        step(left > 1);
        int by = ahead;
        query0 += ahead * QUERIES;
        if (--here == 0) {
          // To the next head of the group.
          here = steps;
          by += blocks - ahead * steps;
          query0 = start;
          head++;
        }
        sum += (i64)by * SUMS;
        if constexpr (ORDERED) turn_at += by * 8;
      }
#endif
      if constexpr (ORDERED) pass();
      if (lane == 0) barrier_arrive(used_up);
      const float out_scale = number(w, w_scale);
      const int keyHeads = integer(w, w_keyHeads), keyDim = integer(w, w_keyDim), valueDim = integer(w, w_valueDim);
      const int keys = integer(w, w_keys);
      const i64 at_row = ((i64)x.b * keys + key) * keyHeads + x.hk, below = 8 * (i64)keyHeads;
      const int below_keys = LISTS ? x.last : keys;
      const bool there0 = key < below_keys, there1 = key + 8 < below_keys;
      if constexpr (PARTS) {
        const i64 part_rows = wide(w, w_keyRows), at_part = x.part * part_rows + at_row;
        float* const dk_part = pointer<float>(w, w_dk) + at_part * keyDim + 2 * q;
        float* const dv_part = pointer<float>(w, w_dv) + at_part * valueDim + 2 * q;
        #pragma unroll
        for (int i = 0; i < HEAD / 8; i++) {
          const bool of_keys = 8 * i < KEY_COLUMNS && 8 * i < keyDim, of_values = 8 * i < VALUE_COLUMNS && 8 * i < valueDim;
          if (there0 && of_keys) *(float2*)(dk_part + 8 * i) = make_float2(dk[4 * i], dk[4 * i + 1]);
          if (there1 && of_keys) *(float2*)(dk_part + below * keyDim + 8 * i) = make_float2(dk[4 * i + 2], dk[4 * i + 3]);
          if (there0 && of_values) *(float2*)(dv_part + 8 * i) = make_float2(dv[4 * i], dv[4 * i + 1]);
          if (there1 && of_values) *(float2*)(dv_part + below * valueDim + 8 * i) = make_float2(dv[4 * i + 2], dv[4 * i + 3]);
        }
        continue;
      }
#if !LISTS
      const u32 out = at_out + (side * 4 + in_side) * OUT_BYTES;
      if (lane == 0) stores_read();
      __syncwarp();
      #pragma unroll
      for (int k = 0; k < HEAD / 16; k++) {
        const int n = 8 * k;
        const u32 at = out + (k >> 2) * 2048 + (lane & 15) * 128 + ((((k & 3) * 2 + (lane >> 4)) ^ (lane & 7)) << 4);
        if (16 * k < KEY_COLUMNS) store_fragment(at, pair(dk[n] * out_scale, dk[n + 1] * out_scale), pair(dk[n + 2] * out_scale, dk[n + 3] * out_scale),
          pair(dk[n + 4] * out_scale, dk[n + 5] * out_scale), pair(dk[n + 6] * out_scale, dk[n + 7] * out_scale));
        if (16 * k < VALUE_COLUMNS) store_fragment(at + PANELS * 2048, pair(dv[n], dv[n + 1]), pair(dv[n + 2], dv[n + 3]), pair(dv[n + 4], dv[n + 5]), pair(dv[n + 6], dv[n + 7]));
      }
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      __syncwarp();
      if (lane == 0 && x.k0 + own < keys) {
        #pragma unroll
        for (int p = 0; p < PANELS; p++) {
          if (p * 64 < keyDim) store_box(&w.word[w_dkMap], out + p * 2048, p * 64, x.k0 + own, x.hk, x.b);
          if (p * 64 < valueDim) store_box(&w.word[w_dvMap], out + (PANELS + p) * 2048, p * 64, x.k0 + own, x.hk, x.b);
        }
        stores_commit();
      }
      continue;
#else
      E* const dk_row = pointer<E>(w, w_dk) + at_row * keyDim;
      E* const dv_row = pointer<E>(w, w_dv) + at_row * valueDim;
      #pragma unroll
      for (int i = 0; i < HEAD / 32; i++) {
        u32 a[4], b[4], c[4], d[4];
        #pragma unroll
        for (int e = 0; e < 4; e++) {
          const int n = 4 * (4 * i + e);
          a[e] = pair(dk[n] * out_scale, dk[n + 1] * out_scale);
          b[e] = pair(dk[n + 2] * out_scale, dk[n + 3] * out_scale);
          c[e] = pair(dv[n], dv[n + 1]);
          d[e] = pair(dv[n + 2], dv[n + 3]);
        }
        const uint4 ra = quad_transpose(a[0], a[1], a[2], a[3], q), rb = quad_transpose(b[0], b[1], b[2], b[3], q);
        const uint4 rc = quad_transpose(c[0], c[1], c[2], c[3], q), rd = quad_transpose(d[0], d[1], d[2], d[3], q);
        const int column = (4 * i + q) * 8;
        if (there0 && column < keyDim) *(uint4*)(dk_row + column) = ra;
        if (there0 && column < valueDim) *(uint4*)(dv_row + column) = rc;
        if (there1 && column < keyDim) *(uint4*)(dk_row + below * keyDim + column) = rb;
        if (there1 && column < valueDim) *(uint4*)(dv_row + below * valueDim + column) = rd;
      }
#endif
    }
  }
#endif
}
