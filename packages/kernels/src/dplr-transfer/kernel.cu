// Transfer functions of diagonal plus low-rank systems at the first points of the unit circle, and their gradients, in float64 throughout.
//
// Defined before: RANK. Words of both kernels begin with b, c, p, a (re, im each) and dt, the points, then sets, reads, systems, modes,
// steps of a system, points. Blocks: x points or modes, y systems, z pairs of a set and a read-out (times segments); where one of the two
// is beyond the 65,535 of an axis (FOLDED 1), both share y and z.

constexpr int ENDS = 1 + RANK, PRODUCTS = ENDS * ENDS, COEFFICIENTS = 2 + 2 * PRODUCTS;
constexpr int MODE_CHUNK = 32, POINT_CHUNK = 128;

struct Pair { double re, im; };
struct Point { Pair minus, plus; };
__device__ __forceinline__ Pair operator+(Pair a, Pair b) { return {a.re + b.re, a.im + b.im}; }
__device__ __forceinline__ Pair operator-(Pair a, Pair b) { return {a.re - b.re, a.im - b.im}; }
__device__ __forceinline__ Pair operator*(Pair a, Pair b) { return {fma(-a.im, b.im, a.re * b.re), fma(a.im, b.re, a.re * b.im)}; }
__device__ __forceinline__ Pair conj(Pair a) { return {a.re, -a.im}; }
__device__ __forceinline__ Pair inverse(Pair a) {
  const double size = 1.0 / fma(a.re, a.re, a.im * a.im);
  return {a.re * size, -a.im * size};
}
// c - a b
__device__ __forceinline__ Pair less(Pair c, Pair a, Pair b) {
  return {fma(a.im, b.im, fma(-a.re, b.re, c.re)), fma(-a.im, b.re, fma(-a.re, b.im, c.im))};
}

struct Sizes { int sets, reads, systems, modes, steps, points; };

/** A block's system, and its number among those of the system. */
__device__ __forceinline__ u32 system_of(int systems) { return FOLDED ? (blockIdx.z * gridDim.y + blockIdx.y) % systems : blockIdx.y; }
__device__ __forceinline__ u32 part_of(int systems) { return FOLDED ? (blockIdx.z * gridDim.y + blockIdx.y) / systems : blockIdx.z; }

struct Mode { double dt; Pair a, b, c, p[RANK]; };

template <int N> __device__ __forceinline__ Sizes sizes(const Words<N>& w) {
  return {integer(w, 10), integer(w, 11), integer(w, 12), integer(w, 13), integer(w, 14), integer(w, 15)};
}

template <int N> __device__ __forceinline__ Mode mode_at(const Words<N>& w, const Sizes& s, int h, int n, int set, int read) {
  const auto number = [&](int i, i64 at) { return (double)pointer<const float>(w, i)[at]; };
  const auto pair = [&](int i, int row) {
    const i64 at = ((i64)row * s.systems + h) * s.modes + n;
    return Pair{number(i, at), number(i + 1, at)};
  };
  Mode m;
  m.dt = number(8, s.steps == 1 ? h : (i64)h * s.modes + n);
  m.a = pair(6, 0);
  m.b = pair(0, set);
  m.c = pair(2, read);
  #pragma unroll
  for (int r = 0; r < RANK; r++) m.p[r] = pair(4, r);
  return m;
}

// Of (m - q z)(m - q conj z) = m^2 - s m q + t q^2 with z = a dt, and of v (m - q conj z) + conj(v) (m - q z) for every drive (b, p) and read (c, conj p).
__device__ __forceinline__ void store_coefficients(const Mode& m, double* to) {
  const Pair z = {m.a.re * m.dt, m.a.im * m.dt};
  to[0] = 2.0 * z.re;
  to[1] = fma(z.re, z.re, z.im * z.im);
  #pragma unroll
  for (int i = 0; i < PRODUCTS; i++) {
    const int drive = i / ENDS, read = i % ENDS;
    const Pair l = drive == 0 ? m.b : m.p[drive - 1], r = read == 0 ? m.c : conj(m.p[read - 1]);
    const Pair v = l * r;
    to[2 + 2 * i] = 2.0 * v.re * m.dt;
    to[3 + 2 * i] = 2.0 * fma(v.re, z.re, v.im * z.im) * m.dt;
  }
}

