// Attention of small heads (8 or 16 features) over sequences that fit in shared memory, straight from a joint projection, with the rotation of
// queries and keys; and its gradient. One block does one or two heads of one sequence, two warps a head.
//
// Defined before: E (half), SIZE (features of a head), HEADS (heads of a block), HALF (pairs that turn; 0: none), INTERLEAVED,
// FOLDED (whether sequences go on along a grid's third axis, since its second ends at 65,535).
//
// Matrices lie in shared memory as planes of 8 features, a row of a plane 16 bytes: every access below touches all banks evenly.

constexpr int PLANES = SIZE / 8, THREADS = 64 * HEADS;
constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f, HIDDEN = -1e30f;

struct __align__(16) Eight { E at[8]; };


/** Turns the pairs of a row of features by the angles of a position, cosines first; `sign` -1 turns back. */
__device__ __forceinline__ void turn(float (&x)[SIZE], const float (&angles)[2 * HALF + 1], float sign) {
  #pragma unroll
  for (int i = 0; i < HALF; i++) {
    const int a = INTERLEAVED ? 2 * i : i, b = INTERLEAVED ? 2 * i + 1 : i + HALF;
    const float c = angles[i], s = angles[HALF + i] * sign, u = x[a], v = x[b];
    x[a] = u * c - v * s;
    x[b] = v * c + u * s;
  }
}

/** Cosines and sines of a position. */
__device__ __forceinline__ void read_angles(float (&angles)[2 * HALF + 1], const float* cosines, const float* sines, int t) {
  #pragma unroll
  for (int i = 0; i < HALF; i++) { angles[i] = read_once(cosines + t * HALF + i); angles[HALF + i] = read_once(sines + t * HALF + i); }
}

struct Row { Eight plane[PLANES]; };

/** A row of features as it is stored. */
__device__ __forceinline__ Row fetch_row(const E* p) {
  Row row;
  #pragma unroll
  for (int n = 0; n < PLANES; n++) row.plane[n] = read_once((const Eight*)p + n);
  return row;
}
__device__ __forceinline__ void widen_row(float (&x)[SIZE], const Row& row) {
  #pragma unroll
  for (int e = 0; e < SIZE; e++) x[e] = get(row.plane[e / 8].at[e % 8]);
}

/** A row to planes `stride` elements apart, or to memory (stride 8). */
__device__ __forceinline__ void write_row(E* p, int stride, const float (&x)[SIZE]) {
  #pragma unroll
  for (int n = 0; n < PLANES; n++) {
    Eight e;
    #pragma unroll
    for (int i = 0; i < 8; i++) put(e.at[i], x[8 * n + i]);
    *(Eight*)(p + n * stride) = e;
  }
}

/** Two neighbouring features of a row of a plane. */
__device__ __forceinline__ u32 two(const E* plane, int row) { return *(const u32*)(plane + row * 8 + 2 * (threadIdx.x & 3)); }

/**
 * Queries, keys and values of the block's heads, turned, as planes [head][3][PLANES][padded]; zeros behind the sequence. `more(i, h, t)` is
 * called in between, with the loads of a position under way.
 */
template <typename More>
__device__ __forceinline__ void load_heads(E* shared, int each, const E* qkv, const float* cosines, const float* sines, int time, int padded, int heads, int head, More more) {
  for (int i = threadIdx.x; i < padded * HEADS; i += THREADS) {
    const int h = i % HEADS, t = i / HEADS;
    Row rows[3] = {};
    float angles[2 * HALF + 1] = {};
    if (t < time) {
      #pragma unroll
      for (int which = 0; which < 3; which++) rows[which] = fetch_row(qkv + ((i64)t * 3 + which) * heads * SIZE + (head + h) * SIZE);
      read_angles(angles, cosines, sines, t);
    }
    more(h, t);
    #pragma unroll
    for (int which = 0; which < 3; which++) {
      float x[SIZE];
      widen_row(x, rows[which]);
      if (which < 2) turn(x, angles, 1.f);
      write_row(shared + h * each + which * PLANES * padded * 8 + t * 8, padded * 8, x);
    }
  }
}

/** The block's sequence. */
__device__ __forceinline__ i64 sequence_of() { return FOLDED ? (i64)blockIdx.z * gridDim.y + blockIdx.y : blockIdx.y; }

/** Which of two warps takes block n: both get as many long ones as short ones. */
__device__ __forceinline__ bool mine(int n, int part) { return ((n + 1) >> 1 & 1) == part; }

