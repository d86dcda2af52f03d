// Native peers of the CPU bench, one thread: OpenBLAS, FFTW (real transform, and FFTW with the right-angle trick), and the
// peak of fused multiply-adds by vector width. Reads "case N" lines, answers each "go" with the milliseconds of one run.
//   cc -O3 -march=native native.c -o native -lopenblas -lfftw3f -lm
// fftw3.h first: after cblas.h its complex numbers would be C99's.
#include <fftw3.h>
#include <cblas.h>
#include <immintrin.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 768 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

static float *ramp(size_t n, int period, float scale) {
  float *p = aligned_alloc(64, (n * 4 + 63) / 64 * 64);
  for (size_t i = 0; i < n; i++) p[i] = (float)((int)(i * 7 % period) - period / 2) * scale;
  return p;
}

static float *A, *B, *C, *G, *twist;
static fftwf_complex *x, *y, *z;
static fftwf_plan forward, backward;
static size_t N;
static volatile float sink;

static void gemm_run(void) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, N, N, N, 1, A, N, B, N, 0, C, N);
}

// irfft(rfft(u, 2L) rfft(k, 2L))[:L] * g
static void real_run(void) {
  size_t L = N, F = L + 1;
  for (size_t r = 0; r < ROWS; r++) {
    float *u = (float *)x;
    memcpy(u, A + r * L, 4 * L);
    memset(u + L, 0, 4 * L);
    fftwf_execute_dft_r2c(forward, u, y);
    memcpy(u, B + r * L, 4 * L);
    memset(u + L, 0, 4 * L);
    fftwf_execute_dft_r2c(forward, u, z);
    for (size_t i = 0; i < F; i++) {
      float a = y[i][0], b = y[i][1], c = z[i][0], d = z[i][1];
      y[i][0] = (a * c - b * d) / (2 * L);
      y[i][1] = (a * d + b * c) / (2 * L);
    }
    fftwf_execute_dft_c2r(backward, y, u);
    for (size_t i = 0; i < L; i++) C[r * L + i] = u[i] * G[r * L + i];
  }
}

// the same by one complex transform of length L on u[n] exp(-i pi n / 2L)
static void trick_run(void) {
  size_t L = N;
  for (size_t r = 0; r < ROWS; r++) {
    for (int which = 0; which < 2; which++) {
      float *from = (which ? B : A) + r * L;
      for (size_t i = 0; i < L; i++) {
        x[i][0] = from[i] * twist[2 * i];
        x[i][1] = from[i] * twist[2 * i + 1];
      }
      fftwf_execute_dft(forward, x, which ? z : y);
    }
    for (size_t i = 0; i < L; i++) {
      float a = y[i][0], b = y[i][1], c = z[i][0], d = z[i][1];
      x[i][0] = (a * c - b * d) / L;
      x[i][1] = (a * d + b * c) / L;
    }
    fftwf_execute_dft(backward, x, y);
    for (size_t i = 0; i < L; i++) C[r * L + i] = G[r * L + i] * (y[i][0] * twist[2 * i] + y[i][1] * twist[2 * i + 1]);
  }
}

#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define PEAK(NAME, T, SET, FMA)                      \
  static void NAME(void) {                           \
    T b = SET(0.999f), c = SET(1e-3f), a[12];        \
    for (int i = 0; i < 12; i++) a[i] = SET((float)i); \
    for (long k = 0; k < 2000000; k++) {             \
      EACH(FMA)                                      \
    }                                                \
    float s = 0;                                     \
    for (int i = 0; i < 12; i++) s += ((float *)&a[i])[0]; \
    sink = s;                                        \
  }
#define F128(i) a[i] = _mm_fmadd_ps(a[i], b, c);
#define F256(i) a[i] = _mm256_fmadd_ps(a[i], b, c);
PEAK(peak128, __m128, _mm_set1_ps, F128)
PEAK(peak256, __m256, _mm256_set1_ps, F256)

int main(void) {
  openblas_set_num_threads(1);
  char line[64], name[32];
  void (*run)(void) = 0;
  while (fgets(line, sizeof line, stdin)) {
    if (strncmp(line, "go", 2) == 0 && run) {
      double t = now();
      run();
      printf("%.6f\n", now() - t);
      fflush(stdout);
      continue;
    }
    if (sscanf(line, "%31s %zu", name, &N) != 2) return 1;
    free(A), free(B), free(C), free(G), free(twist);
    A = B = C = G = twist = 0;
    if (strcmp(name, "gemm") == 0) {
      A = ramp(N * N, 13, .1f), B = ramp(N * N, 11, .1f), C = ramp(N * N, 3, 0), run = gemm_run;
    } else if (strcmp(name, "fftw-real") == 0 || strcmp(name, "fftw-trick") == 0) {
      size_t L = N;
      A = ramp(ROWS * L, 13, .1f), B = ramp(ROWS * L, 11, .1f), C = ramp(ROWS * L, 3, 0), G = ramp(ROWS * L, 5, .5f);
      x = fftwf_malloc(8 * (2 * L + 64)), y = fftwf_malloc(8 * (2 * L + 64)), z = fftwf_malloc(8 * (2 * L + 64));
      if (name[5] == 'r') {
        forward = fftwf_plan_dft_r2c_1d(2 * L, (float *)x, y, FFTW_MEASURE);
        backward = fftwf_plan_dft_c2r_1d(2 * L, y, (float *)x, FFTW_MEASURE);
        run = real_run;
      } else {
        twist = malloc(8 * L);
        for (size_t i = 0; i < L; i++) twist[2 * i] = cos(-M_PI * i / (2.0 * L)), twist[2 * i + 1] = sin(-M_PI * i / (2.0 * L));
        forward = fftwf_plan_dft_1d(L, x, y, FFTW_FORWARD, FFTW_MEASURE);
        backward = fftwf_plan_dft_1d(L, x, y, FFTW_BACKWARD, FFTW_MEASURE);
        run = trick_run;
      }
    } else if (strcmp(name, "peak128") == 0) {
      run = peak128;
    } else if (strcmp(name, "peak256") == 0) {
      run = peak256;
    } else {
      return 1;
    }
    run();
    printf("ready\n");
    fflush(stdout);
  }
}
