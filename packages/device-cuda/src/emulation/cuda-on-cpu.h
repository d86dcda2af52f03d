// CUDA's language on a CPU, for checks of kernels without a GPU: blocks run one after the other, the threads of a block are fibers that
// change at barriers and shuffles, static shared memory keeps what the last block left there. Included before the prelude of all kernels.

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __noinline__
#define __restrict__
#define __launch_bounds__(...)
#define __grid_constant__
#define __constant__ static
#define __shared__ static
#define __align__(n) alignas(n)

struct Index3 { uint32_t x, y, z; };
static Index3 threadIdx, blockIdx, blockDim, gridDim;
struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulation {

constexpr int STACK = 64 * 1024, MOST_THREADS = 1024;
enum State { RUNNABLE, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };
struct Fiber { ucontext_t context; State state; Index3 index; };

static char *dynamic_shared, *stacks;
static uint64_t slots[MOST_THREADS];
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static uint32_t now;
static std::function<void()>* body;

static void wait(State state) {
  Fiber& own = fibers[now];
  own.state = state;
  swapcontext(&own.context, &scheduler);
  threadIdx = own.index;
}

static void begin() {
  (*body)();
  fibers[now].state = DONE;
  swapcontext(&fibers[now].context, &scheduler);
}

/** Fiber `i` at the kernel's beginning. */
static void make_fiber(uint32_t i, Index3 index) {
  Fiber& f = fibers[i];
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = stacks + (size_t)i * STACK;
  f.context.uc_stack.ss_size = STACK;
  f.context.uc_link = &scheduler;
  makecontext(&f.context, begin, 0);
  f.state = RUNNABLE;
  f.index = index;
}

/** Lets fibers `from` to `to` go on once all that are not done wait in `state`. */
static bool release(uint32_t from, uint32_t to, State state) {
  bool all = true, some = false;
  for (uint32_t i = from; i < to; i++) {
    if (fibers[i].state == state) some = true;
    else if (fibers[i].state != DONE) all = false;
  }
  if (!all || !some) return false;
  for (uint32_t i = from; i < to; i++)
    if (fibers[i].state == state) fibers[i].state = RUNNABLE;
  return true;
}

static bool run_block() {
  const uint32_t count = blockDim.x * blockDim.y * blockDim.z;
  fibers.resize(std::max<size_t>(fibers.size(), count));
  for (uint32_t i = 0; i < count; i++) make_fiber(i, {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y});
  for (;;) {
    bool moved = false, alive = false;
    for (now = 0; now < count; now++) {
      Fiber& f = fibers[now];
      alive |= f.state != DONE;
      if (f.state != RUNNABLE) continue;
      moved = true;
      threadIdx = f.index;
      swapcontext(&scheduler, &f.context);
    }
    if (!alive) return true;
    for (uint32_t warp = 0; warp < count; warp += 32) moved |= release(warp, std::min(count, warp + 32), AT_WARP_BARRIER);
    moved |= release(0, count, AT_BLOCK_BARRIER);
    if (!moved) return false;
  }
}

/** 0, or 1 when threads wait for each other for ever. `sizes`: grid and block. `memory`: stacks of MOST_THREADS fibers. */
static int launch(std::function<void()> kernel, const uint32_t* sizes, uint64_t shared_bytes, void* memory) {
  stacks = (char*)memory;
  dynamic_shared = (char*)aligned_alloc(1024, (shared_bytes + 2047) / 1024 * 1024);
  memset(dynamic_shared, 0xff, shared_bytes);
  gridDim = {sizes[0], sizes[1], sizes[2]};
  blockDim = {sizes[3], sizes[4], sizes[5]};
  body = &kernel;
  bool good = true;
  for (uint32_t i = 0; good && i < gridDim.x * gridDim.y * gridDim.z; i++) {
    blockIdx = {i % gridDim.x, i / gridDim.x % gridDim.y, i / gridDim.x / gridDim.y};
    good = run_block();
  }
  free(dynamic_shared);
  return good ? 0 : 1;
}

template <typename T> T exchange(T value, uint32_t lane) {
  const uint32_t id = now;
  memcpy(&slots[id], &value, sizeof(T));
  wait(AT_WARP_BARRIER);
  T other;
  memcpy(&other, &slots[(id & ~31u) + (lane & 31)], sizeof(T));
  wait(AT_WARP_BARRIER);
  return other;
}

static inline uint32_t lane() { return now & 31; }

static inline float from_half(uint16_t bits) {
  const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
  const float size = exponent == 31  ? (fraction ? NAN : INFINITY)
                     : exponent == 0 ? std::ldexp((float)fraction, -24)
                                     : std::ldexp((float)(fraction | 0x400), (int)exponent - 25);
  return sign ? -size : size;
}

static inline uint16_t to_half(float x) {
  uint32_t raw;
  memcpy(&raw, &x, 4);
  const uint16_t sign = raw >> 16 & 0x8000;
  const float size = std::fabs(x);
  if (std::isnan(x)) return 0x7fff;
  if (size >= 65520.f) return sign | 0x7c00;
  const int exponent = size < 6.103515625e-5f ? -14 : std::ilogb(size);
  const uint32_t steps = (uint32_t)std::nearbyint(std::ldexp((double)size, 10 - exponent));
  return sign | (uint16_t)(size < 6.103515625e-5f ? steps : ((exponent + 15) << 10) + steps - 1024);
}

static inline uint16_t to_bfloat(float x) {
  uint32_t raw;
  memcpy(&raw, &x, 4);
  return std::isnan(x) ? 0x7fff : (uint16_t)((raw + 0x7fff + (raw >> 16 & 1)) >> 16);
}

static inline int to_int(float x) {
  return x >= 2147483648.f ? INT32_MAX : x < -2147483648.f ? INT32_MIN : std::isnan(x) ? 0 : (int)x;
}

}  // namespace emulation

