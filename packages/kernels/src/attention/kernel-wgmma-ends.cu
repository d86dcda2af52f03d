// Before and after the gradient on sm_90: rows of log-sum-exp and delta padded to whole blocks of queries, a cleared scratch; then dq out
// of the scratch, which lies in the order of fragments; and the parts of dk and dv summed.
//
// Defined before: E, KEY_COLUMNS and DQ_COLUMNS (of a row of the scratch, and those of one side), QUERIES, LENGTHS (whether sequences have lengths of
// their own), WHOLE (whether blocks bring the dq that they see into place themselves), the word indices w_*, WORDS.

/** Queries of the sequence that row `row` of heads belongs to. */
__device__ __forceinline__ int queries_of(const Words<WORDS>& w, i64 row) {
  const int all = integer(w, w_queries);
#if LENGTHS
  const int* const lengths = pointer<const int>(w, w_queryLengths);
  if (lengths) return min(max(lengths[row / integer(w, w_heads)], 0), all);
#endif
  return all;
}

extern "C" __global__ void __launch_bounds__(256) attention_grad_start(const __grid_constant__ Words<WORDS> w) {
  __shared__ bool wanted[256];
  const int all = integer(w, w_queries), padded = (all + QUERIES - 1) / QUERIES * QUERIES;
  const i64 rows = wide(w, w_rows) * padded, first = (i64)blockIdx.x * 256, here = rows - first < 256 ? rows - first : 256;
  const i64 i = first + threadIdx.x;
  if (i < rows) {
    const i64 row = i / padded;
    const int at = (int)(i - row * padded), queries = queries_of(w, row);
    const float l = at < queries ? pointer<const float>(w, w_lse)[row * all + at] : -__int_as_float(0x7f800000);
    // A row that sees nothing gets weights of 2^-1e30.
    pointer<float>(w, w_rowLse)[i] = l > -3e38f ? l * 1.442695040888963f : 1e30f;
    pointer<float>(w, w_rowDelta)[i] = at < queries ? pointer<const float>(w, w_delta)[row * all + at] : 0.f;
    if (i % QUERIES < 8 && pointer<int>(w, w_turns)) pointer<int>(w, w_turns)[i / QUERIES * 8 + i % QUERIES] = 0;
    const int top = at / QUERIES * QUERIES;
    wanted[threadIdx.x] = top < queries;
#if WHOLE
    int keys = integer(w, w_keys);
#if LENGTHS
    const int* const lengths = pointer<const int>(w, w_keyLengths);
    if (lengths) keys = min(max(lengths[row / integer(w, w_heads)], 0), keys);
#endif
    // No tile of keys sees the others.
    wanted[threadIdx.x] = top < queries && keys > 0 && top + QUERIES + keys - queries + integer(w, w_right) > 0;
#endif
  }
#if WHOLE
  __syncthreads();
  const int chunks = integer(w, w_keyDim) / 8, heads = integer(w, w_heads);
  for (int k = threadIdx.x; k < (int)here * chunks; k += 256) {
    const int of = k / chunks;
    if (wanted[of]) continue;
    const i64 row = (first + of) / padded, b = row / heads;
    const int at = (int)(first + of - row * padded);
    if (at < all) ((uint4*)pointer<E>(w, w_dq))[((b * all + at) * heads + row - b * heads) * chunks + k - of * chunks] = make_uint4(0, 0, 0, 0);
  }
  return;
#endif
  // Queries of one tile of keys need no scratch.
  if (!pointer<float>(w, w_scratch)) return;
  if (LENGTHS) __syncthreads();
  float4* const scratch = (float4*)pointer<float>(w, w_scratch) + first * (KEY_COLUMNS / 4);
  for (int k = threadIdx.x; k < (int)here * (KEY_COLUMNS / 4); k += 256)
    if (!LENGTHS || wanted[k / (KEY_COLUMNS / 4)]) scratch[k] = make_float4(0.f, 0.f, 0.f, 0.f);
}

extern "C" __global__ void __launch_bounds__(256) attention_grad_finish(const __grid_constant__ Words<WORDS> w) {
  // One thread 8 columns of a row and of the row 8 below, which lie beside each other in the scratch.
  const int queries = integer(w, w_queries), heads = integer(w, w_heads), keyDim = integer(w, w_keyDim), chunks = keyDim / 8;
  const int blocks = (queries + QUERIES - 1) / QUERIES;
  const i64 id = (i64)blockIdx.x * 256 + threadIdx.x, at = id / chunks, tile = at / (QUERIES / 2), row = tile / blocks;
  if (row >= wide(w, w_rows)) return;
  const int chunk = (int)(id - at * chunks), two = (int)(at % (QUERIES / 2)), r = (two >> 3) * 16 + (two & 7), top = (int)(tile - row * blocks) * QUERIES, i = top + r;
  const i64 b = row / heads, stride = (i64)heads * keyDim;
  const int side = chunk / (DQ_COLUMNS / 8), group = chunk % (DQ_COLUMNS / 8), thread = (two >> 3) * 32 + (two & 7) * 4;
  const float4* const p = (const float4*)(pointer<const float>(w, w_scratch) + tile * (QUERIES * KEY_COLUMNS) + side * (QUERIES * DQ_COLUMNS) + group * 512 + thread * 4);
  E* const to = pointer<E>(w, w_dq) + (b * queries + i) * stride + (row - b * heads) * keyDim + chunk * 8;
  const float scale = number(w, w_scale);
  // Nothing was added to blocks of padding.
  const bool there = top < queries_of(w, row);
  __align__(16) E upper[8], lower[8];
  #pragma unroll
  for (int q = 0; q < 4; q++) {
    const float4 v = there ? p[q] : make_float4(0.f, 0.f, 0.f, 0.f);
    put(upper[2 * q], v.x * scale);
    put(upper[2 * q + 1], v.y * scale);
    put(lower[2 * q], v.z * scale);
    put(lower[2 * q + 1], v.w * scale);
  }
  if (i < queries) *(uint4*)to = *(const uint4*)upper;
  if (i + 8 < queries) *(uint4*)(to + 8 * stride) = *(const uint4*)lower;
}

/** Four neighbouring sums of dk, then of dv. */
extern "C" __global__ void __launch_bounds__(256) attention_grad_join(const __grid_constant__ Words<WORDS> w) {
  const i64 ofKeys = wide(w, w_keyRows) * integer(w, w_keyDim), ofValues = wide(w, w_keyRows) * integer(w, w_valueDim);
  const int parts = integer(w, w_parts);
  i64 i = ((i64)blockIdx.x * 256 + threadIdx.x) * 4;
  const bool values = i >= ofKeys;
  if (values) i -= ofKeys;
  const i64 count = values ? ofValues : ofKeys;
  if (i >= count) return;
  const float* const from = pointer<const float>(w, values ? w_dvParts : w_dkParts) + i;
  const float scale = values ? 1.f : number(w, w_scale);
  float4 s = make_float4(0.f, 0.f, 0.f, 0.f);
  #pragma unroll 4
  for (int p = 0; p < parts; p++) {
    const float4 x = *(const float4*)(from + p * count);
    s.x += x.x;
    s.y += x.y;
    s.z += x.z;
    s.w += x.w;
  }
  __align__(8) E out[4];
  put(out[0], s.x * scale);
  put(out[1], s.y * scale);
  put(out[2], s.z * scale);
  put(out[3], s.w * scale);
  *(uint2*)(pointer<E>(w, values ? w_dv : w_dk) + i) = *(const uint2*)out;
}