// Words: qkv, cosines, sines, y, log-sum-exp, time, padded time, heads, left, right, scale, FOLDED: batch.
extern "C" __global__ void __launch_bounds__(THREADS, 1024 / THREADS) packed_attention(const __grid_constant__ Words<11 + FOLDED> w) {
  extern __shared__ __align__(16) unsigned char memory[];
  E* const shared = (E*)memory;
  const int time = integer(w, 5), padded = integer(w, 6), heads = integer(w, 7), left = integer(w, 8), right = integer(w, 9);
  const float scale = number(w, 10) * LOG2E;
  const int head = blockIdx.x * HEADS, plane = padded * 8, each = 3 * PLANES * plane;
  const i64 batch = sequence_of();
  if (FOLDED && batch >= wide(w, 10 + FOLDED)) return;
  load_heads(shared, each, pointer<const E>(w, 0) + batch * time * 3 * heads * SIZE, pointer<const float>(w, 1), pointer<const float>(w, 2), time, padded, heads, head, [](int, int) {});
  __syncthreads();
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, own = warp >> 1;
  const E* const q = shared + own * each;
  const E* const k = q + PLANES * plane;
  const E* const v = k + PLANES * plane;
  for (int n = 0; n * 16 < time; n++) {
    if (!mine(n, warp & 1)) continue;
    const int q0 = n * 16, from = max_(0, q0 - left) & ~15, to = min_(time, q0 + 16 + right);
    u32 a[PLANES][2];
    #pragma unroll
    for (int p = 0; p < PLANES; p++) { a[p][0] = two(q + p * plane, q0 + g); a[p][1] = two(q + p * plane, q0 + g + 8); }
    float top[2] = {HIDDEN, HIDDEN}, sum[2] = {0.f, 0.f}, out[PLANES][4] = {};
    for (int k0 = from; k0 < to; k0 += 32) {
      float s[4][4];
      float high[2] = {top[0], top[1]};
      #pragma unroll
      for (int m = 0; m < 4; m++) {
        const int key = k0 + m * 8;
        if (key >= to) continue;
        s[m][0] = s[m][1] = s[m][2] = s[m][3] = 0.f;
        #pragma unroll
        for (int p = 0; p < PLANES; p++) multiply8(s[m], a[p][0], a[p][1], two(k + p * plane, key + g));
        // Most tiles are seen whole: the test is the same for all lanes.
        if (!(key + 7 <= q0 + right && key >= q0 + 15 - left && key + 8 <= time)) {
          #pragma unroll
          for (int e = 0; e < 4; e++) {
            const int at = key + 2 * t + (e & 1), row = q0 + g + (e >> 1) * 8;
            if (!(at <= row + right && at >= row - left && at < time)) s[m][e] = HIDDEN;
          }
        }
        #pragma unroll
        for (int e = 0; e < 4; e++) high[e >> 1] = fmaxf(high[e >> 1], s[m][e]);
      }
      #pragma unroll
      for (int r = 0; r < 2; r++) {
        high[r] = fmaxf(high[r], __shfl_xor_sync(~0u, high[r], 1));
        high[r] = fmaxf(high[r], __shfl_xor_sync(~0u, high[r], 2));
        const float shrink = exp2_((top[r] - high[r]) * scale);
        top[r] = high[r];
        sum[r] *= shrink;
        #pragma unroll
        for (int p = 0; p < PLANES; p++) { out[p][2 * r] *= shrink; out[p][2 * r + 1] *= shrink; }
      }
      #pragma unroll
      for (int m = 0; m < 4; m += 2) {
        const int key = k0 + m * 8;
        if (key >= to) continue;
        if (key + 8 >= to) { s[m + 1][0] = s[m + 1][1] = s[m + 1][2] = s[m + 1][3] = HIDDEN; }
        // Of a row that has seen nothing yet this makes ones, which the first key that it sees brings to nothing.
        #pragma unroll
        for (int e = 0; e < 4; e++) {
          const float shift = -top[e >> 1] * scale;
          s[m][e] = exp2_(fmaf(s[m][e], scale, shift));
          s[m + 1][e] = exp2_(fmaf(s[m + 1][e], scale, shift));
          sum[e >> 1] += s[m][e] + s[m + 1][e];
        }
        const u32 weights[4] = {pair(s[m][0], s[m][1]), pair(s[m][2], s[m][3]), pair(s[m + 1][0], s[m + 1][1]), pair(s[m + 1][2], s[m + 1][3])};
        #pragma unroll
        for (int p = 0; p < PLANES; p++) {
          u32 b0, b1;
          load_turned2(b0, b1, v + p * plane + (key + (lane & 15)) * 8);
          multiply16(out[p], weights, b0, b1);
        }
      }
    }
    #pragma unroll
    for (int r = 0; r < 2; r++) {
      sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
      sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
      const int row = q0 + g + 8 * r;
      if (row >= time) continue;
      const float inverse = sum[r] > 0.f ? 1.f / sum[r] : 0.f;
      E* const y = pointer<E>(w, 3) + ((batch * time + row) * heads + head + own) * SIZE;
      #pragma unroll
      for (int p = 0; p < PLANES; p++) *(u32*)(y + p * 8 + 2 * t) = pair(out[p][2 * r] * inverse, out[p][2 * r + 1] * inverse);
      if (t == 0) pointer<float>(w, 4)[(batch * heads + head + own) * time + row] = LN2 * (top[r] * scale + log2f(sum[r]));
    }
  }
}

