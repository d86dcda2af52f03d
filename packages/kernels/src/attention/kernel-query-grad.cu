// dq: owns 64 queries, walks the keys they see. With kernel-key-grad.cu scores are computed twice, but sums keep a fixed order and
// need no atomic operation.

// Wide heads of halves: a few registers less let a third block in.
#if HALF && KEY_DIM + VALUE_DIM > 128
#define BLOCKS , 3
#else
#define BLOCKS
#endif

extern "C" __global__ void __launch_bounds__(THREADS BLOCKS) attention_query_grad(const __grid_constant__ Args w) {
  extern __shared__ __align__(16) u8 memory[];
  E* const q_tile = (E*)memory;
  E* const g_tile = q_tile + OWN * K_ROW;
  E* const k_tiles = g_tile + OWN * V_ROW;
  E* const v_tiles = k_tiles + STAGES * BLOCK * K_ROW;
  const Lane lane;
  const int queries = integer(w, w_queries), heads = integer(w, w_heads), keyDim = integer(w, w_keyDim), valueDim = integer(w, w_valueDim);
  int tile, row;
  place(w, Owned::tiles(w, queries, w_blockQueries), true, tile, row);
  const int b = row / heads, h = row % heads, hk = h / integer(w, w_group);
  const Sight sight = sight_of(w, b);
  const Owned owned(w, tile, queries, w_blockQueries);
  const Scoring scoring = scoring_of(w, b, h);
  const Rows k = rows_of(w, w_k, w_kBatch, b, hk, keyDim), v = rows_of(w, w_v, w_vBatch, b, hk, valueDim);
  const int top = owned.first + lane.own, bottom = top + MT * 16 - 1;
  float dq[MT][K8][4], lse[MT][2], delta[MT][2], factor[MT][2];
  clear(dq);
  #pragma unroll
  for (int a = 0; a < MT; a++)
    #pragma unroll
    for (int half = 0; half < 2; half++) {
      const int i = top + a * 16 + lane.g + 8 * half;
      lse[a][half] = i < queries ? pointer<const float>(w, w_lse)[(i64)row * queries + i] * LOG2E : 0.f;
      delta[a][half] = i < queries ? pointer<const float>(w, w_delta)[(i64)row * queries + i] : 0.f;
      factor[a][half] = number(w, w_scale);
    }

  KeyWalk walk(w, sight, owned, h, 0, 1);
  auto fetch = [&](const Step& s, int stage) {
    load<BLOCK, KEY_DIM>(k_tiles + stage * BLOCK * K_ROW, k, s.first, s.end);
    load<BLOCK, VALUE_DIM>(v_tiles + stage * BLOCK * V_ROW, v, s.first, s.end);
  };
  auto work = [&](const Step& step, int stage) {
    const E* const kt = k_tiles + stage * BLOCK * K_ROW;
    float s[MT][N8][4], dp[MT][N8][4];
    clear(s);
    clear(dp);
    multiply_rows<KEY_DIM>(s, q_tile, kt, lane.own);
    multiply_rows<VALUE_DIM>(dp, g_tile, v_tiles + stage * BLOCK * V_ROW, lane.own);
    const bool inside = bottom < sight.queries && step.first >= sight.from(bottom) && step.first + BLOCK <= min(sight.to(top), step.end);
    #pragma unroll
    for (int a = 0; a < MT; a++)
      #pragma unroll
      for (int e = 0; e < 4; e++) {
        const int half = e >> 1, i = top + a * 16 + lane.g + 8 * half, from = sight.from(i), to = min(sight.to(i), step.end);
        #pragma unroll
        for (int n = 0; n < N8; n++) {
          const int key = step.first + n * 8 + lane.t2 + (e & 1);
          float bend = 1.f;
          const float x = scoring(s[a][n][e], i + sight.offset - key, bend);
          s[a][n][e] = exp2_(x - lse[a][half]) * (dp[a][n][e] - delta[a][half]) * bend;
          if (!inside && (key < from || key >= to)) s[a][n][e] = 0.f;
        }
      }
    add_weighted<KEY_DIM>(dq, s, kt);
  };
  const int end = min(owned.end, sight.queries);
  load<OWN, KEY_DIM>(q_tile, rows_of(w, w_q, w_qBatch, b, h, keyDim), owned.first, end);
  load<OWN, VALUE_DIM>(g_tile, rows_of(w, w_dy, w_dyBatch, b, h, valueDim), owned.first, end);
  stream(walk, fetch, work);
  const i64 stride = (i64)heads * keyDim;
  write_rows(pointer<E>(w, w_dq) + ((i64)b * queries + owned.first) * stride + h * keyDim, stride, keyDim, dq, factor, lane, owned.first, owned.end);
}
