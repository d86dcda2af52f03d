// Rational functions at the first points w_p = exp(-2 pi i p / nodes) of the unit circle. Inverses live in registers and serve GROUP sets.
//
// Defined before: GROUP (sets that share an inverse), MODE_CHUNK and POINT_CHUNK (what shared memory holds at a time), FOLDED (whether systems
// and groups of sets share a grid's second and third axis, which end at 65,535; else they have one each).
// Words: v or g (re, im), a (re, im), results (y, or s and t; re, im), sets, systems, modes, points, nodes, segments.

/** A block's system, and its number among those of the system. */
__device__ __forceinline__ u32 system_of(int systems) { return FOLDED ? (blockIdx.z * gridDim.y + blockIdx.y) % systems : blockIdx.y; }
__device__ __forceinline__ u32 part_of(int systems) { return FOLDED ? (blockIdx.z * gridDim.y + blockIdx.y) / systems : blockIdx.z; }

struct Point { float minus_re, minus_im, plus_re, plus_im; };
struct Pair { float re, im; };

// 1 - w and (1 + w) / 2 from half angles: the sine of the near and of the far end, so that neither is a difference.
__device__ __forceinline__ Point point_at(int p, int nodes) {
  const float sine = sinpif((float)p / (float)nodes), cosine = sinpif((float)(nodes - 2 * p) / (float)(2 * (i64)nodes));
  const float turn = sine * cosine;
  return {2.f * sine * sine, 2.f * turn, cosine * cosine, -turn};
}

// 1 / (minus - plus a). Large terms first: near a pole on the circle they cancel, and what the small ones add must survive.
__device__ __forceinline__ Pair inverse(const Point& z, Pair a) {
  const float re = fmaf(-a.re, z.plus_re, fmaf(a.im, z.plus_im, z.minus_re));
  const float im = fmaf(-a.re, z.plus_im, fmaf(-a.im, z.plus_re, z.minus_im));
  const float size = 1.f / fmaf(re, re, im * im);
  return {re * size, -im * size};
}

// y[x, h, p] = sum_n v[x, h, n] r[h, n, p]. A thread owns two points of one system.
extern "C" __global__ void __launch_bounds__(128) resolvent(const __grid_constant__ Words<11> w) {
  __shared__ Pair poles[MODE_CHUNK];
  __shared__ Pair weights[MODE_CHUNK][GROUP];
  const int sets = integer(w, 6), systems = integer(w, 7), modes = integer(w, 8), points = integer(w, 9), nodes = integer(w, 10);
  const int h = system_of(systems), first = part_of(systems) * GROUP, p = blockIdx.x * 256 + threadIdx.x;
  if (FOLDED && first >= sets) return;
  const Point z[2] = {point_at(p, nodes), point_at(p + 128, nodes)};
  Pair y[GROUP][2] = {};
  for (int from = 0; from < modes; from += MODE_CHUNK) {
    const int count = min_(MODE_CHUNK, modes - from);
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += 128) {
      const i64 at = (i64)h * modes + from + i;
      poles[i] = {pointer<const float>(w, 2)[at], pointer<const float>(w, 3)[at]};
    }
    for (int i = threadIdx.x; i < count * GROUP; i += 128) {
      const int n = i % count, x = i / count;
      const i64 at = ((i64)(first + x) * systems + h) * modes + from + n;
      const bool there = first + x < sets;
      weights[n][x] = {there ? pointer<const float>(w, 0)[at] : 0.f, there ? pointer<const float>(w, 1)[at] : 0.f};
    }
    __syncthreads();
    #pragma unroll 2
    for (int n = 0; n < count; n++) {
      #pragma unroll
      for (int j = 0; j < 2; j++) {
        const Pair r = inverse(z[j], poles[n]);
        #pragma unroll
        for (int x = 0; x < GROUP; x++) {
          const Pair v = weights[n][x];
          y[x][j].re = fmaf(-v.im, r.im, fmaf(v.re, r.re, y[x][j].re));
          y[x][j].im = fmaf(v.im, r.re, fmaf(v.re, r.im, y[x][j].im));
        }
      }
    }
  }
  #pragma unroll
  for (int j = 0; j < 2; j++) {
    if (p + 128 * j >= points) continue;
    #pragma unroll
    for (int x = 0; x < GROUP; x++) {
      if (first + x >= sets) continue;
      const i64 to = ((i64)(first + x) * systems + h) * points + p + 128 * j;
      pointer<float>(w, 4)[to] = y[x][j].re;
      pointer<float>(w, 5)[to] = y[x][j].im;
    }
  }
}

