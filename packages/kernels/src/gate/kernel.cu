// act(a) b and its gradient. Defined before: E (element), Index (u32 where positions fit), ACTIVATION (0 silu, 1 gelu, 2 gelu-tanh), WIDTH
// (neighbours of a thread).

struct __align__(sizeof(E) * WIDTH) Some { E at[WIDTH]; };

/** The activation at z and its slope. */
__device__ __forceinline__ void activate(float z, float& y, float& slope) {
#if ACTIVATION == 0
  const float s = 1.f / (1.f + __expf(-z));
  y = z * s;
  slope = s * (1.f + z * (1.f - s));
#elif ACTIVATION == 1
  const float p = 0.5f * (1.f + erff(z * 0.70710678118654752f));
  y = z * p;
  slope = p + z * 0.39894228040143268f * expf(-0.5f * z * z);
#else
  const float t = tanhf(0.79788456080286536f * (z + 0.044715f * z * z * z));
  y = 0.5f * z * (1.f + t);
  slope = 0.5f * (1.f + t) + 0.5f * z * (1.f - t * t) * 0.79788456080286536f * (1.f + 0.134145f * z * z);
#endif
}

// Words: a, b, y, positions.
extern "C" __global__ void __launch_bounds__(256) gate(const __grid_constant__ Words<4> w) {
  const Index i = (Index)blockIdx.x * 256 + threadIdx.x;
  if (i >= (Index)wide(w, 3)) return;
  const Some a = pointer<const Some>(w, 0)[i], b = pointer<const Some>(w, 1)[i];
  Some out;
  #pragma unroll
  for (int j = 0; j < WIDTH; j++) {
    float y, slope;
    activate(get(a.at[j]), y, slope);
    put(out.at[j], y * get(b.at[j]));
  }
  pointer<Some>(w, 2)[i] = out;
}

// Words: a, b, dy, da, db, positions.
extern "C" __global__ void __launch_bounds__(256) gate_grad(const __grid_constant__ Words<6> w) {
  const Index i = (Index)blockIdx.x * 256 + threadIdx.x;
  if (i >= (Index)wide(w, 5)) return;
  const Some a = pointer<const Some>(w, 0)[i], b = pointer<const Some>(w, 1)[i], dy = pointer<const Some>(w, 2)[i];
  Some da, db;
  #pragma unroll
  for (int j = 0; j < WIDTH; j++) {
    float y, slope;
    activate(get(a.at[j]), y, slope);
    const float g = get(dy.at[j]);
    put(da.at[j], g * get(b.at[j]) * slope);
    put(db.at[j], g * y);
  }
  pointer<Some>(w, 3)[i] = da;
  pointer<Some>(w, 4)[i] = db;
}
