// The order in which the tensor-core kernels hold spectra in memory. In front: `#define FACTOR m`, `#define TWISTED 0|1`, `#define RESIDUES p`,
// `#define POINTS n` (N / p), `#define CLUSTER 0|1` (for transforms of tensor-columns.cu, else of tensor-teams.cu), transform.cu and
// tensor-instructions.cu.
//
// x^N - i (or 1) splits into p factors x^(N/p) - root: transform j has the coefficients k = j + p k'.

constexpr int M = FACTOR, WHOLE = N * RESIDUES, C = M >= 8 ? M / 8 : 1;

// Times W^(shift n), n = t + i T: powers by doubling, so that roundings stay few.
__device__ __forceinline__ void twist_rows(float (&re)[16], float (&im)[16], int t, float shift) {
  float c, s, pc[16], ps[16];
  sincospif(-2.f * shift * t / WHOLE, &s, &c);
  sincospif(-2.f * shift / (16 * RESIDUES), &ps[1], &pc[1]);
  #pragma unroll
  for (int i = 2; i < 16; i++) {
    pc[i] = pc[i / 2]; ps[i] = ps[i / 2];
    times(pc[i], ps[i], pc[i - i / 2], ps[i - i / 2]);
  }
  times(re[0], im[0], c, s);
  #pragma unroll
  for (int i = 1; i < 16; i++) {
    times(pc[i], ps[i], c, s);
    times(re[i], im[i], pc[i], ps[i]);
  }
}

// Where a coefficient waits in shared memory, so that those which neighbouring threads have lie in different banks.
__device__ __forceinline__ constexpr int cell(int k) { return k + k / (N / 4) * 8; }

// Pair i of the coefficients k = j + p k': which k' its low and its high halves are, and its place in memory in units of 8 bytes (re, im).
struct Coefficients { int low, high, to; };
__device__ __forceinline__ Coefficients coefficients(int i, int j) {
  constexpr int PER = 16 / RESIDUES;
  int low, to;
  if (M == 4 || CLUSTER) {
    // k1 = j + p m = 2 g + r; tiles k2 C + c, or (M = 4) what is left of k2 and k3.
    const int lane_t = i & 3, k1 = j + RESIDUES * (i >> 2 & (PER - 1)), g = k1 >> 1, r = k1 & 1, tile = (i >> 2) / PER;
    if (M == 4) {
      const int odd = tile & 1, q = tile >> 1;
      low = k1 + 16 * (4 * lane_t + odd) + 256 * q;
      to = (((2 * r + odd) * 2 + (q >> 1)) * 32 + 4 * g + lane_t) * 2 + (q & 1);
    } else {
      low = k1 + 16 * (tile / C) + 256 * (C * 2 * lane_t + tile % C);
      to = (tile * 32 + 4 * g + lane_t) * 2 + r;
    }
  } else {
    // A tile is a k1 and a class; its rows g + 8 h have k2 = 8 h + 4 (g / 4) + 2 (g % 2) + g / 2 % 2.
    const int h = i & 1, lane_t = i >> 1 & 3, k1 = j + RESIDUES * (i >> 3 & (PER - 1)), g = (i >> 3) / PER & 7, c = (i >> 3) / PER >> 3;
    low = k1 + 16 * (8 * h + (g & 4) + 2 * (g & 1) + (g >> 1 & 1)) + 256 * (C * 2 * lane_t + c);
    to = ((((k1 & 1) * 8 + (k1 >> 1)) * C + c) * 32 + 4 * g + lane_t) * 2 + h;
  }
  return {(low - j) / RESIDUES, (low + (M == 4 ? 32 : 256 * C) - j) / RESIDUES, to};
}
