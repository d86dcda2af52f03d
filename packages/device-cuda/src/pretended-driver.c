// A driver and a compiler that pretend, for tests on machines without a GPU: memory is the host's, copies are real and stay within what was allocated,
// launches do nothing. What streams are given is done as late as it may be: when somebody waits for it, or asks a second time whether it is over. Then
// memory, kernels and graphs that it needs must still be there, or every later call fails. Addresses are given out once. A recording must have been
// joined by all streams that took part.
// PRETEND_GRAPH and PRETEND_REPLAY (what making and launching a graph answer), PRETEND_VERSION (driver, times 1000), PRETEND_INIT (what it answers first), PRETEND_GPUS, PRETEND_MAJOR (compute capability), PRETEND_BYTES (of device memory), PRETEND_LAUNCH
// (what launches return), PRETEND_COPY (what copies return), PRETEND_BREAKS (the launch from which on work fails, counted from 1), PRETEND_MODULE (bytes that loading a kernel needs free), PRETEND_NVRTC (major version of the compiler), PRETEND_TELLS (1: launches, copies, graphs, events and pinned memory, and streams and kernels that are dropped, are told on the standard error), PRETEND_WORDS (words of a launch's parameter that are told too, and that must not lie in memory that was freed).

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { INVALID = 1, OUT_OF_MEMORY = 2, NOT_READY = 600, ILLEGAL = 700, IN_CAPTURE = 900, UNJOINED = 904, ISOLATED = 905 };
enum { MAJOR = 75, MINOR = 76, PROCESSORS = 16, SHARED = 97, SIZES = 4096, MEMBERS = 8, PAGE = 4096 };
static uint64_t used, sizes[SIZES][2], pinned[SIZES][2], handles = 1;
/** What became of the device's work, and launches that were done. */
static int failed;
static uint64_t done;

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
int cuDeviceGetName(char *to, int n, int d) { strncpy(to, "Pretended GPU", n); return 0; }
int cuDeviceGetAttribute(int *to, int which, int d) {
  *to = which == MAJOR ? setting("PRETEND_MAJOR", 9) : which == PROCESSORS ? 132 : which == SHARED ? 232448 : 0;
  return 0;
}
int cuDevicePrimaryCtxRetain(uint64_t *to, int d) { *to = handles++; return 0; }
int cuCtxSetCurrent(uint64_t c) { return 0; }
/** Whether memory of a table is there, from `at` on. */
static int lies_in(uint64_t (*table)[2], uint64_t at, uint64_t bytes) {
  for (int i = 0; i < SIZES; i++)
    if (table[i][0] && at >= table[i][0] && at + bytes <= table[i][0] + table[i][1]) return 1;
  return 0;
}
static int enter(uint64_t (*table)[2], uint64_t at, uint64_t bytes) {
  for (int i = 0; i < SIZES; i++)
    if (!table[i][0]) { table[i][0] = at; table[i][1] = bytes; return 1; }
  return 0;
}
/** The bytes of memory that leaves a table; 0: it is not there. */
static uint64_t leave(uint64_t (*table)[2], uint64_t at) {
  for (int i = 0; i < SIZES; i++)
    if (at && table[i][0] == at) { table[i][0] = 0; return table[i][1]; }
  return 0;
}

