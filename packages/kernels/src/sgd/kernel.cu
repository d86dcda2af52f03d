// One step of gradient descent with momentum. Words: p, g, velocity, rate, p out, velocity out, elements, momentum, decay, nesterov, elements
// of a slice, strides of rate and decay over slices, decays (0: one decay for all).

extern "C" __global__ void __launch_bounds__(256) sgd(const __grid_constant__ Words<14> w) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= wide(w, 6)) return;
  const i64 slice = i / wide(w, 10);
  const float rate = pointer<const float>(w, 3)[slice * wide(w, 11)], momentum = number(w, 7);
  const float decay = w.word[13] ? pointer<const float>(w, 13)[slice * wide(w, 12)] : number(w, 8);
  const float p = pointer<const float>(w, 0)[i];
  const float slope = pointer<const float>(w, 1)[i] + p * decay;
  const float velocity = pointer<const float>(w, 2)[i] * momentum + slope;
  pointer<float>(w, 4)[i] = p - (integer(w, 9) ? slope + velocity * momentum : velocity) * rate;
  pointer<float>(w, 5)[i] = velocity;
}
