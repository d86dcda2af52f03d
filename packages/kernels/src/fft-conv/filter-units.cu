// What gradients of filters that share a transform are multiplied by in its last step: 2^-e for the least of the exponents e that the parts of a line have
// (filter-gradient.cu), in two factors, as one may not hold it.

struct Unit {
  float one = 1.f, two = 1.f;
  __device__ __forceinline__ Unit(const int* exponents, i64 line, int parts, bool there) {
    if (!there) return;
    int least = exponents[line * parts];
    for (int part = 1; part < parts; part++) least = min_(least, exponents[line * parts + part]);
    one = ldexpf(1.f, -least / 2); two = ldexpf(1.f, -least + least / 2);
  }
  __device__ __forceinline__ float of(float x) const { return x * one * two; }
};