/** Device memory: a part of the address space of which no place is used twice. */
static const uint64_t SPACE = 1ull << 40;
static uint64_t space, taken;
static uint64_t whole_pages(uint64_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }
int cuMemAlloc_v2(uint64_t *to, uint64_t bytes) {
  if (used + bytes > setting("PRETEND_BYTES", 1 << 30)) return OUT_OF_MEMORY;
  if (!space) space = (uint64_t)mmap(0, SPACE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  *to = space + taken;
  if (mprotect((void *)*to, whole_pages(bytes), PROT_READ | PROT_WRITE) || !enter(sizes, *to, bytes)) return OUT_OF_MEMORY;
  taken += whole_pages(bytes) + PAGE;
  used += bytes;
  return 0;
}
int cuMemFree_v2(uint64_t at) {
  uint64_t bytes = leave(sizes, at);
  if (!bytes) return INVALID;
  used -= bytes;
  madvise((void *)at, whole_pages(bytes), MADV_DONTNEED);
  mprotect((void *)at, whole_pages(bytes), PROT_NONE);
  return 0;
}
int cuMemGetInfo_v2(uint64_t *left, uint64_t *total) {
  *total = setting("PRETEND_BYTES", 1 << 30);
  *left = *total - used;
  return 0;
}
int cuMemAllocHost_v2(uint64_t *to, uint64_t bytes) {
  tell("pinned memory");
  *to = (uint64_t)calloc(1, bytes);
  return enter(pinned, *to, bytes) ? 0 : OUT_OF_MEMORY;
}
int cuMemFreeHost(uint64_t at) {
  if (!leave(pinned, at)) return INVALID;
  free((void *)at);
  return tell("dropped pinned memory");
}

typedef enum { UP, DOWN, ACROSS, FILL, LAUNCH, WAIT, REPLAY } Kind;
typedef struct { int gone; } Module;
typedef struct Stream Stream;
typedef struct Graph Graph;
typedef struct {
  Kind kind;
  uint64_t to, from, bytes, count, *words;
  int value;
  Module *module;
  Stream *stream;
  long upto;
  Graph *graph;
} Work;
typedef struct { Work *work; long count, room; } List;
/** Streams that take part in a recording, and of each how much work of the others is behind it. */
struct Graph { List list; int gone, open, members; long behind[MEMBERS][MEMBERS]; };
/** `first` is the number of the work in front of the list, `done` that of the next. */
struct Stream { List list; long first, done; Graph *graph; int member; };
typedef struct { Stream *stream; long upto; int asked; Graph *graph; long behind[MEMBERS]; } Event;

static void push(List *list, Work work) {
  if (list->count == list->room) list->work = realloc(list->work, (list->room = 2 * list->room + 16) * sizeof(Work));
  list->work[list->count++] = work;
}
/** A stream, which has left a recording that ended. */
static Stream *at(uint64_t stream) {
  Stream *s = (Stream *)stream;
  if (s->graph && !s->graph->open) s->graph = 0;
  return s;
}
/** Gives work to a stream, or to what it records. */
static int give(uint64_t stream, Work work) {
  Stream *s = at(stream);
  if (failed) return failed;
  if (s->graph) s->graph->behind[s->member][s->member]++;
  push(s->graph ? &s->graph->list : &s->list, work);
  return 0;
}
static void perform(Stream *s, long upto);
static int is_gone(uint64_t at) { return space && at >= space && at < space + taken && !lies_in(sizes, at, 0); }
static void run(Work *w) {
  int there = 1;
  if (w->kind == UP) there = lies_in(pinned, w->from, w->bytes) && lies_in(sizes, w->to, w->bytes);
  if (w->kind == DOWN) there = lies_in(sizes, w->from, w->bytes) && lies_in(pinned, w->to, w->bytes);
  if (w->kind == ACROSS) there = lies_in(sizes, w->from, w->bytes) && lies_in(sizes, w->to, w->bytes);
  if (w->kind == FILL) there = lies_in(sizes, w->to, w->bytes);
  if (w->kind == LAUNCH) {
    there = !w->module->gone && ++done != setting("PRETEND_BREAKS", 0);
    for (uint64_t i = 0; i < w->count; i++) there = there && !is_gone(w->words[i]);
  }
  if (w->kind == REPLAY) {
    there = !w->graph->gone;
    for (long i = 0; there && i < w->graph->list.count; i++) run(w->graph->list.work + i);
  }
  if (!there && !failed) failed = ILLEGAL;
  if (failed) return;
  if (w->kind == WAIT) perform(w->stream, w->upto);
  if (w->kind == FILL) memset((void *)w->to, w->value, w->bytes);
  if (w->kind <= ACROSS) memmove((void *)w->to, (void *)w->from, w->bytes);
}
static void perform(Stream *s, long upto) {
  while (!failed && s->done < upto) run(s->list.work + s->done++ - s->first);
  if (s->done - s->first < s->list.count) return;
  s->first = s->done;
  s->list.count = 0;
}
int cuStreamCreate(uint64_t *to, unsigned int f) { *to = (uint64_t)calloc(1, sizeof(Stream)); return 0; }
int cuStreamDestroy_v2(uint64_t stream) {
  Stream *s = at(stream);
  perform(s, s->first + s->list.count);
  tell("dropped a stream");
  return failed;
}
int cuStreamSynchronize(uint64_t stream) {
  Stream *s = at(stream);
  if (s->graph) return IN_CAPTURE;
  perform(s, s->first + s->list.count);
  return failed;
}
int cuEventCreate(uint64_t *to, unsigned int f) { *to = (uint64_t)calloc(1, sizeof(Event)); return tell("made an event"); }
int cuEventDestroy_v2(uint64_t e) { return tell("dropped an event"); }
int cuEventRecord(uint64_t event, uint64_t stream) {
  Event *e = (Event *)event;
  Stream *s = at(stream);
  *e = (Event){ .stream = s, .upto = s->first + s->list.count, .graph = s->graph };
  if (s->graph) memcpy(e->behind, s->graph->behind[s->member], sizeof e->behind);
  return failed;
}
int cuStreamWaitEvent(uint64_t stream, uint64_t event, unsigned int f) {
  Event *e = (Event *)event;
  Stream *s = at(stream);
  if (!e->graph) {
    if (s->graph) return ISOLATED;
    return e->stream ? give(stream, (Work){ .kind = WAIT, .stream = e->stream, .upto = e->upto }) : 0;
  }
  if (!e->graph->open || (s->graph && s->graph != e->graph)) return ISOLATED;
  if (!s->graph) {
    if (e->graph->members == MEMBERS) return INVALID;
    s->graph = e->graph;
    s->member = e->graph->members++;
  }
  long *behind = s->graph->behind[s->member];
  for (int i = 0; i < MEMBERS; i++)
    if (e->behind[i] > behind[i]) behind[i] = e->behind[i];
  return 0;
}
int cuEventQuery(uint64_t event) {
  Event *e = (Event *)event;
  if (e->graph) return IN_CAPTURE;
  if (!failed && !e->asked++) return NOT_READY;
  if (e->stream) perform(e->stream, e->upto);
  return failed;
}
int cuEventSynchronize(uint64_t event) {
  Event *e = (Event *)event;
  if (e->graph) return IN_CAPTURE;
  if (e->stream) perform(e->stream, e->upto);
  return failed;
}
int cuEventElapsedTime(float *ms, uint64_t a, uint64_t b) { *ms = 1; return 0; }

static int copied(Kind kind, uint64_t to, uint64_t from, uint64_t n, uint64_t s) {
  int answer = setting("PRETEND_COPY", 0);
  return answer ? answer : give(s, (Work){ .kind = kind, .to = to, .from = from, .bytes = n });
}
int cuMemcpyHtoDAsync_v2(uint64_t to, uint64_t from, uint64_t n, uint64_t s) { return copied(UP, to, from, n, s); }
int cuMemcpyDtoHAsync_v2(uint64_t to, uint64_t from, uint64_t n, uint64_t s) { return copied(DOWN, to, from, n, s); }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, uint64_t n, uint64_t s) {
  tell("copied");
  return copied(ACROSS, to, from, n, s);
}
int cuMemsetD8Async(uint64_t to, unsigned char x, uint64_t n, uint64_t s) {
  return give(s, (Work){ .kind = FILL, .to = to, .bytes = n, .value = x });
}
int cuModuleLoadData(uint64_t *to, void *image) {
  *to = (uint64_t)calloc(1, sizeof(Module));
  return used + setting("PRETEND_MODULE", 0) > setting("PRETEND_BYTES", 1 << 30) ? OUT_OF_MEMORY : 0;
}
int cuModuleUnload(uint64_t m) { ((Module *)m)->gone = 1; return tell("unloaded a kernel"); }
int cuModuleGetFunction(uint64_t *to, uint64_t m, const char *name) { *to = m; return 0; }
int cuFuncSetAttribute(uint64_t f, int which, int value) { return 0; }
static int launched(uint64_t f, uint64_t s, void **p) {
  uint64_t count = setting("PRETEND_WORDS", 0), *words = malloc(8 * count + 8);
  int answer = setting("PRETEND_LAUNCH", 0);
  tell("launched");
  memcpy(words, p[0], 8 * count);
  if (count) fprintf(stderr, "words");
  for (uint64_t i = 0; i < count; i++) fprintf(stderr, " %llu", (unsigned long long)words[i]);
  if (count) fprintf(stderr, "\n");
  return answer ? answer : give(s, (Work){ .kind = LAUNCH, .module = (Module *)f, .words = words, .count = count });
}
int cuLaunchKernel(uint64_t f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, uint64_t s, void **p, void **e) {
  return launched(f, s, p);
}
int cuLaunchKernelEx(void *config, uint64_t f, void **p, void **e) {
  tell("beside the one in front:");
  return launched(f, ((uint64_t *)config)[4], p);
}
int cuTensorMapEncodeTiled(uint64_t to, int t, unsigned r, uint64_t at, void *a, void *b, void *c, void *d, int e, int f, int g, int h) { return 0; }
int cuGetErrorName(int code, const char **to) {
  *to = code == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_PRETENDED";
  return 0;
}
int cuStreamBeginCapture_v2(uint64_t stream, int mode) {
  Stream *s = at(stream);
  if (s->graph) return IN_CAPTURE;
  s->graph = calloc(1, sizeof(Graph));
  s->graph->open = s->graph->members = 1;
  s->member = 0;
  return 0;
}
int cuStreamEndCapture(uint64_t stream, uint64_t *to) {
  Graph *g = ((Stream *)stream)->graph;
  int joined = 1;
  for (int i = 0; i < g->members; i++) joined = joined && g->behind[0][i] == g->behind[i][i];
  g->open = 0;
  *to = (uint64_t)g;
  return joined ? 0 : UNJOINED;
}
int cuGraphInstantiateWithFlags(uint64_t *to, uint64_t g, uint64_t f) {
  *to = g;
  return setting("PRETEND_GRAPH", 0) ? setting("PRETEND_GRAPH", 0) : tell("made a graph");
}
int cuGraphLaunch(uint64_t g, uint64_t s) {
  int answer = setting("PRETEND_REPLAY", 0);
  tell("replayed");
  return answer ? answer : give(s, (Work){ .kind = REPLAY, .graph = (Graph *)g });
}
int cuGraphDestroy(uint64_t g) { return 0; }
int cuGraphExecDestroy(uint64_t g) { ((Graph *)g)->gone = 1; return tell("dropped a graph"); }

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