// What drives the diagonal system against what reads it, at the points of one thread. All threads of the block take part.
template <int POINTS, int N>
__device__ __forceinline__ void responses(const Words<N>& w, const Sizes& s, int h, int set, int read, const Point (&z)[POINTS],
                                          double (*coefficients)[COEFFICIENTS], Pair (&y)[POINTS][PRODUCTS]) {
  Pair mm[POINTS], mq[POINTS], qq[POINTS];
  #pragma unroll
  for (int j = 0; j < POINTS; j++) {
    mm[j] = z[j].minus * z[j].minus;
    mq[j] = z[j].minus * z[j].plus;
    qq[j] = z[j].plus * z[j].plus;
    #pragma unroll
    for (int i = 0; i < PRODUCTS; i++) y[j][i] = {0.0, 0.0};
  }
  for (int from = 0; from < s.modes; from += MODE_CHUNK) {
    const int count = min_(MODE_CHUNK, s.modes - from);
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += blockDim.x)
      store_coefficients(mode_at(w, s, h, from + i, set, read), coefficients[i]);
    __syncthreads();
    for (int n = 0; n < count; n++) {
      const double* const k = coefficients[n];
      #pragma unroll
      for (int j = 0; j < POINTS; j++) {
        const Pair d = {fma(k[1], qq[j].re, fma(-k[0], mq[j].re, mm[j].re)), fma(k[1], qq[j].im, fma(-k[0], mq[j].im, mm[j].im))};
        const Pair r = inverse(d), u = z[j].minus * r, v = z[j].plus * r;
        #pragma unroll
        for (int i = 0; i < PRODUCTS; i++) {
          y[j][i].re = fma(-k[3 + 2 * i], v.re, fma(k[2 + 2 * i], u.re, y[j][i].re));
          y[j][i].im = fma(-k[3 + 2 * i], v.im, fma(k[2 + 2 * i], u.im, y[j][i].im));
        }
      }
    }
  }
}

// s = (1 + plus R)^-1 r by elimination, and the transposed one for u; R[i][j] is what read i hears of drive j.
__device__ __forceinline__ void corrections(const Pair (&y)[PRODUCTS], Pair plus, Pair (&s)[RANK], Pair (&u)[RANK]) {
  Pair m[RANK][RANK];
  #pragma unroll
  for (int i = 0; i < RANK; i++)
    #pragma unroll
    for (int j = 0; j < RANK; j++) {
      m[i][j] = plus * y[(1 + j) * ENDS + 1 + i];
      if (i == j) m[i][j].re += 1.0;
    }
  // In place: the inverse.
  #pragma unroll
  for (int k = 0; k < RANK; k++) {
    const Pair pivot = inverse(m[k][k]);
    #pragma unroll
    for (int j = 0; j < RANK; j++) m[k][j] = j == k ? pivot : m[k][j] * pivot;
    #pragma unroll
    for (int i = 0; i < RANK; i++) {
      if (i == k) continue;
      const Pair factor = m[i][k];
      #pragma unroll
      for (int j = 0; j < RANK; j++) m[i][j] = less(j == k ? Pair{0.0, 0.0} : m[i][j], factor, m[k][j]);
    }
  }
  #pragma unroll
  for (int i = 0; i < RANK; i++) {
    s[i] = u[i] = {0.0, 0.0};
    #pragma unroll
    for (int j = 0; j < RANK; j++) {
      s[i] = s[i] + m[i][j] * y[1 + j];
      u[i] = u[i] + m[j][i] * y[(1 + j) * ENDS];
    }
  }
}

// k [X, C, H, P]. A thread owns as many points as registers allow.
constexpr int OWN = RANK > 2 ? 1 : 2;
extern "C" __global__ void __launch_bounds__(128) dplr_transfer(const __grid_constant__ Words<18> w) {
  __shared__ double coefficients[MODE_CHUNK][COEFFICIENTS];
  const Sizes s = sizes(w);
  const int h = system_of(s.systems), set = part_of(s.systems) / s.reads, read = part_of(s.systems) % s.reads, p = blockIdx.x * 128 * OWN + threadIdx.x;
  if (FOLDED && set >= s.sets) return;
  const Point* const points = pointer<const Point>(w, 9);
  Point z[OWN];
  #pragma unroll
  for (int j = 0; j < OWN; j++) z[j] = points[min_(p + 128 * j, s.points - 1)];
  Pair y[OWN][PRODUCTS];
  responses(w, s, h, set, read, z, coefficients, y);
  #pragma unroll
  for (int j = 0; j < OWN; j++) {
    if (p + 128 * j >= s.points) continue;
    Pair low[RANK], unused[RANK], k = y[j][0];
    corrections(y[j], z[j].plus, low, unused);
    #pragma unroll
    for (int r = 0; r < RANK; r++) k = less(k, z[j].plus * low[r], y[j][(1 + r) * ENDS]);
    const i64 to = ((i64)part_of(s.systems) * s.systems + h) * s.points + p + 128 * j;
    pointer<float>(w, 16)[to] = (float)k.re;
    pointer<float>(w, 17)[to] = (float)k.im;
  }
}

