// One step of AdamW. Words: p, g, m, v, rate, step, p out, m out, v out, elements, beta1, 1 - beta1, beta2, 1 - beta2, eps, decay, log beta1,
// log beta2 (0 for a rate of 0: its power is 0), elements of a slice, strides of rate, step and decay over slices, decays (0: one decay for all).

__device__ __forceinline__ void adamw_block(const Words<23>& w, u32 block) {
  const i64 i = (i64)block * 256 + threadIdx.x;
  if (i >= wide(w, 9)) return;
  const i64 slice = wide(w, 18) == wide(w, 9) ? 0 : i / wide(w, 18);
  const float rate = pointer<const float>(w, 4)[slice * wide(w, 19)], t = pointer<const float>(w, 5)[slice * wide(w, 20)];
  const float decay = w.word[22] ? pointer<const float>(w, 22)[slice * wide(w, 21)] : number(w, 15);
  // 1 - beta^t without cancellation: -expm1(t log beta).
  const float first_left = number(w, 10) == 0.f ? 1.f : -expm1f(t * number(w, 16)), second_left = number(w, 12) == 0.f ? 1.f : -expm1f(t * number(w, 17));
  const float g = pointer<const float>(w, 1)[i], m0 = pointer<const float>(w, 2)[i], v0 = pointer<const float>(w, 3)[i];
  const float m = m0 + number(w, 11) * (g - m0);
  const float v = number(w, 12) * v0 + number(w, 13) * g * g;
  const float p = pointer<const float>(w, 0)[i] * (1.f - rate * decay) - rate / first_left * m / (sqrtf(v) / sqrtf(second_left) + number(w, 14));
  pointer<float>(w, 6)[i] = p;
  pointer<float>(w, 7)[i] = m;
  pointer<float>(w, 8)[i] = v;
}

extern "C" __global__ void __launch_bounds__(256) adamw(const __grid_constant__ Words<23> w) { adamw_block(w, blockIdx.x); }
