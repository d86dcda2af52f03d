// Counters in device memory, by which blocks take work in an order (tickets) and wait for each other's: where what a ticket waits for has lower tickets, it
// does not matter how many blocks run.

__device__ __forceinline__ u32 counted(const u32* p) { u32 v; asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v; }
// Makes all that the block has written seen by those who find the sum.
__device__ __forceinline__ void count(u32* p) { asm volatile("fence.acq_rel.gpu;\n\tred.relaxed.gpu.global.add.u32 [%0], 1;" :: "l"(p) : "memory"); }
__device__ __forceinline__ void count_highest(u32* p, u32 v) { asm volatile("red.relaxed.gpu.global.max.u32 [%0], %1;" :: "l"(p), "r"(v) : "memory"); }
__device__ __forceinline__ u32 draw(u32* p) { u32 v; asm volatile("atom.relaxed.gpu.global.add.u32 %0, [%1], 1;" : "=r"(v) : "l"(p) : "memory"); return v; }
__device__ __forceinline__ void wait_until(const u32* p, u32 sum) { while (counted(p) < sum) asm volatile("nanosleep.u32 40;"); }