// Sums over one of the segments of the points, for one set and one read-out: of b, c, a and p (re, im) and of dt, without the factors dt of
// their states. Words 16 to 19: g (re, im), partial sums [segments, pairs, SUMS, H, M] and segments. In turns, threads are points, for what
// the low rank reads of x and drives in y, and modes, a warp taking every fourth point.
constexpr int SUMS = 7 + 2 * RANK;
extern "C" __global__ void __launch_bounds__(128) dplr_transfer_sums(const __grid_constant__ Words<20> w) {
  __shared__ double coefficients[MODE_CHUNK][COEFFICIENTS];
  __shared__ Point z[POINT_CHUNK];
  __shared__ Pair cotangents[POINT_CHUNK], scalars[POINT_CHUNK][2 * RANK];
  __shared__ double cells[4][32];
  const Sizes s = sizes(w);
  const int pairs = s.sets * s.reads, pair = part_of(s.systems) % pairs, segment = part_of(s.systems) / pairs, segments = integer(w, 19);
  const int h = system_of(s.systems), set = pair / s.reads, read = pair % s.reads;
  if (FOLDED && segment >= segments) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n = blockIdx.x * 32 + lane;
  const Mode mode = mode_at(w, s, h, min_(n, s.modes - 1), set, read);
  const Pair pole = {mode.a.re * mode.dt, mode.a.im * mode.dt};
  const int each = (s.points + segments - 1) / segments, begin = segment * each, end = min_(s.points, begin + each);
  double sums[SUMS] = {};
  for (int from = begin; from < end; from += POINT_CHUNK) {
    const int count = min_(POINT_CHUNK, end - from), p = from + min_((int)threadIdx.x, count - 1);
    const Point own[1] = {pointer<const Point>(w, 9)[p]};
    Pair y[1][PRODUCTS], low[RANK], back[RANK];
    responses(w, s, h, set, read, own, coefficients, y);
    corrections(y[0], own[0].plus, low, back);
    const i64 at = ((i64)pair * s.systems + h) * s.points + p;
    z[threadIdx.x] = own[0];
    cotangents[threadIdx.x] = {(double)pointer<const float>(w, 16)[at], -(double)pointer<const float>(w, 17)[at]};
    #pragma unroll
    for (int r = 0; r < RANK; r++) {
      scalars[threadIdx.x][r] = own[0].plus * low[r];
      scalars[threadIdx.x][RANK + r] = own[0].plus * back[r];
    }
    __syncthreads();
    for (int i = warp; i < count; i += 4) {
      const Pair minus = z[i].minus, plus = z[i].plus, g = cotangents[i];
      // 1 / (minus - plus z) and 1 / (minus - plus conj z) with one division.
      const Pair d1 = less(minus, plus, pole), d2 = less(minus, plus, conj(pole)), both = inverse(d1 * d2), r1 = d2 * both, r2 = d1 * both;
      Pair x1 = mode.b, x2 = conj(mode.b), y1 = mode.c, y2 = conj(mode.c);
      #pragma unroll
      for (int r = 0; r < RANK; r++) {
        const Pair q = scalars[i][r], v = scalars[i][RANK + r];
        x1 = less(x1, mode.p[r], q);
        x2 = less(x2, conj(mode.p[r]), q);
        y1 = less(y1, conj(mode.p[r]), v);
        y2 = less(y2, mode.p[r], v);
      }
      x1 = x1 * r1;
      x2 = x2 * r2;
      y1 = y1 * r1;
      y2 = y2 * r2;
      const Pair gx1 = g * x1, gx2 = g * x2, gy1 = g * y1, gy2 = g * y2, w1 = gy1 * x1, w2 = gy2 * x2;
      // conj(first) + second has the re of the sum and the im of the difference.
      const Pair xs = gx1 + gx2, xd = gx2 - gx1, ys = gy1 + gy2, yd = gy2 - gy1, ws = w1 + w2, wd = w2 - w1;
      sums[0] += ys.re;
      sums[1] += yd.im;
      sums[2] += xs.re;
      sums[3] += xd.im;
      sums[4] = fma(-ws.im, plus.im, fma(ws.re, plus.re, sums[4]));
      sums[5] = fma(wd.im, plus.re, fma(wd.re, plus.im, sums[5]));
      sums[6] = fma(-ws.im, minus.im, fma(ws.re, minus.re, sums[6]));
      #pragma unroll
      for (int r = 0; r < RANK; r++) {
        const Pair q = scalars[i][r], v = scalars[i][RANK + r];
        double re = sums[7 + 2 * r], im = sums[8 + 2 * r];
        re = fma(ys.im, q.im, fma(-ys.re, q.re, re));
        re = fma(xs.im, v.im, fma(-xs.re, v.re, re));
        im = fma(-yd.im, q.re, fma(-yd.re, q.im, im));
        im = fma(xd.im, v.re, fma(xd.re, v.im, im));
        sums[7 + 2 * r] = re;
        sums[8 + 2 * r] = im;
      }
    }
    // The next chunk's points go where these are read.
    __syncthreads();
  }
  double* const parts = pointer<double>(w, 18) + ((i64)part_of(s.systems) * SUMS * s.systems + h) * s.modes;
  #pragma unroll
  for (int i = 0; i < SUMS; i++) {
    __syncthreads();
    cells[warp][lane] = sums[i];
    __syncthreads();
    if (warp == 0 && n < s.modes)
      parts[(i64)i * s.systems * s.modes + n] = cells[0][lane] + cells[1][lane] + (cells[2][lane] + cells[3][lane]);
  }
}