static inline void __syncthreads() { emulation::wait(emulation::AT_BLOCK_BARRIER); }
static inline void __syncwarp(uint32_t = ~0u) { emulation::wait(emulation::AT_WARP_BARRIER); }
template <typename T> T __shfl_xor_sync(uint32_t, T x, int mask) { return emulation::exchange(x, emulation::lane() ^ mask); }
template <typename T> T __shfl_sync(uint32_t, T x, int from, int width = 32) {
  return emulation::exchange(x, emulation::lane() / width * width + from % width);
}
template <typename T> T __shfl_up_sync(uint32_t, T x, uint32_t by) {
  const uint32_t lane = emulation::lane();
  return emulation::exchange(x, lane >= by ? lane - by : lane);
}
template <typename T> T __shfl_down_sync(uint32_t, T x, uint32_t by) {
  const uint32_t lane = emulation::lane();
  return emulation::exchange(x, lane + by < 32 ? lane + by : lane);
}
static inline uint32_t __ballot_sync(uint32_t mask, int set) {
  uint32_t x = set ? 1u << emulation::lane() : 0;
  for (int d = 16; d; d >>= 1) x |= __shfl_xor_sync(mask, x, d);
  return x;
}
static inline uint32_t __reduce_max_sync(uint32_t mask, uint32_t x) {
  for (int d = 16; d; d >>= 1) x = std::max(x, __shfl_xor_sync(mask, x, d));
  return x;
}

template <typename To, typename From> To reinterpreted(From x) { To y; memcpy(&y, &x, sizeof y); return y; }
static inline float __int_as_float(int x) { return reinterpreted<float>(x); }
static inline float __uint_as_float(uint32_t x) { return reinterpreted<float>(x); }
static inline int __float_as_int(float x) { return reinterpreted<int>(x); }
static inline uint32_t __float_as_uint(float x) { return reinterpreted<uint32_t>(x); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fdividef(float a, float b) { return a / b; }
#define __expf expf
static inline float rsqrtf(float x) { return (float)(1 / std::sqrt((double)x)); }
static inline float sinpif(float x) { return (float)std::sin(M_PI * (double)x); }
static inline float cospif(float x) { return (float)std::cos(M_PI * (double)x); }
static inline void sincospif(float x, float* s, float* c) { *s = sinpif(x), *c = cospif(x); }
static inline uint32_t __umulhi(uint32_t a, uint32_t b) { return (uint64_t)a * b >> 32; }
using std::max;
using std::min;
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __popc(uint32_t x) { return __builtin_popcount(x); }
static inline uint32_t __brev(uint32_t x) {
  uint32_t y = 0;
  for (int i = 0; i < 32; i++) y |= (x >> i & 1) << (31 - i);
  return y;
}
static inline uint32_t atomicOr(uint32_t* at, uint32_t bits) {
  const uint32_t before = *at;
  *at |= bits;
  return before;
}
template <typename T> T __ldg(const T* p) { return *p; }
template <typename T> T __ldcs(const T* p) { return *p; }
template <typename T> void __stcs(T* p, T x) { *p = x; }
template <typename T> void __stcg(T* p, T x) { *p = x; }
