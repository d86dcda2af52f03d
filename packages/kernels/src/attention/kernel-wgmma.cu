// Hopper's pieces that the wgmma kernels of attention share: barriers, the copy engine, descriptors, named barriers, and the order of
// tiles. Tiles lie in shared memory as panels of 64 columns, [panel][row][128 bytes], in the copy engine's 128-byte swizzle:
// byte = row * 128 + ((chunk ^ (row & 7)) << 4).
//
// Products take the columns that heads have, to a multiple of 16: columns beyond a head's own arrive as zeros.
//
// Defined before: E, MMA, HEAD (64 or 128: columns of a tile), KEY_COLUMNS and VALUE_COLUMNS (of those, what products take of queries and keys, and of
// values), LENGTHS (whether sequences have lengths of their own), the word indices w_*, WORDS, and Product<N> (see cuda-wgmma.ts).

constexpr float LN2 = 0.693147180559945f, LOG2E = 1.442695040888963f;
constexpr int PANELS = HEAD / 64;

/** Tile maps must lie on multiples of 64 bytes. */
struct __align__(64) Args : Words<WORDS> {};

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ float exp2_(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
__device__ __forceinline__ u32 pair(float low, float high) { u32 r; asm("cvt.rn." MMA "x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)); return r; }
/** Tells the compiler that all lanes have the same value. */
__device__ __forceinline__ int uniform(int x) { return __shfl_sync(~0u, x, 0); }

// Barriers in shared memory: an arrival of `bytes` more to come, a plain arrival, a wait for the phase of a parity.
__device__ __forceinline__ void barrier_make(u32 at, u32 count) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(at), "r"(count) : "memory"); }
__device__ __forceinline__ void barrier_expect(u32 at, u32 bytes) { asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(at), "r"(bytes) : "memory"); }
__device__ __forceinline__ void barrier_arrive(u32 at) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(at) : "memory"); }
__device__ __forceinline__ void barrier_wait(u32 at, u32 parity) {
  asm volatile("{\n.reg .pred p;\nW: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra D;\nbra W;\nD:\n}" :: "r"(at), "r"(parity) : "memory");
}
__device__ __forceinline__ void barriers_visible() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// Barriers of the hardware, by number.
__device__ __forceinline__ void meet(int id, int threads) { asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(threads) : "memory"); }
__device__ __forceinline__ void signal(int id, int threads) { asm volatile("bar.arrive %0, %1;" :: "r"(id), "r"(threads) : "memory"); }

/** Brings a tile map to its cache. */
__device__ __forceinline__ void map_wanted(const u64* map) { asm volatile("prefetch.tensormap [%0];" :: "l"(map) : "memory"); }
/** Starts the copy of the box at (column, row, head, batch) of a tile map. */
__device__ __forceinline__ void copy_box(u32 to, const u64* map, u32 barrier, int column, int row, int head, int batch) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6];"
    :: "r"(to), "l"(map), "r"(column), "r"(row), "r"(head), "r"(batch), "r"(barrier) : "memory");
}
/** The panels of ROWS rows. */
template <int ROWS> __device__ __forceinline__ void copy_rows(u32 to, const u64* map, u32 barrier, int row, int head, int batch) {
  #pragma unroll
  for (int p = 0; p < PANELS; p++) copy_box(to + p * ROWS * 128, map, barrier, p * 64, row, head, batch);
}
// Boxes on their way from shared memory: one thread starts them, and waits until they are read.
__device__ __forceinline__ void store_box(const u64* map, u32 from, int column, int row, int head, int batch) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], [%1];"
    :: "l"(map), "r"(from), "r"(column), "r"(row), "r"(head), "r"(batch) : "memory");
}
__device__ __forceinline__ void stores_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
__device__ __forceinline__ void stores_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
__device__ __forceinline__ void copy_bytes(u32 to, const void* from, u32 bytes, u32 barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" :: "r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");
}

