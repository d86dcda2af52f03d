// CUDA C++ that every kernel starts with: arguments, number formats, and the functions whose meaning is not C's. No includes,
// so that NVRTC needs no header path and compiles fast.

/** Put before the source of every kernel. */
export const cudaPrelude: string = /* cuda */ `
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64; typedef long long i64;
struct f16 { u16 bits; };
struct bf16 { u16 bits; };
template <int N> struct Words { u64 word[N]; };
template <typename T, int N> __device__ __forceinline__ T* pointer(const Words<N>& w, int i) { return (T*)w.word[i]; }
template <int N> __device__ __forceinline__ int integer(const Words<N>& w, int i) { return (int)w.word[i]; }
template <int N> __device__ __forceinline__ i64 wide(const Words<N>& w, int i) { return (i64)w.word[i]; }
template <int N> __device__ __forceinline__ float number(const Words<N>& w, int i) { return __uint_as_float((u32)w.word[i]); }

// From sm_90 on a kernel may be launched when the blocks of the one in front are over, before its results are there: it waits for them first.
#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void wait_for_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
#else
__device__ __forceinline__ void wait_for_previous() {}
#endif

// Storage <-> registers: floats travel as float, bools and bytes as int.
__device__ __forceinline__ float get(float x) { return x; }
__device__ __forceinline__ int get(int x) { return x; }
__device__ __forceinline__ int get(u8 x) { return x; }
__device__ __forceinline__ float get(f16 x) { float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits)); return y; }
__device__ __forceinline__ float get(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
__device__ __forceinline__ void put(float& d, float x) { d = x; }
__device__ __forceinline__ void put(int& d, int x) { d = x; }
__device__ __forceinline__ void put(u8& d, int x) { d = (u8)x; }
__device__ __forceinline__ void put(f16& d, float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(d.bits) : "f"(x)); }
__device__ __forceinline__ void put(bf16& d, float x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(d.bits) : "f"(x)); }
__device__ __forceinline__ float round_f16(float x) { f16 t; put(t, x); return get(t); }
__device__ __forceinline__ float round_bf16(float x) { bf16 t; put(t, x); return get(t); }

__device__ __forceinline__ bool is_nan(float x) { return x != x; }
__device__ __forceinline__ float max_(float a, float b) { return is_nan(a) ? a : is_nan(b) ? b : fmaxf(a, b); }
__device__ __forceinline__ float min_(float a, float b) { return is_nan(a) ? a : is_nan(b) ? b : fminf(a, b); }
__device__ __forceinline__ int max_(int a, int b) { return a > b ? a : b; }
__device__ __forceinline__ int min_(int a, int b) { return a < b ? a : b; }
__device__ __forceinline__ float sign_(float x) { return x > 0.f ? 1.f : x < 0.f ? -1.f : x; }
__device__ __forceinline__ int sign_(int x) { return (x > 0) - (x < 0); }
__device__ __forceinline__ float sigmoid_(float x) { float e = expf(-fabsf(x)); float s = 1.f / (1.f + e); return x >= 0.f ? s : e * s; }
__device__ __forceinline__ float mod_(float x, float y) { float r = fmodf(x, y); return r != 0.f && ((r < 0.f) != (y < 0.f)) ? r + y : r; }
__device__ __forceinline__ float pow_(float x, float y) { return powf(x, y); }
__device__ __forceinline__ int div_(int a, int b) { return b == 0 ? 0 : b == -1 ? (int)(0u - (u32)a) : a / b; }
__device__ __forceinline__ int mod_(int a, int b) { if (b == 0 || b == -1) return 0; int r = a % b; return r != 0 && ((r < 0) != (b < 0)) ? r + b : r; }
__device__ __forceinline__ int pow_(int x, int y) {
  if (y < 0) return x == 1 ? 1 : x == -1 ? ((y & 1) ? -1 : 1) : 0;
  u32 out = 1, base = (u32)x;
  for (u32 n = (u32)y; n; n >>= 1, base *= base) if (n & 1) out *= base;
  return (int)out;
}
// Float to integer truncates and saturates; NaN gives 0: what cvt.rzi does.
__device__ __forceinline__ int to_int(float x) { int y; asm("cvt.rzi.s32.f32 %0, %1;" : "=r"(y) : "f"(x)); return is_nan(x) ? 0 : y; }
__device__ __forceinline__ int to_byte(float x) { int y = to_int(x); return y < 0 ? 0 : y > 255 ? 255 : y; }

__device__ __forceinline__ float sum_(float a, float b) { return a + b; }
__device__ __forceinline__ int sum_(int a, int b) { return (int)((u32)a + (u32)b); }
__device__ __forceinline__ float prod_(float a, float b) { return a * b; }
__device__ __forceinline__ int prod_(int a, int b) { return (int)((u32)a * (u32)b); }

// The sum of a value over a warp, and over a block of at most 1024 threads through \`cells\` (32 floats); a fixed order.
__device__ __forceinline__ float warp_sum(float x) {
  #pragma unroll
  for (int d = 16; d; d >>= 1) x += __shfl_xor_sync(~0u, x, d);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
  #pragma unroll
  for (int d = 16; d; d >>= 1) x = max_(x, __shfl_xor_sync(~0u, x, d));
  return x;
}
__device__ __forceinline__ float block_sum(float x, float* cells) {
  x = warp_sum(x);
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = (blockDim.x + 31) >> 5;
  __syncthreads();
  if (lane == 0) cells[warp] = x;
  __syncthreads();
  float y = lane < warps ? cells[lane] : 0.f;
  return warp_sum(y);
}
__device__ __forceinline__ float block_max(float x, float* cells) {
  x = warp_max(x);
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = (blockDim.x + 31) >> 5;
  __syncthreads();
  if (lane == 0) cells[warp] = x;
  __syncthreads();
  float y = lane < warps ? cells[lane] : -INFINITY_;
  return warp_max(y);
}
`.replace(/INFINITY_/g, "__int_as_float(0x7f800000)");

/** The CUDA C++ type that stores a dtype. */
export const cudaType = {
  f32: "float",
  f16: "f16",
  bf16: "bf16",
  i32: "int",
  u8: "u8",
  bool: "u8",
} as const;
