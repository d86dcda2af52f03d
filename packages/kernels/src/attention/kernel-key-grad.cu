// dk and dv: owns 64 keys, walks the queries that see them, for each query head that shares them. Everything is transposed.

extern "C" __global__ void __launch_bounds__(THREADS) attention_key_grad(const __grid_constant__ Args w) {
  extern __shared__ __align__(16) u8 memory[];
  E* const k_tile = (E*)memory;
  E* const v_tile = k_tile + OWN * K_ROW;
  E* const q_tiles = v_tile + OWN * V_ROW;
  E* const g_tiles = q_tiles + STAGES * BLOCK * K_ROW;
  float* const rows = (float*)(g_tiles + STAGES * BLOCK * V_ROW);
  const Lane lane;
  const int queries = integer(w, w_queries), keys = integer(w, w_keys), heads = integer(w, w_heads), group = integer(w, w_group);
  const int keyDim = integer(w, w_keyDim), valueDim = integer(w, w_valueDim), keyHeads = heads / group;
  int tile, row;
  place(w, Owned::tiles(w, keys, w_blockKeys), false, tile, row);
  const int b = row / keyHeads, hk = row % keyHeads;
  const Sight sight = sight_of(w, b);
  const Owned owned(w, tile, keys, w_blockKeys);
  const int lowest = owned.first + lane.own, highest = lowest + MT * 16 - 1;
  float dk[MT][K8][4], dv[MT][V8][4], factor[MT][2], once[MT][2];
  clear(dk);
  clear(dv);
  #pragma unroll
  for (int a = 0; a < MT; a++) {
    factor[a][0] = factor[a][1] = number(w, w_scale);
    once[a][0] = once[a][1] = 1.f;
  }

  QueryWalk walk(w, sight, owned, hk * group, group);
  auto fetch = [&](const Step& s, int stage) {
    load<BLOCK, KEY_DIM>(q_tiles + stage * BLOCK * K_ROW, rows_of(w, w_q, w_qBatch, b, s.head, keyDim), s.first, s.end);
    load<BLOCK, VALUE_DIM>(g_tiles + stage * BLOCK * V_ROW, rows_of(w, w_dy, w_dyBatch, b, s.head, valueDim), s.first, s.end);
    for (int x = threadIdx.x; x < BLOCK; x += THREADS) {
      const i64 at = ((i64)b * heads + s.head) * queries + s.first + x;
      const bool there = s.first + x < s.end;
      rows[stage * 2 * BLOCK + x] = there ? pointer<const float>(w, w_lse)[at] * LOG2E : 0.f;
      rows[stage * 2 * BLOCK + BLOCK + x] = there ? pointer<const float>(w, w_delta)[at] : 0.f;
    }
  };
  auto work = [&](const Step& step, int stage) {
    const E* const qt = q_tiles + stage * BLOCK * K_ROW;
    const E* const gt = g_tiles + stage * BLOCK * V_ROW;
    const float* const lse = rows + stage * 2 * BLOCK;
    const float* const delta = lse + BLOCK;
    const Scoring scoring = scoring_of(w, b, step.head);
    float s[MT][N8][4], dp[MT][N8][4];
    clear(s);
    clear(dp);
    multiply_rows<KEY_DIM>(s, k_tile, qt, lane.own);
    multiply_rows<VALUE_DIM>(dp, v_tile, gt, lane.own);
    const int bottom = step.first + BLOCK - 1;
    const bool inside = bottom < step.end && lowest >= sight.from(bottom) && highest < min(sight.to(step.first), owned.end);
    #pragma unroll
    for (int n = 0; n < N8; n++)
      #pragma unroll
      for (int e = 0; e < 2; e++) {
        const int at = n * 8 + lane.t2 + e, i = step.first + at, from = sight.from(i), to = i < step.end ? sight.to(i) : 0;
        const float l = lse[at], d = delta[at];
        #pragma unroll
        for (int a = 0; a < MT; a++)
          #pragma unroll
          for (int half = 0; half < 2; half++) {
            const int key = lowest + a * 16 + lane.g + 8 * half;
            float bend = 1.f, &x = s[a][n][2 * half + e], &y = dp[a][n][2 * half + e];
            x = scoring(x, i + sight.offset - key, bend);
            x = exp2_(x - l);
            if (!inside && (key < from || key >= to)) x = 0.f;
            y = x * (y - d) * bend;
          }
      }
    add_weighted<VALUE_DIM>(dv, s, gt);
    add_weighted<KEY_DIM>(dk, dp, qt);
  };
  const int end = min(owned.end, sight.keys);
  load<OWN, KEY_DIM>(k_tile, rows_of(w, w_k, w_kBatch, b, hk, keyDim), owned.first, end);
  load<OWN, VALUE_DIM>(v_tile, rows_of(w, w_v, w_vBatch, b, hk, valueDim), owned.first, end);
  stream(walk, fetch, work);
  const i64 at = ((i64)b * keys + owned.first) * keyHeads + hk;
  write_rows(pointer<E>(w, w_dk) + at * keyDim, (i64)keyHeads * keyDim, keyDim, dk, factor, lane, owned.first, owned.end);
  write_rows(pointer<E>(w, w_dv) + at * valueDim, (i64)keyHeads * valueDim, valueDim, dv, once, lane, owned.first, owned.end);
}
