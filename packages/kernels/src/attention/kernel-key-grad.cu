// dk and dv: owns 64 keys, walks the queries that see them, for each query head that shares them. Everything is transposed.

extern "C" __global__ void __launch_bounds__(THREADS) attention_key_grad(const __grid_constant__ Args w) {
  extern __shared__ __align__(16) u8 memory[];
  E* const k_tile = (E*)memory;
  E* const v_tile = k_tile + OWN * K_ROW;
  E* const q_tiles = v_tile + OWN * V_ROW;
  E* const g_tiles = q_tiles + STAGES * BLOCK * K_ROW;
  float* const rows = (float*)(g_tiles + STAGES * BLOCK * V_ROW);
  const int lane = threadIdx.x & 31, g = lane >> 2, t2 = 2 * (lane & 3), own = (threadIdx.x >> 5) * MT * 16;
  const int queries = integer(w, w_queries), keys = integer(w, w_keys), heads = integer(w, w_heads), group = integer(w, w_group);
  const int keyDim = integer(w, w_keyDim), valueDim = integer(w, w_valueDim), keyHeads = heads / group;
  int tile, row;
  place(w, (keys + OWN - 1) / OWN, false, tile, row);
  const int b = row / keyHeads, hk = row % keyHeads, k0 = tile * OWN;
  const Sight sight = sight_of(w, b);
  const Rows k = rows_of(w, w_k, w_kBatch, b, hk, keyDim), v = rows_of(w, w_v, w_vBatch, b, hk, valueDim);
  // Query i sees key j where j - offset - right <= i <= j - offset + left.
  const int end = min(k0 + OWN, sight.keys);
  const int from = max(0, k0 - sight.offset - sight.right), to = k0 < end ? min(sight.queries, end - sight.offset + sight.left) : 0;
  const int first = from / BLOCK, count = max(0, (to + BLOCK - 1) / BLOCK - first), all = count * group;
  auto fetch = [&](int it) {
    const int h = hk * group + it / count, i0 = (first + it % count) * BLOCK, stage = STAGES == 2 ? it & 1 : 0;
    load<BLOCK, KEY_DIM>(q_tiles + stage * BLOCK * K_ROW, rows_of(w, w_q, w_qBatch, b, h, keyDim), i0, sight.queries);
    load<BLOCK, VALUE_DIM>(g_tiles + stage * BLOCK * V_ROW, rows_of(w, w_dy, w_dyBatch, b, h, valueDim), i0, sight.queries);
    for (int x = threadIdx.x; x < BLOCK; x += THREADS) {
      const i64 at = ((i64)b * heads + h) * queries + i0 + x;
      const bool there = i0 + x < queries;
      rows[stage * 2 * BLOCK + x] = there ? pointer<const float>(w, w_lse)[at] * LOG2E : 0.f;
      rows[stage * 2 * BLOCK + BLOCK + x] = there ? pointer<const float>(w, w_delta)[at] : 0.f;
    }
  };
  float dk[MT][K8][4], dv[MT][V8][4];
  clear(dk);
  clear(dv);
  if (all > 0) {
    load<OWN, KEY_DIM>(k_tile, k, k0, sight.keys);
    load<OWN, VALUE_DIM>(v_tile, v, k0, sight.keys);
    fetch(0);
    copies_commit();
  }
  for (int it = 0; it < all; it++) {
    if (STAGES == 2) {
      if (it + 1 < all) fetch(it + 1);
      copies_commit();
    }
    copies_wait<STAGES - 1>();
    __syncthreads();
    const int stage = STAGES == 2 ? it & 1 : 0, i0 = (first + it % count) * BLOCK;
    const E* const qt = q_tiles + stage * BLOCK * K_ROW;
    const E* const gt = g_tiles + stage * BLOCK * V_ROW;
    const float* const lse = rows + stage * 2 * BLOCK;
    const float* const delta = lse + BLOCK;
    const Scoring scoring = scoring_of(w, b, hk * group + it / count);
    float s[MT][N8][4], dp[MT][N8][4];
    clear(s);
    clear(dp);
    #pragma unroll
    for (int kk = 0; kk < KEY_DIM / KSTEP; kk++) {
      Left x[MT];
      #pragma unroll
      for (int a = 0; a < MT; a++) left_of_rows(x[a], k_tile, K_ROW, own + a * 16, kk * KSTEP);
      add_rows(s, x, qt, K_ROW, kk * KSTEP);
    }
    #pragma unroll
    for (int kk = 0; kk < VALUE_DIM / KSTEP; kk++) {
      Left x[MT];
      #pragma unroll
      for (int a = 0; a < MT; a++) left_of_rows(x[a], v_tile, V_ROW, own + a * 16, kk * KSTEP);
      add_rows(dp, x, gt, V_ROW, kk * KSTEP);
    }
    const int lowest = k0 + own, highest = lowest + MT * 16 - 1, bottom = i0 + BLOCK - 1;
    const bool inside = bottom < sight.queries && lowest >= sight.from(bottom) && highest < sight.to(i0);
    #pragma unroll
    for (int n = 0; n < N8; n++)
      #pragma unroll
      for (int e = 0; e < 2; e++) {
        const int i = i0 + n * 8 + t2 + e, from = sight.from(i), to = sight.to(i);
        const float l = lse[n * 8 + t2 + e], d = delta[n * 8 + t2 + e];
        #pragma unroll
        for (int a = 0; a < MT; a++)
          #pragma unroll
          for (int half = 0; half < 2; half++) {
            const int key = k0 + own + a * 16 + g + 8 * half;
            float bend = 1.f, &x = s[a][n][2 * half + e], &y = dp[a][n][2 * half + e];
            x = scoring(x, i + sight.offset - key, bend);
            x = exp2_(x - l);
            if (!inside && (key < from || key >= to)) x = 0.f;
            y = x * (y - d) * bend;
          }
      }
    #pragma unroll
    for (int kk = 0; kk < BLOCK / KSTEP; kk++) {
      Left x[MT];
      #pragma unroll
      for (int a = 0; a < MT; a++) left_of_sums(x[a], s[a], kk);
      add_columns(dv, x, gt, V_ROW, kk * KSTEP);
      #pragma unroll
      for (int a = 0; a < MT; a++) left_of_sums(x[a], dp[a], kk);
      add_columns(dk, x, qt, K_ROW, kk * KSTEP);
    }
    __syncthreads();
    if (STAGES == 1 && it + 1 < all) {
      fetch(it + 1);
      copies_commit();
    }
  }
  E* const dkOut = pointer<E>(w, w_dk);
  E* const dvOut = pointer<E>(w, w_dv);
  const float scale = number(w, w_scale);
  const bool kPairs = ((u64)dkOut & 7) == 0 && keyDim % 2 == 0, vPairs = ((u64)dvOut & 7) == 0 && valueDim % 2 == 0;
  #pragma unroll
  for (int a = 0; a < MT; a++)
    #pragma unroll
    for (int half = 0; half < 2; half++) {
      const int j = k0 + own + a * 16 + g + 8 * half;
      if (j >= keys) continue;
      const i64 at = (i64)(b * (i64)keys + j) * keyHeads + hk;
      #pragma unroll
      for (int n = 0; n < K8; n++) put_two(dkOut + at * keyDim, n * 8 + t2, keyDim, kPairs, dk[a][n][2 * half] * scale, dk[a][n][2 * half + 1] * scale);
      #pragma unroll
      for (int n = 0; n < V8; n++) put_two(dvOut + at * valueDim, n * 8 + t2, valueDim, vPairs, dv[a][n][2 * half], dv[a][n][2 * half + 1]);
    }
}