// Keys are the rows here and queries the columns, so that the sums over queries stay in registers; the sums over keys, of the query's
// gradient, are kept by each warp in shared memory.
// Words: qkv, cosines, sines, y, dy, log-sum-exp, dqkv, time, padded time, heads, left, right, scale, FOLDED: batch.
extern "C" __global__ void __launch_bounds__(THREADS) packed_attention_grad(const __grid_constant__ Words<13 + FOLDED> w) {
  extern __shared__ __align__(16) unsigned char memory[];
  const int time = integer(w, 7), padded = integer(w, 8), heads = integer(w, 9), left = integer(w, 10), right = integer(w, 11);
  const float scale = number(w, 12), log_scale = scale * LOG2E;
  const int head = blockIdx.x * HEADS, plane = padded * 8, each = 3 * PLANES * plane;
  const i64 batch = sequence_of();
  if (FOLDED && batch >= wide(w, 12 + FOLDED)) return;
  const float* const cosines = pointer<const float>(w, 1);
  const float* const sines = pointer<const float>(w, 2);
  E* const shared = (E*)memory;
  E* const dys = shared + HEADS * each;
  float* const dqs = (float*)(dys + HEADS * PLANES * plane);
  float* const rows = dqs + HEADS * 2 * padded * SIZE;
  float* const stages = rows + HEADS * 2 * padded;
  load_heads(shared, each, pointer<const E>(w, 0) + batch * time * 3 * heads * SIZE, cosines, sines, time, padded, heads, head, [&](int h, int at) {
    Row rowY = {}, rowDy = {};
    float delta = 0.f, log_sum = 0.f;
    if (at < time) {
      const i64 from = ((batch * time + at) * heads + head + h) * SIZE;
      rowY = fetch_row(pointer<const E>(w, 3) + from);
      rowDy = fetch_row(pointer<const E>(w, 4) + from);
      log_sum = read_once(pointer<const float>(w, 5) + (batch * heads + head + h) * time + at) * LOG2E;
    }
    float y[SIZE], dy[SIZE];
    widen_row(y, rowY);
    widen_row(dy, rowDy);
    #pragma unroll
    for (int e = 0; e < SIZE; e++) delta += dy[e] * y[e];
    write_row(dys + h * PLANES * plane + at * 8, plane, dy);
    rows[(2 * h) * padded + at] = log_sum;
    rows[(2 * h + 1) * padded + at] = delta;
  });
  for (int i = threadIdx.x; i < HEADS * 2 * padded * SIZE; i += THREADS) dqs[i] = 0.f;
  __syncthreads();
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, own = warp >> 1;
  const E* const q = shared + own * each;
  const E* const k = q + PLANES * plane;
  const E* const v = k + PLANES * plane;
  const E* const dy = dys + own * PLANES * plane;
  float* const dq = dqs + warp * padded * SIZE;
  const float* const lse = rows + 2 * own * padded;
  const float* const delta = lse + padded;
  float* const stage = stages + warp * 32 * SIZE;
  for (int n = 0; n * 16 < time; n++) {
    if (!mine(n, warp & 1)) continue;
    const int k0 = n * 16, from = max_(0, k0 - right) & ~15, to = min_(time, k0 + 16 + left);
    u32 ka[PLANES][2], va[PLANES][2], kb[PLANES][2];
    #pragma unroll
    for (int p = 0; p < PLANES; p++) {
      ka[p][0] = two(k + p * plane, k0 + g); ka[p][1] = two(k + p * plane, k0 + g + 8);
      va[p][0] = two(v + p * plane, k0 + g); va[p][1] = two(v + p * plane, k0 + g + 8);
      load_turned2(kb[p][0], kb[p][1], k + p * plane + (k0 + (lane & 15)) * 8);
    }
    float dk[PLANES][4] = {}, dv[PLANES][4] = {};
    const int at = k0 + (lane & 15), which = lane >> 4;
    float angles[2 * HALF + 1];
    read_angles(angles, cosines, sines, at < time ? at : 0);
    for (int q0 = from; q0 < to; q0 += 16) {
      u32 weights[4], slopes[4];
      const bool whole = k0 + 15 <= q0 + right && k0 >= q0 + 15 - left && k0 + 16 <= time && q0 + 16 <= time;
      #pragma unroll
      for (int m = 0; m < 2; m++) {
        const int column = q0 + 8 * m;
        float s[4] = {}, dp[4] = {};
        #pragma unroll
        for (int p = 0; p < PLANES; p++) {
          multiply8(s, ka[p][0], ka[p][1], two(q + p * plane, column + g));
          multiply8(dp, va[p][0], va[p][1], two(dy + p * plane, column + g));
        }
        const float2 l = *(const float2*)(lse + column + 2 * t), d = *(const float2*)(delta + column + 2 * t);
        if (!whole) {
          #pragma unroll
          for (int e = 0; e < 4; e++) {
            const int key = k0 + g + (e >> 1) * 8, row = column + 2 * t + (e & 1);
            if (!(key <= row + right && key >= row - left && key < time && row < time)) s[e] = HIDDEN;
          }
        }
        // The scale of the slopes waits for the sums.
        #pragma unroll
        for (int e = 0; e < 4; e++) {
          s[e] = exp2_(fmaf(s[e], log_scale, -(e & 1 ? l.y : l.x)));
          dp[e] = s[e] * (dp[e] - (e & 1 ? d.y : d.x));
        }
        weights[2 * m] = pair(s[0], s[1]); weights[2 * m + 1] = pair(s[2], s[3]);
        slopes[2 * m] = pair(dp[0], dp[1]); slopes[2 * m + 1] = pair(dp[2], dp[3]);
      }
      const u32 turnedSlopes[4] = {turned(slopes[0]), turned(slopes[2]), turned(slopes[1]), turned(slopes[3])};
      #pragma unroll
      for (int p = 0; p < PLANES; p++) {
        u32 b0, b1;
        load_turned2(b0, b1, dy + p * plane + (q0 + (lane & 15)) * 8);
        multiply16(dv[p], weights, b0, b1);
        load_turned2(b0, b1, q + p * plane + (q0 + (lane & 15)) * 8);
        multiply16(dk[p], slopes, b0, b1);
        float2* const first = (float2*)(dq + (q0 + g) * SIZE + p * 8 + 2 * t);
        float2* const second = first + 4 * SIZE;
        float2 x = *first, y = *second;
        float c[4] = {x.x, x.y, y.x, y.y};
        multiply16(c, turnedSlopes, kb[p][0], kb[p][1]);
        *first = make_float2(c[0], c[1]);
        *second = make_float2(c[2], c[3]);
      }
    }
    #pragma unroll
    for (int p = 0; p < PLANES; p++)
      #pragma unroll
      for (int r = 0; r < 2; r++) {
        *(float2*)(stage + (g + 8 * r) * SIZE + p * 8 + 2 * t) = make_float2(dk[p][2 * r] * scale, dk[p][2 * r + 1] * scale);
        *(float2*)(stage + (16 + g + 8 * r) * SIZE + p * 8 + 2 * t) = make_float2(dv[p][2 * r], dv[p][2 * r + 1]);
      }
    __syncwarp();
    if (at < time) {
      float x[SIZE];
      #pragma unroll
      for (int e = 0; e < SIZE; e += 4) {
        const float4 v = *(const float4*)(stage + lane * SIZE + e);
        x[e] = v.x; x[e + 1] = v.y; x[e + 2] = v.z; x[e + 3] = v.w;
      }
      if (which == 0) turn(x, angles, -1.f);
      write_row(pointer<E>(w, 6) + ((batch * time + at) * 3 + 1 + which) * heads * SIZE + (head + own) * SIZE, 8, x);
    }
    __syncwarp();
  }
  __syncthreads();
  for (int i = threadIdx.x; i < time * HEADS; i += THREADS) {
    const int h = i % HEADS, at = i / HEADS;
    const float* const first = dqs + (2 * h * padded + at) * SIZE;
    float x[SIZE], angles[2 * HALF + 1];
    read_angles(angles, cosines, sines, at);
    #pragma unroll
    for (int e = 0; e < SIZE; e += 4) {
      const float4 u = *(const float4*)(first + e), v = *(const float4*)(first + padded * SIZE + e);
      x[e] = (u.x + v.x) * scale; x[e + 1] = (u.y + v.y) * scale; x[e + 2] = (u.z + v.z) * scale; x[e + 3] = (u.w + v.w) * scale;
    }
    turn(x, angles, -1.f);
    write_row(pointer<E>(w, 6) + (batch * time + at) * 3 * heads * SIZE + (head + h) * SIZE, 8, x);
  }
}
