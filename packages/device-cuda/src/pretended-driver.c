// A driver and a compiler that pretend, for tests on machines without a GPU: memory is the host's, copies are real and stay within what was allocated,
// launches do nothing.
// PRETEND_GRAPH and PRETEND_REPLAY (what making and launching a graph answer), PRETEND_VERSION (driver, times 1000), PRETEND_INIT (what it answers first), PRETEND_GPUS, PRETEND_MAJOR (compute capability), PRETEND_BYTES (of device memory), PRETEND_LAUNCH
// (what launches return), PRETEND_BREAKS (the launch from which on waiting for work fails, counted from 1), PRETEND_MODULE (bytes that loading a kernel needs free), PRETEND_NVRTC (major version of the compiler), PRETEND_TELLS (1: launches, copies, graphs, streams and kernels that are dropped, are told on the standard error), PRETEND_WORDS (words of a launch's parameter that are told too).

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INVALID = 1, OUT_OF_MEMORY = 2, ILLEGAL = 700, MAJOR = 75, MINOR = 76, PROCESSORS = 16, SHARED = 97, SIZES = 4096 };
static uint64_t used, sizes[SIZES][2], handles = 1;

static uint64_t setting(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text ? strtoull(text, 0, 10) : otherwise;
}

static int tell(const char *what) {
  if (setting("PRETEND_TELLS", 0)) fprintf(stderr, "%s\n", what);
  return 0;
}

