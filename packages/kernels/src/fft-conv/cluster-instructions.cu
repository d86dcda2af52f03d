// Clusters of thread blocks: their barriers and the shared memory of the other blocks.

// All writes of a block's threads before it arrives are seen by all threads of the cluster after they waited.
__device__ __forceinline__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
__device__ __forceinline__ void cluster_barrier() { cluster_arrive(); cluster_wait(); }
// Where another block of the cluster has what lies at `at` here.
__device__ __forceinline__ u32 remote_address(u32 at, int block) { u32 to; asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(to) : "r"(at), "r"(block)); return to; }
// A store that reports its bytes to a barrier of the block it goes to.
__device__ __forceinline__ void store_remote(u32 at, u32 x, u32 y, u32 barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1,%2}, [%3];" :: "r"(at), "r"(x), "r"(y), "r"(barrier) : "memory");
}
__device__ __forceinline__ uint2 load_remote(u32 at) { uint2 v; asm volatile("ld.shared::cluster.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(at) : "memory"); return v; }
// Barriers in shared memory. Unlike that of the cluster they wait for no other memory than what is reported to them, and leave the first-level cache alone.
// A phase is over when so many arrived as it was made for and, with one that said so, as many bytes.
__device__ __forceinline__ void new_barrier(u32 at, int arrivals) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(at), "r"(arrivals) : "memory"); }
__device__ __forceinline__ void barriers_made() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ __forceinline__ void expect_bytes(u32 at, u32 bytes) { asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(at), "r"(bytes) : "memory"); }
__device__ __forceinline__ void arrive_remote(u32 at) { asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" :: "r"(at) : "memory"); }
__device__ __forceinline__ void wait_phase(u32 at, u32 parity) {
  asm volatile("{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; @!done bra again; }" :: "r"(at), "r"(parity) : "memory");
}
// The same where threads of other blocks arrived: what they had done to shared memory is seen from now on. The fence is no instruction of the machine.
__device__ __forceinline__ void wait_for_blocks(u32 at, u32 parity) {
#if __CUDACC_VER_MAJOR__ >= 13
  asm volatile("{ .reg .pred done; again: mbarrier.try_wait.parity.relaxed.cluster.shared::cta.b64 done, [%0], %1; @!done bra again; fence.acquire.sync_restrict::shared::cluster.cluster; }" :: "r"(at), "r"(parity) : "memory");
#else
  wait_phase(at, parity);
#endif
}
// A copy of so many times 16 bytes behind the back of all threads, which reports them to a barrier.
__device__ __forceinline__ void copy_bulk(u32 to, const void* from, u32 bytes, u32 barrier, u64 policy) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;"
               :: "r"(to), "l"(from), "r"(bytes), "r"(barrier), "l"(policy) : "memory");
}
// What threads have done with shared memory comes before what such copies do.
__device__ __forceinline__ void before_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
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
