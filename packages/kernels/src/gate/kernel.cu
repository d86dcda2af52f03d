// act(a) b and its gradient. Defined before: E (element), Index (u32 where positions fit), ACTIVATION (0 silu, 1 gelu, 2 gelu-tanh), WIDTH
// (neighbours of a thread). In front: activation.cu.

struct __align__(sizeof(E) * WIDTH) Some { E at[WIDTH]; };

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
