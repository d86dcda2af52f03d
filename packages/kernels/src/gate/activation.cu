// Activations of gates. Defined before: ACTIVATION (0 silu, 1 gelu, 2 gelu-tanh), SIGMOID(z) (as exact as the caller needs it).

/** The activation at z and its slope. */
__device__ __forceinline__ void activate(float z, float& y, float& slope) {
#if ACTIVATION == 0
  const float s = SIGMOID(z);
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
