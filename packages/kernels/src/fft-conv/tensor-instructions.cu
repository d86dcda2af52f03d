// Pairs of f16 in one register, and the warp instructions of the tensor-core kernels.

typedef u32 half2;
constexpr u32 SIGNS = 0x80008000u;

__device__ __forceinline__ half2 plus(half2 a, half2 b) { half2 d; asm("add.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b)); return d; }
__device__ __forceinline__ half2 minus(half2 a, half2 b) { half2 d; asm("sub.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b)); return d; }
__device__ __forceinline__ half2 product(half2 a, half2 b) { half2 d; asm("mul.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b)); return d; }
__device__ __forceinline__ half2 fused(half2 a, half2 b, half2 c) { half2 d; asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c)); return d; }
__device__ __forceinline__ half2 larger(half2 a, half2 b) { half2 d; asm("max.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b)); return d; }
// Instructions take these along for nothing.
__device__ __forceinline__ half2 negated(half2 x) { half2 d; asm("neg.f16x2 %0, %1;" : "=r"(d) : "r"(x)); return d; }
__device__ __forceinline__ half2 magnitude(half2 x) { half2 d; asm("abs.f16x2 %0, %1;" : "=r"(d) : "r"(x)); return d; }
__device__ __forceinline__ half2 packed(float low, float high) { half2 d; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low)); return d; }
__device__ __forceinline__ u32 packed_bf16(float low, float high) { u32 d; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low)); return d; }
__device__ __forceinline__ float low_half(half2 x) { f16 h; h.bits = (u16)x; return get(h); }
__device__ __forceinline__ float high_half(half2 x) { f16 h; h.bits = (u16)(x >> 16); return get(h); }
// Both low halves, or both high ones.
__device__ __forceinline__ u32 halves(u32 a, u32 b, int high) { return __byte_perm(a, b, high ? 0x7632 : 0x5410); }

// (re, im) *= (wr, wi), and by its conjugate.
__device__ __forceinline__ void times(half2& re, half2& im, half2 wr, half2 wi) {
  const half2 r = fused(negated(im), wi, product(re, wr)), i = fused(im, wr, product(re, wi));
  re = r; im = i;
}
__device__ __forceinline__ void times_conjugate(half2& re, half2& im, half2 wr, half2 wi) {
  const half2 r = fused(im, wi, product(re, wr)), i = fused(negated(re), wi, product(im, wr));
  re = r; im = i;
}

// D = A B (+ D) for a 16x16 A and a 16x8 B, f16 sums.
__device__ __forceinline__ void multiply(half2& c0, half2& c1, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%8,%8};"
      : "=r"(c0), "=r"(c1) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "r"(0));
}
__device__ __forceinline__ void multiply_add(half2& c0, half2& c1, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};"
      : "+r"(c0), "+r"(c1) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Shared memory by byte address.
__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ uint2 load_shared(u32 at) { uint2 v; asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(at) : "memory"); return v; }
__device__ __forceinline__ void store_shared(u32 at, u32 x, u32 y) { asm volatile("st.shared.v2.u32 [%0], {%1,%2};" :: "r"(at), "r"(x), "r"(y) : "memory"); }
__device__ __forceinline__ uint4 load_shared_wide(u32 at) { uint4 v; asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory"); return v; }
__device__ __forceinline__ void store_shared_wide(u32 at, uint4 v) { asm volatile("st.shared.v4.u32 [%0], {%1,%2,%3,%4};" :: "r"(at), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory"); }
// Copies 8 bytes behind the back of the thread; zeros where `inside` is false.
__device__ __forceinline__ void copy_async(u32 to, const void* from, bool inside) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" :: "r"(to), "l"(from), "r"(inside ? 8 : 0) : "memory");
}
// An address that is not to be computed again.
template <typename T> __device__ __forceinline__ void kept_as_it_is(T*& p) { asm("" : "+l"(p)); }
// Barrier `which` (1 to 15) of some warps of a block.
__device__ __forceinline__ void meet(int which, int threads) { asm volatile("bar.sync %0, %1;" :: "r"(which), "r"(threads) : "memory"); }
__device__ __forceinline__ void copies_done() { asm volatile("cp.async.wait_all;" ::: "memory"); }
// Read again at every use, so that the compiler does not keep what is cheap to reload in registers.
__device__ __forceinline__ uint4 reload(const uint4* p) {
  uint4 v; asm volatile("ld.global.nc.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p)); return v;
}
// Read once in a while: not to be kept in the first-level cache, where it would displace what every block reads.
__device__ __forceinline__ uint4 load_passing(const uint4* p) {
  uint4 v; asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p)); return v;
}
// Four 8x8 matrices; lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void load_matrices(u32 (&r)[4], u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
__device__ __forceinline__ void store_matrices(u32 at, u32 a, u32 b, u32 c, u32 d) {
#if __CUDA_ARCH__ >= 900
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" :: "r"(at), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
#else
  const u32 v[4] = {a, b, c, d};
  const int lane = threadIdx.x & 31;
  #pragma unroll
  for (int m = 0; m < 4; m++) {
    const u32 row = __shfl_sync(~0u, at, 8 * m + (lane >> 2)) + 4 * (lane & 3);
    asm volatile("st.shared.u32 [%0], %1;" :: "r"(row), "r"(v[m]) : "memory");
  }
#endif
}
// The same, each of them transposed.
__device__ __forceinline__ void load_transposed(u32 (&r)[4], u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
__device__ __forceinline__ void store_transposed(u32 at, u32 a, u32 b, u32 c, u32 d) {
#if __CUDA_ARCH__ >= 900
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" :: "r"(at), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
#else
  const u32 v[4] = {a, b, c, d};
  const int lane = threadIdx.x & 31;
  #pragma unroll
  for (int m = 0; m < 4; m++)
    #pragma unroll
    for (int e = 0; e < 2; e++) {
      const u32 row = __shfl_sync(~0u, at, 8 * m + 2 * (lane & 3) + e) + 2 * (lane >> 2);
      asm volatile("st.shared.u16 [%0], %1;" :: "r"(row), "h"((u16)(v[m] >> 16 * e)) : "memory");
    }
#endif
}