// s = sum_p g conj(r) and t = sum_p g conj(r^2 (1 + w) / 2) over one of the segments of the points. Lanes are modes, a warp walks every
// eighth point; results of segments lie behind each other.
extern "C" __global__ void __launch_bounds__(256) resolvent_sums(const __grid_constant__ Words<14> w) {
  __shared__ Point z[POINT_CHUNK];
  __shared__ Pair values[POINT_CHUNK][GROUP];
  __shared__ float cells[4 * GROUP][8][32];
  const int sets = integer(w, 8), systems = integer(w, 9), modes = integer(w, 10), points = integer(w, 11), nodes = integer(w, 12);
  const int segments = integer(w, 13);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int groups = (sets + GROUP - 1) / GROUP, group = part_of(systems) % groups, segment = part_of(systems) / groups;
  const int h = system_of(systems), n = blockIdx.x * 32 + lane, first = group * GROUP;
  if (FOLDED && segment >= segments) return;
  const i64 pole = (i64)h * modes + min_(n, modes - 1);
  const Pair a = {pointer<const float>(w, 2)[pole], pointer<const float>(w, 3)[pole]};
  const int each = (points + segments - 1) / segments, begin = segment * each, end = min_(points, begin + each);
  Pair s[GROUP] = {}, t[GROUP] = {};
  for (int from = begin; from < end; from += POINT_CHUNK) {
    const int count = min_(POINT_CHUNK, end - from);
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += 256) z[i] = point_at(from + i, nodes);
    for (int i = threadIdx.x; i < count * GROUP; i += 256) {
      const int p = i % count, x = i / count;
      const i64 at = ((i64)(first + x) * systems + h) * points + from + p;
      const bool there = first + x < sets;
      values[p][x] = {there ? pointer<const float>(w, 0)[at] : 0.f, there ? pointer<const float>(w, 1)[at] : 0.f};
    }
    __syncthreads();
    #pragma unroll 2
    for (int p = warp; p < count; p += 8) {
      const Pair r = inverse(z[p], a);
      // One factor for all sets, rounded once: where they cancel, its error cancels too.
      const Pair q = {fmaf(-r.im, r.im, r.re * r.re), 2.f * r.re * r.im};
      const Pair u = {fmaf(-q.im, z[p].plus_im, q.re * z[p].plus_re), fmaf(q.im, z[p].plus_re, q.re * z[p].plus_im)};
      #pragma unroll
      for (int x = 0; x < GROUP; x++) {
        const Pair g = values[p][x];
        s[x].re = fmaf(g.im, r.im, fmaf(g.re, r.re, s[x].re));
        s[x].im = fmaf(-g.re, r.im, fmaf(g.im, r.re, s[x].im));
        t[x].re = fmaf(g.im, u.im, fmaf(g.re, u.re, t[x].re));
        t[x].im = fmaf(-g.re, u.im, fmaf(g.im, u.re, t[x].im));
      }
    }
  }
  #pragma unroll
  for (int x = 0; x < GROUP; x++) {
    cells[4 * x][warp][lane] = s[x].re;
    cells[4 * x + 1][warp][lane] = s[x].im;
    cells[4 * x + 2][warp][lane] = t[x].re;
    cells[4 * x + 3][warp][lane] = t[x].im;
  }
  __syncthreads();
  for (int i = warp; i < 4 * GROUP; i += 8) {
    const int x = first + i / 4, result = i % 4;
    if (n >= modes || x >= sets) continue;
    float total = cells[i][0][lane];
    for (int k = 1; k < 8; k++) total += cells[i][k][lane];
    const i64 rows = (i64)sets * systems * modes;
    pointer<float>(w, 4 + result)[segment * rows + ((i64)x * systems + h) * modes + n] = total;
  }
}

// The sum of the segments, in their order. Words: partial results, results, their number, segments.
extern "C" __global__ void __launch_bounds__(256) resolvent_total(const __grid_constant__ Words<7> w) {
  const i64 count = wide(w, 5), i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= count) return;
  const float* const parts = pointer<const float>(w, 0) + (i64)blockIdx.y * integer(w, 6) * count;
  float total = parts[i];
  for (int k = 1; k < integer(w, 6); k++) total += parts[k * count + i];
  pointer<float>(w, 1 + blockIdx.y)[i] = total;
}
