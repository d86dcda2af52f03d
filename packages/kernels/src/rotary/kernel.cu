// Rotary position embedding. One thread a feature. Words: x, cos, sin, y, elements, strides of x (batch, time, head), time, heads, features,
// pairs, stride of the tables over the batch (0: shared), sign of the angle.
//
// Defined before: INTERLEAVED, Index (u32 where positions fit).

extern "C" __global__ void __launch_bounds__(256) rotary(const __grid_constant__ Words<14> w) {
  const Index id = (Index)blockIdx.x * 256 + threadIdx.x;
  if (id >= (Index)wide(w, 4)) return;
  const int time = integer(w, 8), heads = integer(w, 9), size = integer(w, 10), half = integer(w, 11);
  const Index place = id / (Index)size, token = place / (Index)heads, batch = token / (Index)time;
  const int e = (int)(id - place * size), h = (int)(place - token * heads), t = (int)(token - batch * time);
  const i64 b = batch;
  const float* const x = pointer<const float>(w, 0) + b * wide(w, 5) + t * wide(w, 6) + h * wide(w, 7);
  float y = x[e];
  if (e < 2 * half) {
    const int i = INTERLEAVED ? e >> 1 : e % half;
    const bool second = INTERLEAVED ? e & 1 : e >= half;
    const int step = INTERLEAVED ? 1 : half;
    const i64 at = b * wide(w, 12) + (i64)t * half + i;
    const float c = pointer<const float>(w, 1)[at], s = pointer<const float>(w, 2)[at] * number(w, 13);
    y = second ? y * c + x[e - step] * s : y * c - x[e + step] * s;
  }
  pointer<float>(w, 3)[id] = y;
}