int cuInit(unsigned int flags) { return setting("PRETEND_INIT", 0); }
int cuDriverGetVersion(int *v) { *v = setting("PRETEND_VERSION", 13000); return 0; }
int cuDeviceGetCount(int *n) { *n = setting("PRETEND_GPUS", 1); return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDeviceGetName(char *to, int n, int d) { strncpy(to, "Pretended GPU", n); return 0; }
int cuDeviceGetAttribute(int *to, int which, int d) {
  *to = which == MAJOR ? setting("PRETEND_MAJOR", 9) : which == PROCESSORS ? 132 : which == SHARED ? 232448 : 0;
  return 0;
}
int cuDevicePrimaryCtxRetain(uint64_t *to, int d) { *to = handles++; return 0; }
int cuCtxSetCurrent(uint64_t c) { return 0; }
int cuStreamCreate(uint64_t *to, unsigned int f) { *to = handles++; return 0; }
int cuStreamDestroy_v2(uint64_t s) { return tell("dropped a stream"); }
static uint64_t launches;
static int broken(void) { return setting("PRETEND_BREAKS", 0) && launches >= setting("PRETEND_BREAKS", 0) ? ILLEGAL : 0; }
int cuStreamSynchronize(uint64_t s) { return broken(); }
int cuStreamWaitEvent(uint64_t s, uint64_t e, unsigned int f) { return 0; }
int cuMemAlloc_v2(uint64_t *to, uint64_t bytes) {
  if (used + bytes > setting("PRETEND_BYTES", 1 << 30)) return OUT_OF_MEMORY;
  *to = (uint64_t)calloc(1, bytes);
  for (int i = 0; i < SIZES; i++)
    if (!sizes[i][0]) { sizes[i][0] = *to; sizes[i][1] = bytes; used += bytes; return 0; }
  return OUT_OF_MEMORY;
}
int cuMemFree_v2(uint64_t at) {
  for (int i = 0; i < SIZES; i++)
    if (at && sizes[i][0] == at) {
      used -= sizes[i][1];
      sizes[i][0] = 0;
      free((void *)at);
      return 0;
    }
  return INVALID;
}
static int outside(uint64_t at, uint64_t bytes) {
  for (int i = 0; i < SIZES; i++)
    if (sizes[i][0] && at >= sizes[i][0] && at + bytes <= sizes[i][0] + sizes[i][1]) return 0;
  return ILLEGAL;
}
int cuMemGetInfo_v2(uint64_t *left, uint64_t *total) {
  *total = setting("PRETEND_BYTES", 1 << 30);
  *left = *total - used;
  return 0;
}
int cuMemAllocHost_v2(uint64_t *to, uint64_t bytes) { *to = (uint64_t)calloc(1, bytes); return 0; }
int cuMemFreeHost(uint64_t at) { free((void *)at); return 0; }
static int copy(uint64_t to, uint64_t from, uint64_t bytes) { memmove((void *)to, (void *)from, bytes); return 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, uint64_t from, uint64_t n, uint64_t s) { return outside(to, n) ? ILLEGAL : copy(to, from, n); }
int cuMemcpyDtoHAsync_v2(uint64_t to, uint64_t from, uint64_t n, uint64_t s) { return outside(from, n) ? ILLEGAL : copy(to, from, n); }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, uint64_t n, uint64_t s) {
  tell("copied");
  return outside(to, n) || outside(from, n) ? ILLEGAL : copy(to, from, n);
}
int cuMemsetD8Async(uint64_t to, unsigned char x, uint64_t n, uint64_t s) {
  if (outside(to, n)) return ILLEGAL;
  memset((void *)to, x, n);
  return 0;
}
int cuEventCreate(uint64_t *to, unsigned int f) { *to = handles++; return 0; }
int cuEventDestroy_v2(uint64_t e) { return 0; }
int cuEventRecord(uint64_t e, uint64_t s) { return 0; }
int cuEventQuery(uint64_t e) { return 0; }
int cuEventSynchronize(uint64_t e) { return 0; }
int cuEventElapsedTime(float *ms, uint64_t a, uint64_t b) { *ms = 1; return 0; }
int cuModuleLoadData(uint64_t *to, void *image) {
  *to = handles++;
  return used + setting("PRETEND_MODULE", 0) > setting("PRETEND_BYTES", 1 << 30) ? OUT_OF_MEMORY : 0;
}
int cuModuleUnload(uint64_t m) { return tell("unloaded a kernel"); }
int cuModuleGetFunction(uint64_t *to, uint64_t m, const char *name) { *to = handles++; return 0; }
int cuFuncSetAttribute(uint64_t f, int which, int value) { return 0; }
static int launched(void **p) {
  uint64_t words = setting("PRETEND_WORDS", 0);
  launches++;
  tell("launched");
  if (words) fprintf(stderr, "words");
  for (uint64_t i = 0; i < words; i++) fprintf(stderr, " %llu", ((unsigned long long *)p[0])[i]);
  if (words) fprintf(stderr, "\n");
  return setting("PRETEND_LAUNCH", 0);
}
int cuLaunchKernel(uint64_t f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, uint64_t s, void **p, void **e) {
  return launched(p);
}
int cuLaunchKernelEx(void *config, uint64_t f, void **p, void **e) { tell("beside the one in front:"); return launched(p); }
int cuTensorMapEncodeTiled(uint64_t to, int t, unsigned r, uint64_t at, void *a, void *b, void *c, void *d, int e, int f, int g, int h) { return 0; }
int cuGetErrorName(int code, const char **to) {
  *to = code == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_PRETENDED";
  return 0;
}
int cuStreamBeginCapture_v2(uint64_t s, int mode) { return 0; }
int cuStreamEndCapture(uint64_t s, uint64_t *to) { *to = handles++; return 0; }
int cuGraphInstantiateWithFlags(uint64_t *to, uint64_t g, uint64_t f) {
  *to = handles++;
  return setting("PRETEND_GRAPH", 0) ? setting("PRETEND_GRAPH", 0) : tell("made a graph");
}
int cuGraphLaunch(uint64_t g, uint64_t s) { tell("replayed"); return setting("PRETEND_REPLAY", 0); }
int cuGraphDestroy(uint64_t g) { return 0; }
int cuGraphExecDestroy(uint64_t g) { return tell("dropped a graph"); }

int nvrtcVersion(int *major, int *minor) { *major = setting("PRETEND_NVRTC", 13); *minor = 0; return 0; }
int nvrtcGetNumSupportedArchs(int *n) { *n = 2; return 0; }
int nvrtcGetSupportedArchs(int *to) { to[0] = 80; to[1] = 90; return 0; }
int nvrtcCreateProgram(uint64_t *to, const char *s, const char *n, int k, void *a, void *b) { *to = handles++; return 0; }
int nvrtcCompileProgram(uint64_t p, int n, const char **o) { return 0; }
int nvrtcDestroyProgram(uint64_t *p) { return 0; }
int nvrtcGetProgramLogSize(uint64_t p, uint64_t *to) { *to = 1; return 0; }
int nvrtcGetProgramLog(uint64_t p, char *to) { *to = 0; return 0; }
int nvrtcGetCUBINSize(uint64_t p, uint64_t *to) { *to = 1; return 0; }
int nvrtcGetCUBIN(uint64_t p, char *to) { *to = 1; return 0; }
int nvrtcGetPTXSize(uint64_t p, uint64_t *to) { *to = 1; return 0; }
int nvrtcGetPTX(uint64_t p, char *to) { *to = 0; return 0; }