/** 16 x 16 elements in the order of a left operand; each lane gives the address of a row's 8. */
__device__ __forceinline__ void load_fragment(u32* r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
}
/** The way back: 16 x 16 elements as products leave them. */
__device__ __forceinline__ void store_fragment(u32 at, u32 r0, u32 r1, u32 r2, u32 r3) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" :: "r"(at), "r"(r0), "r"(r1), "r"(r2), "r"(r3) : "memory");
}
__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int LEFT> __device__ __forceinline__ void products_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(LEFT) : "memory"); }
/** Registers of a product under way: keeps the compiler from moving what reads or writes them. */
template <int N> __device__ __forceinline__ void pin(float (&r)[N]) {
  #pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(r[i]) :: "memory");
}
template <int N> __device__ __forceinline__ void pin(u32 (&r)[N]) {
  #pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+r"(r[i]) :: "memory");
}

/**
 * Descriptor of an operand: address / 16, leading and stride offsets / 16, 128-byte swizzle. Made from a base address / 16 and compile-time
 * offsets by one addition. Rows as they lie (K-major): leading unused, 1024 bytes to the next 8 rows. Transposed (MN-major): `leading`
 * to the next panel, 1024 bytes to the next 8 rows of the sum.
 */
__device__ __forceinline__ u64 descriptor(u32 base16, u32 offset, u32 leading) {
  u64 r;
  asm("mov.b64 %0, {%1, %2};" : "=l"(r) : "r"(base16 + ((offset >> 4) | (leading >> 4 << 16))), "r"((1024u >> 4) | (1u << 30)));
  return r;
}
/** Offset of the 16 columns `k` of rows as they lie, in a tile of ROWS rows. */
template <int ROWS> __device__ __forceinline__ constexpr u32 columns16(int k) { return (k >> 2) * ROWS * 128 + (k & 3) * 32; }

/** Clears the rows of a tile from `from` on, as seen by products of the warpgroup that meets at barrier `id`. */
template <int ROWS> __device__ __forceinline__ void clear_rows(u32 at, int from, int id) {
  for (int i = from * 8 + (threadIdx.x & 127); i < ROWS * 8; i += 128)
    #pragma unroll
    for (int p = 0; p < PANELS; p++) asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" :: "r"(at + p * ROWS * 128 + i * 16), "r"(0) : "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  meet(id, 128);
}

/** Which keys a query of sequence `b` sees. */
struct Sight {
  int queries, keys, offset, left, right;
  __device__ __forceinline__ Sight(const Args& w, int b) {
    queries = integer(w, w_queries);
    keys = integer(w, w_keys);
#if LENGTHS
    const int *ofKeys = pointer<const int>(w, w_keyLengths), *ofQueries = pointer<const int>(w, w_queryLengths);
    if (ofKeys) keys = min(max(ofKeys[b], 0), keys);
    if (ofQueries) queries = min(max(ofQueries[b], 0), queries);
#endif
    offset = keys - queries;
    left = integer(w, w_left);
    right = integer(w, w_right);
  }
  __device__ __forceinline__ int from(int query) const { return max(0, query + offset - left); }
  __device__ __forceinline__ int to(int query) const { return min(keys, query + offset + right + 1); }
};

/** 8 columns of a row, 2 per lane of a quad, gathered so that each lane stores 16 bytes: lane `q` gets the four words of group `q`. */
__device__ __forceinline__ uint4 quad_transpose(u32 a0, u32 a1, u32 a2, u32 a3, int q) {
  u32 r[4], w[4];
  #pragma unroll
  for (int s = 0; s < 4; s++) {
    const int k = q ^ s;
    r[s] = __shfl_xor_sync(~0u, k == 0 ? a0 : k == 1 ? a1 : k == 2 ? a2 : a3, s);
  }
  #pragma unroll
  for (int k = 0; k < 4; k++) {
    const int s = q ^ k;
    w[k] = s == 0 ? r[0] : s == 1 ? r[1] : s == 2 ? r[2] : r[3];
  }
  return make_uint4(w[0], w[1], w[2], w[3]);
}
