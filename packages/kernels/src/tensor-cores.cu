// Products of 8 x 8 blocks of halves on tensor cores (mma.sync, from sm_80 on), and how blocks come from shared memory. Defined before: MMA
// (the half's name in PTX).
//
// A block of sums, 16 x 8, lies in a warp as mma leaves it: lane = 4 g + t holds (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ float exp2_(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
__device__ __forceinline__ float reciprocal_(float x) { float y; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }

/** Reads memory that nobody writes meanwhile: such loads may all be under way before the first is used. */
__device__ __forceinline__ float read_once(const float* p) { float x; asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(x) : "l"(p)); return x; }
template <typename T> __device__ __forceinline__ T read_once(const T* p) {
  static_assert(sizeof(T) == 16, "16 bytes at a time");
  union { u32 words[4]; T value; } x;
  asm volatile("ld.global.nc.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(x.words[0]), "=r"(x.words[1]), "=r"(x.words[2]), "=r"(x.words[3]) : "l"(p));
  return x.value;
}

/** Two floats as halves, the first one low. */
__device__ __forceinline__ u32 pair(float low, float high) {
  u32 r;
  asm("cvt.rn." MMA "x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

/** c += a b over 8 terms: a0 holds (g, 2t..), a1 (g + 8, 2t..); b holds (2t.., g). */
__device__ __forceinline__ void multiply8(float (&c)[4], u32 a0, u32 a1, u32 b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32." MMA "." MMA ".f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
    : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a0), "r"(a1), "r"(b));
}

/** c += a b over 16 terms: a holds (g, 2t..), (g + 8, 2t..), (g, 2t + 8..), (g + 8, 2t + 8..); b0 (2t.., g), b1 (2t + 8.., g). */
__device__ __forceinline__ void multiply16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." MMA "." MMA ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
    : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/** Two blocks, turned: lane i < 16 gives the address of row i; a lane gets (2t.., g) of each. */
__device__ __forceinline__ void load_turned2(u32& r0, u32& r1, const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(r0), "=r"(r1) : "r"(shared_address(p)) : "memory");
}

/** Four blocks: lane i gives the address of row i % 8 of block i / 8; a lane gets (g, 2t..) of each. */
__device__ __forceinline__ void load4(u32 (&r)[4], const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
    : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}

/** Four blocks, turned: lane i gives the address of row i % 8 of block i / 8. */
__device__ __forceinline__ void load_turned4(u32 (&r)[4], const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
    : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}

/** A block of a warp's registers, turned. */
__device__ __forceinline__ u32 turned(u32 x) {
  u32 y;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

/** Copies 16 bytes to shared memory in the background: `bytes` of them, then zeros. */
__device__ __forceinline__ void copy16(const void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT> __device__ __forceinline__ void copies_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(LEFT) : "memory"); }
