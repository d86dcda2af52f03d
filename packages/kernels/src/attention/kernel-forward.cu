// Attention: owns 64 MT queries, walks the keys they see with an online softmax.
//
// Defined before: PARTS (whether each block walks a part of the keys only; kernel-parts.cu puts the parts together).

extern "C" __global__ void __launch_bounds__(THREADS) attention(const __grid_constant__ Args w) {
  extern __shared__ __align__(16) u8 memory[];
  E* const q_tile = (E*)memory;
  E* const k_tiles = q_tile + OWN * K_ROW;
  E* const v_tiles = k_tiles + STAGES * BLOCK * K_ROW;
  const Lane lane;
  const int queries = integer(w, w_queries), heads = integer(w, w_heads), keyDim = integer(w, w_keyDim), valueDim = integer(w, w_valueDim);
  int tile, row;
  place(w, Owned::tiles(w, queries, w_blockQueries), true, tile, row);
  const int b = row / heads, h = row % heads, hk = h / integer(w, w_group);
  const Sight sight = sight_of(w, b);
  const Owned owned(w, tile, queries, w_blockQueries);
  const Scoring scoring = scoring_of(w, b, h);
  const Rows q = rows_of(w, w_q, w_qBatch, b, h, keyDim), k = rows_of(w, w_k, w_kBatch, b, hk, keyDim), v = rows_of(w, w_v, w_vBatch, b, hk, valueDim);
  const int top = owned.first + lane.own, bottom = top + MT * 16 - 1;
  float o[MT][V8][4], m[MT][2], l[MT][2];
  clear(o);
  #pragma unroll
  for (int a = 0; a < MT; a++) { m[a][0] = m[a][1] = -1e30f; l[a][0] = l[a][1] = 0.f; }

  const int part = PARTS ? blockIdx.y : 0, parts = PARTS ? gridDim.y : 1;
  KeyWalk walk(w, sight, owned, h, part, parts);
  auto fetch = [&](const Step& s, int stage) {
    load<BLOCK, KEY_DIM>(k_tiles + stage * BLOCK * K_ROW, k, s.first, s.end);
    load<BLOCK, VALUE_DIM>(v_tiles + stage * BLOCK * V_ROW, v, s.first, s.end);
  };
  auto work = [&](const Step& step, int stage) {
    float s[MT][N8][4];
    clear(s);
    multiply_rows<KEY_DIM>(s, q_tile, k_tiles + stage * BLOCK * K_ROW, lane.own);
    const bool inside = bottom < sight.queries && step.first >= sight.from(bottom) && step.first + BLOCK <= min(sight.to(top), step.end);
    #pragma unroll
    for (int a = 0; a < MT; a++)
      #pragma unroll
      for (int half = 0; half < 2; half++) {
        const int i = top + a * 16 + lane.g + 8 * half, from = sight.from(i), to = min(sight.to(i), step.end);
        float most = m[a][half];
        #pragma unroll
        for (int n = 0; n < N8; n++)
          #pragma unroll
          for (int e = 0; e < 2; e++) {
            float& x = s[a][n][2 * half + e];
            const int key = step.first + n * 8 + lane.t2 + e;
            float bend;
            x = scoring(x, i + sight.offset - key, bend);
          }
        if (!inside) {
          #pragma unroll
          for (int n = 0; n < N8; n++)
            #pragma unroll
            for (int e = 0; e < 2; e++) {
              const int key = step.first + n * 8 + lane.t2 + e;
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
    add_weighted<VALUE_DIM>(o, s, v_tiles + stage * BLOCK * V_ROW);
  };
  load<OWN, KEY_DIM>(q_tile, q, owned.first, min(owned.end, sight.queries));
  stream(walk, fetch, work);

  float inverse[MT][2];
  float* lse;
  i64 lse_stride = 1;
  if constexpr (PARTS) lse = pointer<float>(w, w_lse) + ((i64)part * integer(w, w_rows) + row) * queries + owned.first;
  else {
    lse_stride = wide(w, w_lseTime);
    lse = pointer<float>(w, w_lse) + b * wide(w, w_lseBatch) + h * wide(w, w_lseHead) + owned.first * lse_stride;
  }
  #pragma unroll
  for (int a = 0; a < MT; a++)
    #pragma unroll
    for (int half = 0; half < 2; half++) {
      float sum = l[a][half];
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      inverse[a][half] = sum > 0.f ? 1.f / sum : 0.f;
      const int r = lane.own + a * 16 + lane.g + 8 * half;
      if (lane.t2 == 0 && owned.first + r < owned.end) lse[r * lse_stride] = sum > 0.f ? (m[a][half] + log2f(sum)) * LN2 : -__int_as_float(0x7f800000);
    }
  if constexpr (PARTS) {
    float* const y = pointer<float>(w, w_y) + (((i64)part * integer(w, w_rows) + row) * queries + owned.first) * valueDim;
    #pragma unroll
    for (int a = 0; a < MT; a++)
      #pragma unroll
      for (int half = 0; half < 2; half++) {
        const int r = lane.own + a * 16 + lane.g + 8 * half;
        if (owned.first + r >= owned.end) continue;
        #pragma unroll
        for (int n = 0; n < V8; n++)
          #pragma unroll
          for (int e = 0; e < 2; e++) {
            const int column = n * 8 + lane.t2 + e;
            if (column < valueDim) y[(i64)r * valueDim + column] = o[a][n][2 * half + e] * inverse[a][half];
          }
      }
  } else {
    const i64 stride = wide(w, w_yTime);
    write_rows(pointer<E>(w, w_y) + b * wide(w, w_yBatch) + h * wide(w, w_yHead) + owned.first * stride, stride, valueDim, o, inverse, lane, owned.first, owned.end);
  }
}
