// The functions of tensor-cores.cu on a CPU: what the lanes of a warp hold is laid open, and each lane works out what the unit would give it.
// Copies in the background are done at once.

namespace emulation {

static float half_value(u16 bits) { return MMA[0] == 'b' ? reinterpreted<float>((u32)bits << 16) : from_half(bits); }
static u32 half_bits(float x) { return MMA[0] == 'b' ? to_bfloat(x) : to_half(x); }
static float part(u32 two, int which) { return half_value((u16)(which ? two >> 16 : two)); }

/** Calls `read` with what every lane of the warp gave. */
template <typename T, typename Read> void lay_open(const T& own, Read read) {
  static T given[MOST_THREADS];
  const u32 id = now;
  given[id] = own;
  wait(AT_WARP_BARRIER);
  read(given + (id & ~31u));
  wait(AT_WARP_BARRIER);
}

struct Factors { u32 a[4], b[2]; };

template <int TERMS> void multiply(float (&c)[4], const Factors& own) {
  lay_open(own, [&](const Factors* of) {
    const int g = lane() >> 2, t = lane() & 3;
    for (int e = 0; e < 4; e++) {
      const int row = e >> 1, column = 2 * t + (e & 1);
      float sum = 0.f;
      for (int k = 0; k < TERMS; k++)
        sum += part(of[4 * g + (k % 8) / 2].a[row + 2 * (k / 8)], k & 1) * part(of[4 * column + (k % 8) / 2].b[k / 8], k & 1);
      c[e] += sum;
    }
  });
}

/** Rounded to the 10 bits of a TF32 number's fraction, away from zero between two. */
static u32 to_tf32(float x) {
  const u32 raw = reinterpreted<u32>(x);
  return (raw & 0x7f800000) == 0x7f800000 ? raw : (raw + 0x1000) & ~0x1fffu;
}

/** c += a b of 16 x 8 and 8 x 8 TF32 numbers. */
static void multiply_tf32(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  lay_open(Factors{{a[0], a[1], a[2], a[3]}, {b0, b1}}, [&](const Factors* of) {
    const int g = lane() >> 2, t = lane() & 3;
    for (int e = 0; e < 4; e++) {
      const int row = e >> 1, column = 2 * t + (e & 1);
      double sum = c[e];
      for (int k = 0; k < 8; k++)
        sum += (double)reinterpreted<float>(of[4 * g + k % 4].a[row + 2 * (k / 4)]) * reinterpreted<float>(of[4 * column + k % 4].b[k / 4]);
      c[e] = (float)sum;
    }
  });
}

template <int BLOCKS> void load(u32* r, const void* p, bool turns) {
  lay_open(p, [&](const void* const* of) {
    const int g = lane() >> 2, t = lane() & 3;
    for (int m = 0; m < BLOCKS; m++) {
      const auto row = [&](int i) { return (const u16*)of[8 * m + i]; };
      r[m] = turns ? row(2 * t)[g] | (u32)row(2 * t + 1)[g] << 16 : row(g)[2 * t] | (u32)row(g)[2 * t + 1] << 16;
    }
  });
}

}  // namespace emulation

static inline float exp2_(float x) { return exp2f(x); }
static inline float reciprocal_(float x) { return 1.f / x; }
template <typename T> T read_once(const T* p) { return *p; }
static inline u32 pair(float low, float high) { return emulation::half_bits(low) | emulation::half_bits(high) << 16; }
static inline void multiply8(float (&c)[4], u32 a0, u32 a1, u32 b) { emulation::multiply<8>(c, {{a0, a1, 0, 0}, {b, 0}}); }
static inline void multiply16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  emulation::multiply<16>(c, {{a[0], a[1], a[2], a[3]}, {b0, b1}});
}
static inline void load4(u32 (&r)[4], const void* p) { emulation::load<4>(r, p, false); }
static inline void load_turned4(u32 (&r)[4], const void* p) { emulation::load<4>(r, p, true); }
static inline void load_turned2(u32& r0, u32& r1, const void* p) {
  u32 r[2];
  emulation::load<2>(r, p, true);
  r0 = r[0], r1 = r[1];
}
static inline u32 turned(u32 x) {
  u32 y = 0;
  emulation::lay_open(x, [&](const u32* of) {
    const int g = emulation::lane() >> 2, t = emulation::lane() & 3;
    for (int i = 0; i < 2; i++) y |= (of[4 * (2 * t + i) + g / 2] >> 16 * (g & 1) & 0xffff) << 16 * i;
  });
  return y;
}
static inline void copy16(void* to, const void* from, int bytes) {
  memset(to, 0, 16);
  memcpy(to, from, bytes);
}
static inline void copies_commit() {}
template <int LEFT> void copies_wait() {}
