// Attention: owns 64 MT queries, walks the keys they see with an online softmax.

extern "C" __global__ void __launch_bounds__(THREADS) attention(const __grid_constant__ Args w) {
  extern __shared__ __align__(16) u8 memory[];
  E* const q_tile = (E*)memory;
  E* const k_tiles = q_tile + OWN * K_ROW;
  E* const v_tiles = k_tiles + STAGES * BLOCK * K_ROW;
  const int lane = threadIdx.x & 31, g = lane >> 2, t2 = 2 * (lane & 3), own = (threadIdx.x >> 5) * MT * 16;
  const int queries = integer(w, w_queries), heads = integer(w, w_heads), keyDim = integer(w, w_keyDim), valueDim = integer(w, w_valueDim);
  int tile, row;
  place(w, (queries + OWN - 1) / OWN, true, tile, row);
  const int b = row / heads, h = row % heads, hk = h / integer(w, w_group), q0 = tile * OWN;
  const Sight sight = sight_of(w, b);
  const Scoring scoring = scoring_of(w, b, h);
  const Rows q = rows_of(w, w_q, w_qBatch, b, h, keyDim), k = rows_of(w, w_k, w_kBatch, b, hk, keyDim), v = rows_of(w, w_v, w_vBatch, b, hk, valueDim);
  const int end = min(q0 + OWN, sight.queries);
  const int first = sight.from(q0) / BLOCK, last = q0 < end ? (sight.to(end - 1) + BLOCK - 1) / BLOCK : 0;
  auto fetch = [&](int j) {
    const int stage = STAGES == 2 ? j & 1 : 0;
    load<BLOCK, KEY_DIM>(k_tiles + stage * BLOCK * K_ROW, k, j * BLOCK, sight.keys);
    load<BLOCK, VALUE_DIM>(v_tiles + stage * BLOCK * V_ROW, v, j * BLOCK, sight.keys);
  };
  float o[MT][V8][4], m[MT][2], l[MT][2];
  clear(o);
  #pragma unroll
  for (int a = 0; a < MT; a++) { m[a][0] = m[a][1] = -1e30f; l[a][0] = l[a][1] = 0.f; }
  if (first < last) {
    load<OWN, KEY_DIM>(q_tile, q, q0, sight.queries);
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
    float s[MT][N8][4];
    clear(s);
    #pragma unroll
    for (int kk = 0; kk < KEY_DIM / KSTEP; kk++) {
      Left x[MT];
      #pragma unroll
      for (int a = 0; a < MT; a++) left_of_rows(x[a], q_tile, K_ROW, own + a * 16, kk * KSTEP);
      add_rows(s, x, kt, K_ROW, kk * KSTEP);
    }
    const int top = q0 + own, bottom = top + MT * 16 - 1;
    const bool inside = bottom < sight.queries && j * BLOCK >= sight.from(bottom) && (j + 1) * BLOCK <= sight.to(top);
    #pragma unroll
    for (int a = 0; a < MT; a++)
      #pragma unroll
      for (int half = 0; half < 2; half++) {
        const int i = top + a * 16 + g + 8 * half, from = sight.from(i), to = sight.to(i);
        float most = m[a][half];
        #pragma unroll
        for (int n = 0; n < N8; n++)
          #pragma unroll
          for (int e = 0; e < 2; e++) {
            float& x = s[a][n][2 * half + e];
            const int key = j * BLOCK + n * 8 + t2 + e;
            float bend;
            x = scoring(x, i + sight.offset - key, bend);
          }
        if (!inside) {
          #pragma unroll
          for (int n = 0; n < N8; n++)
            #pragma unroll
            for (int e = 0; e < 2; e++) {
              const int key = j * BLOCK + n * 8 + t2 + e;
              if (key < from || key >= to) s[a][n][2 * half + e] = -__int_as_float(0x7f800000);
            }
        }
        #pragma unroll
        for (int n = 0; n < N8; n++) most = fmaxf(most, fmaxf(s[a][n][2 * half], s[a][n][2 * half + 1]));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
        const float shrink = exp2_(m[a][half] - most);
        m[a][half] = most;
        float sum = 0.f;
        #pragma unroll
        for (int n = 0; n < N8; n++)
          #pragma unroll
          for (int e = 0; e < 2; e++) {
            float& x = s[a][n][2 * half + e];
            x = exp2_(x - most);
            sum += x;
          }
        l[a][half] = l[a][half] * shrink + sum;
        #pragma unroll
        for (int n = 0; n < V8; n++) { o[a][n][2 * half] *= shrink; o[a][n][2 * half + 1] *= shrink; }
      }
    #pragma unroll
    for (int kk = 0; kk < BLOCK / KSTEP; kk++) {
      Left p[MT];
      #pragma unroll
      for (int a = 0; a < MT; a++) left_of_sums(p[a], s[a], kk);
      add_columns(o, p, vt, V_ROW, kk * KSTEP);
    }
    __syncthreads();
    if (STAGES == 1 && j > first) {
      fetch(j - 1);
      copies_commit();
    }
  }
  E* const y = pointer<E>(w, w_y);
  float* const lse = pointer<float>(w, w_lse);
  const bool pairs = ((u64)y & 7) == 0 && valueDim % 2 == 0;
  #pragma unroll
  for (int a = 0; a < MT; a++)
    #pragma unroll
    for (int half = 0; half < 2; half++) {
      float sum = l[a][half];
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      const float inverse = sum > 0.f ? 1.f / sum : 0.f;
      const int i = q0 + own + a * 16 + g + 8 * half;
      if (i >= queries) continue;
      E* const out = y + ((i64)(b * (i64)queries + i) * heads + h) * valueDim;
      #pragma unroll
      for (int n = 0; n < V8; n++) put_two(out, n * 8 + t2, valueDim, pairs, o[a][n][2 * half] * inverse, o[a][n][2 * half + 1] * inverse);
      if (t2 == 0) lse[(i64)row * queries + i] = sum > 0.f ? (m[a][half] + log2f(sum)) * LN2 : -__int_as_float(0x7f800000);
    }
}

