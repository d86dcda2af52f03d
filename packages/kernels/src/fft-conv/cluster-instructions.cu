// Clusters of thread blocks: their barrier and the shared memory of the other blocks.

// All writes of a block's threads before it arrives are seen by all threads of the cluster after they waited.
__device__ __forceinline__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
__device__ __forceinline__ void cluster_barrier() { cluster_arrive(); cluster_wait(); }
// Where another block of the cluster has what lies at `at` here.
__device__ __forceinline__ u32 remote_address(u32 at, int block) { u32 to; asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(to) : "r"(at), "r"(block)); return to; }
__device__ __forceinline__ void store_remote(u32 at, u32 x, u32 y) { asm volatile("st.shared::cluster.v2.u32 [%0], {%1,%2};" :: "r"(at), "r"(x), "r"(y) : "memory"); }
__device__ __forceinline__ uint2 load_remote(u32 at) { uint2 v; asm volatile("ld.shared::cluster.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(at) : "memory"); return v; }
// What leaves the second-level cache first, and what last.
__device__ __forceinline__ u64 leaving_first() { u64 p; asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(p)); return p; }
__device__ __forceinline__ u64 leaving_last() { u64 p; asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(p)); return p; }
// Not to be kept in the first-level cache, which is left to what all blocks read.
__device__ __forceinline__ uint2 load_once(const uint2* p, u64 policy) {
  uint2 v; asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.v2.u32 {%0,%1}, [%2], %3;" : "=r"(v.x), "=r"(v.y) : "l"(p), "l"(policy)); return v;
}
__device__ __forceinline__ uint4 load_once(const uint4* p, u64 policy) {
  uint4 v; asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.v4.u32 {%0,%1,%2,%3}, [%4], %5;" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p), "l"(policy)); return v;
}
// Asks for a line of 128 bytes to be brought into the second-level cache.
__device__ __forceinline__ void bring(const void* p) { asm volatile("prefetch.global.L2 [%0];" :: "l"(p)); }
