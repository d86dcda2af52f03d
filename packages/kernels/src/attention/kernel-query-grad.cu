// dq: owns 64 queries, walks the keys they see. With kernel-key-grad.cu scores are computed twice, but sums keep a fixed order and
// need no atomic operation.

extern "C" __global__ void __launch_bounds__(THREADS) attention_query_grad(const __grid_constant__ Args w) {
  extern __shared__ __align__(16) u8 memory[];
  E* const q_tile = (E*)memory;
  E* const g_tile = q_tile + OWN * K_ROW;
  E* const k_tiles = g_tile + OWN * V_ROW;
  E* const v_tiles = k_tiles + STAGES * BLOCK * K_ROW;
  const int lane = threadIdx.x & 31, g = lane >> 2, t2 = 2 * (lane & 3), own = (threadIdx.x >> 5) * MT * 16;
  const int queries = integer(w, w_queries), heads = integer(w, w_heads), keyDim = integer(w, w_keyDim), valueDim = integer(w, w_valueDim);
  int tile, row;
  place(w, (queries + OWN - 1) / OWN, true, tile, row);
  const int b = row / heads, h = row % heads, hk = h / integer(w, w_group), q0 = tile * OWN;
  const Sight sight = sight_of(w, b);
  const Scoring scoring = scoring_of(w, b, h);
  const Rows q = rows_of(w, w_q, w_qBatch, b, h, keyDim), k = rows_of(w, w_k, w_kBatch, b, hk, keyDim), v = rows_of(w, w_v, w_vBatch, b, hk, valueDim);
  const Rows dy = rows_of(w, w_dy, w_dyBatch, b, h, valueDim);
  const int end = min(q0 + OWN, sight.queries);
  const int first = sight.from(q0) / BLOCK, last = q0 < end ? (sight.to(end - 1) + BLOCK - 1) / BLOCK : 0;
  auto fetch = [&](int j) {
    const int stage = STAGES == 2 ? j & 1 : 0;
    load<BLOCK, KEY_DIM>(k_tiles + stage * BLOCK * K_ROW, k, j * BLOCK, sight.keys);
    load<BLOCK, VALUE_DIM>(v_tiles + stage * BLOCK * V_ROW, v, j * BLOCK, sight.keys);
  };
  float dq[MT][K8][4], lse[MT][2], delta[MT][2];
  clear(dq);
  #pragma unroll
  for (int a = 0; a < MT; a++)
    #pragma unroll
    for (int half = 0; half < 2; half++) {
      const int i = q0 + own + a * 16 + g + 8 * half;
      lse[a][half] = i < queries ? pointer<const float>(w, w_lse)[(i64)row * queries + i] * LOG2E : 0.f;
      delta[a][half] = i < queries ? pointer<const float>(w, w_delta)[(i64)row * queries + i] : 0.f;
    }
  if (first < last) {
    load<OWN, KEY_DIM>(q_tile, q, q0, sight.queries);
    load<OWN, VALUE_DIM>(g_tile, dy, q0, sight.queries);
    fetch(last - 1);
    copies_commit();
  }
  for (int j = last - 1; j >= first; j--) {
    if (STAGES == 2) {
      if (j > first) fetch(j - 1);
      copies_commit();
    }
    copies_wait<STAGES - 1>();
    __syncthreads();
    const int stage = STAGES == 2 ? j & 1 : 0;
    const E* const kt = k_tiles + stage * BLOCK * K_ROW;
    const E* const vt = v_tiles + stage * BLOCK * V_ROW;
    float s[MT][N8][4], dp[MT][N8][4];
    clear(s);
    clear(dp);
    #pragma unroll
    for (int kk = 0; kk < KEY_DIM / KSTEP; kk++) {
      Left x[MT];
      #pragma unroll
      for (int a = 0; a < MT; a++) left_of_rows(x[a], q_tile, K_ROW, own + a * 16, kk * KSTEP);
      add_rows(s, x, kt, K_ROW, kk * KSTEP);
    }
    #pragma unroll
    for (int kk = 0; kk < VALUE_DIM / KSTEP; kk++) {
      Left x[MT];
      #pragma unroll
      for (int a = 0; a < MT; a++) left_of_rows(x[a], g_tile, V_ROW, own + a * 16, kk * KSTEP);
      add_rows(dp, x, vt, V_ROW, kk * KSTEP);
    }
    const int top = q0 + own, bottom = top + MT * 16 - 1;
    const bool inside = bottom < sight.queries && j * BLOCK >= sight.from(bottom) && (j + 1) * BLOCK <= sight.to(top);
    #pragma unroll
    for (int a = 0; a < MT; a++)
      #pragma unroll
      for (int e = 0; e < 4; e++) {
        const int half = e >> 1, i = q0 + own + a * 16 + g + 8 * half, from = sight.from(i), to = sight.to(i);
        #pragma unroll
        for (int n = 0; n < N8; n++) {
          const int key = j * BLOCK + n * 8 + t2 + (e & 1);
          float bend = 1.f;
          const float x = scoring(s[a][n][e], i + sight.offset - key, bend);
          s[a][n][e] = exp2_(x - lse[a][half]) * (dp[a][n][e] - delta[a][half]) * bend;
          if (!inside && (key < from || key >= to)) s[a][n][e] = 0.f;
        }
      }
    #pragma unroll
    for (int kk = 0; kk < BLOCK / KSTEP; kk++) {
      Left x[MT];
      #pragma unroll
      for (int a = 0; a < MT; a++) left_of_sums(x[a], s[a], kk);
      add_columns(dq, x, kt, K_ROW, kk * KSTEP);
    }
    __syncthreads();
    if (STAGES == 1 && j > first) {
      fetch(j - 1);
      copies_commit();
    }
  }
  E* const out = pointer<E>(w, w_dq);
  const float scale = number(w, w_scale);
  const bool pairs = ((u64)out & 7) == 0 && keyDim % 2 == 0;
  #pragma unroll
  for (int a = 0; a < MT; a++)
    #pragma unroll
    for (int half = 0; half < 2; half++) {
      const int i = q0 + own + a * 16 + g + 8 * half;
      if (i >= queries) continue;
      E* const to = out + ((i64)(b * (i64)queries + i) * heads + h) * keyDim;
      #pragma unroll
      for (int n = 0; n < K8; n++) put_two(to, n * 8 + t2, keyDim, pairs, dq[a][n][2 * half] * scale, dq[a][n][2 * half + 1] * scale);
    }
}