// Adds partial sums in their order and multiplies by what states lack. Words: dt, partial sums, the gradients of b, c, p, a (re, im) and of
// dt where every mode has its own, sets, reads, systems, modes, steps, segments.
extern "C" __global__ void __launch_bounds__(128) dplr_transfer_total(const __grid_constant__ Words<17> w) {
  const int sets = integer(w, 11), reads = integer(w, 12), systems = integer(w, 13), modes = integer(w, 14), steps = integer(w, 15), segments = integer(w, 16);
  const i64 all = (i64)systems * modes, at = (i64)blockIdx.x * 128 + threadIdx.x;
  if (at >= all) return;
  const double dt = (double)pointer<const float>(w, 0)[steps == 1 ? at / modes : at];
  // Sum `i` of the sets and read-outs asked for.
  const auto total = [&](int i, int first_set, int last_set, int first_read, int last_read) {
    double sum = 0.0;
    for (int segment = 0; segment < segments; segment++)
      for (int set = first_set; set < last_set; set++)
        for (int read = first_read; read < last_read; read++)
          sum += pointer<const double>(w, 1)[(((i64)segment * sets * reads + set * reads + read) * SUMS + i) * all + at];
    return sum;
  };
  for (int part = 0; part < 2; part++) {
    for (int set = 0; set < sets; set++) pointer<float>(w, 2 + part)[set * all + at] = (float)(dt * total(part, set, set + 1, 0, reads));
    for (int read = 0; read < reads; read++) pointer<float>(w, 4 + part)[read * all + at] = (float)(dt * total(2 + part, 0, sets, read, read + 1));
    for (int r = 0; r < RANK; r++) pointer<float>(w, 6 + part)[r * all + at] = (float)(dt * total(7 + 2 * r + part, 0, sets, 0, reads));
    pointer<float>(w, 8 + part)[at] = (float)(dt * dt * total(4 + part, 0, sets, 0, reads));
  }
  if (steps > 1) pointer<float>(w, 10)[at] = (float)total(6, 0, sets, 0, reads);
}

// The gradient of the one step size of a system, a block each. Words: partial sums, result, systems, modes, their number.
extern "C" __global__ void __launch_bounds__(128) dplr_transfer_step(const __grid_constant__ Words<5> w) {
  __shared__ double cells[128];
  const int h = blockIdx.x, systems = integer(w, 2), modes = integer(w, 3);
  const i64 count = wide(w, 4) * modes;
  double sum = 0.0;
  for (i64 i = threadIdx.x; i < count; i += 128)
    sum += pointer<const double>(w, 0)[(i / modes * SUMS + 6) * systems * modes + (i64)h * modes + i % modes];
  cells[threadIdx.x] = sum;
  for (int d = 64; d; d >>= 1) {
    __syncthreads();
    if (threadIdx.x < d) cells[threadIdx.x] += cells[threadIdx.x + d];
  }
  if (threadIdx.x == 0) pointer<float>(w, 1)[h] = (float)cells[0];
}
