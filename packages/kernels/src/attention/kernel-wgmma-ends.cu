// Before and after the gradient on sm_90: rows of log-sum-exp and delta padded to whole blocks of queries, a cleared scratch; then dq out
// of the scratch, which lies in the order of fragments.
//
// Defined before: E, HEAD, QUERIES, the word indices w_*, WORDS.

extern "C" __global__ void __launch_bounds__(256) attention_grad_start(const __grid_constant__ Words<WORDS> w) {
  const int queries = integer(w, w_queries), padded = (queries + QUERIES - 1) / QUERIES * QUERIES;
  const i64 rows = wide(w, w_rows) * padded, first = (i64)blockIdx.x * 256, here = rows - first < 256 ? rows - first : 256;
  const i64 i = first + threadIdx.x;
  if (i < rows) {
    const i64 row = i / padded;
    const int at = (int)(i - row * padded);
    const float l = at < queries ? pointer<const float>(w, w_lse)[row * queries + at] : -__int_as_float(0x7f800000);
    // A row that sees nothing gets weights of 2^-1e30.
    pointer<float>(w, w_rowLse)[i] = l > -3e38f ? l * 1.442695040888963f : 1e30f;
    pointer<float>(w, w_rowDelta)[i] = at < queries ? pointer<const float>(w, w_delta)[row * queries + at] : 0.f;
    if (i % QUERIES < 2) pointer<int>(w, w_turns)[i / QUERIES * 2 + i % QUERIES] = 0;
  }
  float4* const scratch = (float4*)pointer<float>(w, w_scratch) + first * (HEAD / 4);
  for (int k = threadIdx.x; k < (int)here * (HEAD / 4); k += 256) scratch[k] = make_float4(0.f, 0.f, 0.f, 0.f);
}

extern "C" __global__ void __launch_bounds__(256) attention_grad_finish(const __grid_constant__ Words<WORDS> w) {
  // One thread 8 columns of a row; heads of a row side by side, as dq has them.
  const int queries = integer(w, w_queries), heads = integer(w, w_heads), keyDim = integer(w, w_keyDim), chunks = keyDim / 8;
  const i64 id = (i64)blockIdx.x * 256 + threadIdx.x, rows = wide(w, w_rows) * queries;
  const i64 place = id / chunks;
  if (place >= rows) return;
  const int chunk = (int)(id - place * chunks), h = (int)(place % heads);
  const i64 time = place / heads;
  const int i = (int)(time % queries), block = i / QUERIES, r = i % QUERIES, blocks = (queries + QUERIES - 1) / QUERIES;
  const i64 b = time / queries;
  const int side = chunk / (HEAD / 16), group = chunk % (HEAD / 16), thread = (r >> 4) * 32 + (r & 7) * 4, half = ((r >> 3) & 1) * 2;
  const float* p = pointer<const float>(w, w_scratch) + ((b * heads + h) * blocks + block) * (QUERIES * HEAD) + side * (QUERIES * HEAD / 2) + group * 512 + thread * 4 + half;
  const float scale = number(w, w_scale);
  __align__(16) E out[8];
  #pragma unroll
  for (int q = 0; q < 4; q++) {
    const float2 v = *(const float2*)(p + q * 4);
    put(out[2 * q], v.x * scale);
    put(out[2 * q + 1], v.y * scale);
  }
  *(uint4*)(pointer<E>(w, w_dq) + place * keyDim + chunk * 8) = *(const uint4*)out;
}
