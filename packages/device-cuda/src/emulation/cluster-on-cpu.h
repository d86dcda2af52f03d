// Clusters of blocks on a CPU, with a watch on the order of their accesses to shared memory: the functions of fft-conv/tensor-instructions.cu and
// cluster-instructions.cu. The threads of a cluster are fibers that change at barriers, in an order that a seed draws; some may be held back, and what
// travels (stores to other blocks, their arrivals, bulk copies) may come as late as it can.
//
// Every thread has a clock (Lamport; Mattern, Virtual Time and Global States of Distributed Systems, 1989): how far it knows all others to have come.
// Barriers join the clocks of those who meet, phases hand those of who arrived to who waits. Of every word of shared memory its last write and
// the reads since are known, and an access that does not know of them is reported, whatever order it came in here. A store to another block and a bulk copy happen at
// any time until a wait for the phase that they report to; copies only know what came before a fence. A store to another block brings along what
// its thread has done before (`JOINS`): true of reads whose values have been used and of writes that have met a block's barrier.
//
// Sums and products of pairs are not worked out: what comes of them only depends on all bits of the operands.

#include <map>
#include <string>

#ifndef JOINS
#define JOINS 1
#endif

namespace emulation {

constexpr State AT_CLUSTER_BARRIER = State(10), AT_VALUES = State(11), AT_PHASE = State(12);
constexpr u32 MOST_BARRIERS = 8;
typedef std::vector<u32> Clock;
struct Access { u32 who, when; };
struct Word { Access write; const char* how; std::vector<Access> reads; };
/** What a phase hands on: `near` to waits that see no other blocks, `all` to the others. */
struct Handed { Clock near, all; };
struct Phases { u32 at, arrivals, left, phase; i64 bytes; Handed gathered, published; };
struct Block { std::vector<u8> memory; std::vector<Word> words; std::vector<Phases> barriers; bool over; };
/** What travels: bytes and their report, or an arrival. */
struct Travelling { u32 block, at, which, phase; std::vector<u8> bytes; Clock clock; bool near; u32 by; };
struct Awaited { u32 block, which, parity; };
/** Which block is slow, or all but which; whether what travels is late; both drawn where `random`. */
struct Schedule { int slow, fast; bool late, random; u32 seed; };

static std::vector<Block> blocks;
static std::vector<Clock> clocks, fenced;
/** Whether a thread has handed on its clock, so that its next access comes later. */
static std::vector<bool> handed_on;
static std::vector<Travelling> travelling;
static std::vector<Awaited> awaited;
static std::vector<u32> given;
/** The first report of every kind, and how many there were. */
static std::map<std::string, std::pair<std::string, u32>> reports;
static u32 threads, count;
static Schedule schedule;

static u32 random_below(u32 n) {
  schedule.seed = schedule.seed * 1664525u + 1013904223u;
  return (u32)((u64)schedule.seed * n >> 32);
}
static u32 own_block() { return now / threads; }
static u32 agent(u32 block, u32 which) { return count + block * MOST_BARRIERS + which; }

static void report(const std::string& kind, const std::string& text = "") {
  auto& of_kind = reports.insert({kind, {text, 0}}).first->second;
  of_kind.second++;
}
static std::string name_of(u32 who) {
  if (who >= count) return "what reports to barrier " + std::to_string((who - count) % MOST_BARRIERS);
  return "thread " + std::to_string(who % threads) + " of block " + std::to_string(who / threads);
}
static void join(Clock& to, const Clock& from) {
  for (size_t i = 0; i < to.size(); i++) to[i] = std::max(to[i], from[i]);
}
static void join_all(u32 from, u32 to) {
  Clock all = clocks[from];
  for (u32 i = from + 1; i < to; i++) join(all, clocks[i]);
  for (u32 i = from; i < to; i++) { clocks[i] = all; clocks[i][i]++; }
}

/** An access by `who` at its time `when`, which knows what `known` does. */
static void touch(u32 block, u32 at, u32 bytes, bool writes, const Clock& known, Access by, const char* how) {
  Block& b = blocks[block];
  if (at + bytes > b.memory.size()) { fprintf(stderr, "%s at %u of block %u is out of bounds\n", how, at, block); exit(2); }
  const auto against = [&](Access a, const char* what) {
    if (known[a.who] < a.when)
      report(std::string(how) + " is not ordered after " + what, name_of(by.who) + " at " + std::to_string(at) + " of block " + std::to_string(block) + ", after " + name_of(a.who));
  };
  if (b.over) report(std::string(how) + " comes after the end of the block", name_of(by.who));
  for (u32 i = at / 4; i < (at + bytes + 3) / 4; i++) {
    Word& w = b.words[i];
    if (w.write.when) against(w.write, w.how);
    else if (!writes) report(std::string(how) + " of what nobody has written", name_of(by.who) + " at " + std::to_string(at) + " of block " + std::to_string(block));
    if (writes) {
      for (Access& r : w.reads) against(r, "a read");
      w.reads.clear();
      w.write = by;
      w.how = how;
    } else {
      size_t k = 0;
      while (k < w.reads.size() && w.reads[k].who != by.who) k++;
      if (k < w.reads.size()) w.reads[k] = by;
      else w.reads.push_back(by);
    }
  }
}
static void own_access(u32 block, u32 at, u32 bytes, bool writes, const char* how) {
  if (handed_on[now]) { clocks[now][now]++; handed_on[now] = false; }
  touch(block, at, bytes, writes, clocks[now], {now, clocks[now][now]}, how);
}
template <typename T> T fetch(u32 block, u32 at, const char* how) {
  own_access(block, at, sizeof(T), false, how);
  T x;
  memcpy(&x, &blocks[block].memory[at], sizeof x);
  return x;
}
template <typename T> void put_down(u32 at, T x, const char* how) {
  own_access(own_block(), at, sizeof(T), true, how);
  memcpy(&blocks[own_block()].memory[at], &x, sizeof x);
}

static u32 barrier_at(u32 block, u32 at) {
  Block& b = blocks[block];
  for (u32 i = 0; i < b.barriers.size(); i++)
    if (b.barriers[i].at == at) {
      const Word& w = b.words[at / 4];
      if (clocks[now][w.write.who] < w.write.when) report("a barrier is used before it is known to be made", name_of(now));
      return i;
    }
  report("there is no barrier yet", name_of(now));
  return MOST_BARRIERS;
}
static void maybe_over(Phases& p) {
  if (p.left || p.bytes) return;
  p.published = p.gathered;
  p.phase++;
  p.left = p.arrivals;
}
static void arrive(u32 block, u32 which, const Clock& clock, bool near) {
  Phases& p = blocks[block].barriers[which];
  if (p.left == 0) return report("too many arrive at barrier " + std::to_string(which));
  join(p.gathered.all, clock);
  if (near) join(p.gathered.near, clock);
  p.left--;
  maybe_over(p);
}
static void arrives_somewhere(const Travelling& t) {
  Block& b = blocks[t.block];
  if (b.over) report("what travels comes after the end of block " + std::to_string(t.block));
  if (t.bytes.empty()) return arrive(t.block, t.which, t.clock, t.near);
  Phases& p = b.barriers[t.which];
  memcpy(&b.memory[t.at], t.bytes.data(), t.bytes.size());
  if (p.phase != t.phase) report("bytes for barrier " + std::to_string(t.which) + " come in another phase");
  // Once is enough for all stores between two accesses.
  if (!t.clock.empty() && p.gathered.near[t.by] < t.clock[t.by]) { join(p.gathered.all, t.clock); join(p.gathered.near, t.clock); }
  p.bytes -= (i64)t.bytes.size();
  maybe_over(p);
}
static void send_off(Travelling t) {
  if (schedule.late || (schedule.random && random_below(2))) travelling.push_back(std::move(t));
  else arrives_somewhere(t);
}
/** Lets some of what travels arrive, in any order. */
static bool deliver() {
  if (travelling.empty()) return false;
  for (u32 n = 1 + random_below(32); n > 0 && !travelling.empty(); n--) {
    std::swap(travelling[random_below((u32)travelling.size())], travelling.back());
    const Travelling t = std::move(travelling.back());
    travelling.pop_back();
    arrives_somewhere(t);
  }
  return true;
}
/** A write that is reported to a barrier of the same block. */
static void write_behind(u32 block, u32 at, const void* from, u32 bytes, u32 barrier, const Clock& known, bool joins, const char* how) {
  const u32 which = barrier_at(block, barrier);
  if (which == MOST_BARRIERS) return;
  const u32 phase = blocks[block].barriers[which].phase;
  touch(block, at, bytes, true, known, {agent(block, which), phase + 1}, how);
  send_off({block, at, which, phase, std::vector<u8>((const u8*)from, (const u8*)from + bytes), joins ? clocks[now] : Clock(), true, now});
  handed_on[now] = true;
}

static void end_of_block(u32 block) {
  Clock all = clocks[block * threads];
  for (u32 i = 1; i < threads; i++) join(all, clocks[block * threads + i]);
  const auto check = [&](Access a) {
    if (a.when && all[a.who] < a.when) report("a block may end before an access", name_of(a.who));
  };
  for (Word& w : blocks[block].words) {
    check(w.write);
    for (Access& r : w.reads) check(r);
  }
  blocks[block].over = true;
}

/** Lets fibers `from` to `to` go on once all of them wait in `state`, and joins their clocks. */
static bool meet_at(u32 from, u32 to, State state, bool joins) {
  if (!release(from, to, state)) return false;
  if (joins) join_all(from, to);
  return true;
}

static bool run_cluster(u32 first_block, u32 size, u64 shared_bytes) {
  count = size * threads;
  const u32 agents = count + size * MOST_BARRIERS;
  blocks.assign(size, {std::vector<u8>(shared_bytes, 0xff), std::vector<Word>(shared_bytes / 4 + 1), {}, false});
  clocks.assign(count, Clock(agents, 0));
  fenced.assign(count, {});
  handed_on.assign(count, false);
  awaited.assign(count, {});
  given.assign(count, 0);
  travelling.clear();
  fibers.resize(count);
  for (u32 i = 0; i < count; i++) {
    clocks[i][i] = 1;
    make_fiber(i, {i % threads, 0, 0});
  }
  std::vector<u32> order(count);
  for (u32 i = 0; i < count; i++) order[i] = i;
  const auto is_slow = [&](u32 i) { const int b = (int)(i / threads); return b == schedule.slow || (schedule.fast >= 0 && b != schedule.fast); };
  const auto round = [&](bool all) {
    bool moved = false;
    for (u32 i : order) {
      if (fibers[i].state != RUNNABLE || (!all && (is_slow(i) || (schedule.random && random_below(4) == 0)))) continue;
      now = i;
      threadIdx = fibers[i].index;
      blockIdx = {first_block + i / threads, 0, 0};
      swapcontext(&scheduler, &fibers[i].context);
      moved = true;
      if (fibers[i].state != DONE) continue;
      const u32 from = i / threads * threads;
      u32 over = 0;
      for (u32 k = from; k < from + threads; k++) over += fibers[k].state == DONE;
      if (over == threads) end_of_block(i / threads);
    }
    return moved;
  };
  for (;;) {
    if (schedule.random) for (u32 i = count - 1; i > 0; i--) std::swap(order[i], order[random_below(i + 1)]);
    bool moved = round(false);
    for (u32 i = 0; i < count; i += 32) moved |= meet_at(i, i + 32, AT_WARP_BARRIER, true) | meet_at(i, i + 32, AT_VALUES, JOINS);
    for (u32 i = 0; i < count; i += threads) moved |= meet_at(i, i + threads, AT_BLOCK_BARRIER, true);
    moved |= meet_at(0, count, AT_CLUSTER_BARRIER, true);
    for (u32 i = 0; i < count; i++)
      if (fibers[i].state == AT_PHASE && (blocks[awaited[i].block].barriers[awaited[i].which].phase & 1) != awaited[i].parity) {
        fibers[i].state = RUNNABLE;
        moved = true;
      }
    if (schedule.random && random_below(3) == 0) moved |= deliver();
    if (moved || round(true) || deliver()) continue;
    for (u32 i = 0; i < count; i++) if (fibers[i].state != DONE) return false;
    return true;
  }
}

static u32 mixed(u32 a, u32 b) {
  u32 x = a * 0x9e3779b1u ^ (b << 13 | b >> 19) * 0x85ebca6bu;
  x ^= x >> 15;
  // Two numbers of f16 within [1/2, 1).
  return (x * 0xc2b2ae35u & 0x83ff83ffu) | 0x38003800u;
}
static u32 largest_of_warp(u32, u32 x) {
  given[now] = x;
  wait(AT_VALUES);
  u32 most = 0;
  for (u32 i = now & ~31u; i <= (now | 31u); i++) most = std::max(most, given[i]);
  wait(AT_VALUES);
  return most;
}

}  // namespace emulation

#define __reduce_max_sync emulation::largest_of_warp

static inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t s) {
  const uint64_t v = (uint64_t)b << 32 | a;
  uint32_t x = 0;
  for (int i = 0; i < 4; i++) x |= (uint32_t)(v >> 8 * (s >> 4 * i & 7) & 255) << 8 * i;
  return x;
}

typedef u32 half2;
constexpr u32 SIGNS = 0x80008000u;
static inline float low_half(half2 x) { return emulation::from_half((u16)x); }
static inline float high_half(half2 x) { return emulation::from_half((u16)(x >> 16)); }
static inline half2 packed(float low, float high) { return emulation::to_half(low) | (u32)emulation::to_half(high) << 16; }
static inline u32 packed_bf16(float low, float high) { return emulation::to_bfloat(low) | (u32)emulation::to_bfloat(high) << 16; }
static inline half2 plus(half2 a, half2 b) { return emulation::mixed(a, b); }
static inline half2 minus(half2 a, half2 b) { return emulation::mixed(a, b ^ 0x5555); }
static inline half2 fused(half2 a, half2 b, half2 c) { return emulation::mixed(emulation::mixed(a, b), c); }
// Which way rows are multiplied by gates depends on this one.
static inline half2 product(half2 a, half2 b) { return packed(low_half(a) * low_half(b), high_half(a) * high_half(b)); }
static inline half2 negated(half2 x) { return x ^ SIGNS; }
static inline half2 magnitude(half2 x) { return x & ~SIGNS; }
static inline half2 larger(half2 a, half2 b) { return std::max(a & 0xffffu, b & 0xffffu) | std::max(a >> 16, b >> 16) << 16; }
static inline u32 halves(u32 a, u32 b, int high) { return __byte_perm(a, b, high ? 0x7632 : 0x5410); }
static inline void times(half2& re, half2& im, half2 wr, half2 wi) { const half2 r = fused(re, wr, im ^ wi); im = fused(im, wi, r); re = r; }
static inline void times_conjugate(half2& re, half2& im, half2 wr, half2 wi) { times(re, im, wr, negated(wi)); }
static inline void multiply(half2& c0, half2& c1, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  c0 = fused(fused(a0, a1, b0), fused(a2, a3, b1), 1);
  c1 = emulation::mixed(c0, 2);
}
static inline void multiply_add(half2& c0, half2& c1, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  c0 = fused(fused(a0, a1, b0), fused(a2, a3, b1), c0);
  c1 = emulation::mixed(c0, c1);
}

static inline u32 shared_address(const void*) { return 0; }
static inline uint2 load_shared(u32 at) { return emulation::fetch<uint2>(emulation::own_block(), at, "load_shared"); }
static inline void store_shared(u32 at, u32 x, u32 y) { emulation::put_down(at, make_uint2(x, y), "store_shared"); }
static inline uint4 load_shared_wide(u32 at) { return emulation::fetch<uint4>(emulation::own_block(), at, "load_shared_wide"); }
static inline void store_shared_wide(u32 at, uint4 v) { emulation::put_down(at, v, "store_shared_wide"); }
static inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }
static inline uint4 reload(const uint4* p) { return *p; }
static inline void load_matrices(u32 (&r)[4], u32 at) {
  emulation::given[emulation::now] = at;
  __syncwarp();
  const u32 lane = emulation::lane(), first = emulation::now - lane;
  u32 from[4];
  for (int m = 0; m < 4; m++) from[m] = emulation::given[first + 8 * m + (lane >> 2)] + 4 * (lane & 3);
  for (int m = 0; m < 4; m++) r[m] = emulation::fetch<u32>(emulation::own_block(), from[m], "load_matrices");
  __syncwarp();
}
static inline void store_matrices(u32 at, u32 a, u32 b, u32 c, u32 d) {
  emulation::given[emulation::now] = at;
  __syncwarp();
  const u32 v[4] = {a, b, c, d}, lane = emulation::lane(), first = emulation::now - lane;
  for (int m = 0; m < 4; m++) emulation::put_down(emulation::given[first + 8 * m + (lane >> 2)] + 4 * (lane & 3), v[m], "store_matrices");
  __syncwarp();
}

static inline void cluster_barrier() { emulation::wait(emulation::AT_CLUSTER_BARRIER); }
static inline u32 remote_address(u32 at, int block) { return at | (u32)(block + 1) << 24; }
static inline void store_remote(u32 at, u32 x, u32 y, u32 barrier) {
  const u32 v[2] = {x, y};
  emulation::write_behind((at >> 24) - 1, at & 0xffffff, v, 8, barrier & 0xffffff, emulation::clocks[emulation::now], JOINS, "store_remote");
}
static inline uint2 load_remote(u32 at) { return emulation::fetch<uint2>((at >> 24) - 1, at & 0xffffff, "load_remote"); }
static inline void new_barrier(u32 at, int arrivals) {
  emulation::put_down(at, (u64)0, "new_barrier");
  const emulation::Clock none(emulation::clocks[0].size(), 0);
  emulation::blocks[emulation::own_block()].barriers.push_back({at, (u32)arrivals, (u32)arrivals, 0, 0, {none, none}, {none, none}});
}
static inline void barriers_made() {}
static inline void expect_bytes(u32 at, u32 bytes) {
  const u32 block = emulation::own_block(), which = emulation::barrier_at(block, at);
  if (which == emulation::MOST_BARRIERS) return;
  emulation::blocks[block].barriers[which].bytes += bytes;
  emulation::arrive(block, which, emulation::clocks[emulation::now], true);
  emulation::handed_on[emulation::now] = true;
}
static inline void arrive_remote(u32 at) {
  const u32 block = (at >> 24) - 1, which = emulation::barrier_at(block, at & 0xffffff);
  if (which == emulation::MOST_BARRIERS) return;
  emulation::send_off({block, 0, which, 0, {}, emulation::clocks[emulation::now], block == emulation::own_block(), emulation::now});
  emulation::handed_on[emulation::now] = true;
}
static inline void wait_until_over(u32 at, u32 parity, bool near) {
  const u32 block = emulation::own_block(), which = emulation::barrier_at(block, at);
  if (which == emulation::MOST_BARRIERS) return;
  while ((emulation::blocks[block].barriers[which].phase & 1) == parity) {
    emulation::awaited[emulation::now] = {block, which, parity};
    emulation::wait(emulation::AT_PHASE);
  }
  const emulation::Phases& p = emulation::blocks[block].barriers[which];
  emulation::Clock& own = emulation::clocks[emulation::now];
  emulation::join(own, near ? p.published.near : p.published.all);
  own[emulation::now]++;
  own[emulation::agent(block, which)] = std::max(own[emulation::agent(block, which)], p.phase);
}
static inline void wait_phase(u32 at, u32 parity) { wait_until_over(at, parity, true); }
static inline void wait_for_blocks(u32 at, u32 parity) { wait_until_over(at, parity, false); }
static inline void before_copies() { emulation::fenced[emulation::now] = emulation::clocks[emulation::now]; }
static inline void copy_bulk(u32 to, const void* from, u32 bytes, u32 barrier, u64) {
  if (((u64)from | bytes | to) & 15) emulation::report("a bulk copy is not aligned");
  emulation::Clock& known = emulation::fenced[emulation::now];
  if (known.empty()) known.assign(emulation::clocks[0].size(), 0);
  // Barriers are seen without a fence.
  emulation::write_behind(emulation::own_block(), to, from, bytes, barrier, known, false, "copy_bulk");
}
static inline u64 leaving_first() { return 0; }
static inline u64 leaving_last() { return 0; }
template <typename T> T load_once(const T* p, u64) { return *p; }
static inline void bring(const void*) {}

namespace emulation {

/** Numbers of f16 ('h') or bf16 ('b') within [1/2, 1) by their magnitude, in every other row of `row` numbers much smaller; floats ('f'); or what is written ('o'). */
struct Buffer { char kind; u64 bytes, row; std::vector<uint4> memory; };
static void fill(Buffer& b, u32 seed) {
  b.memory.assign(b.bytes / 16 + 2, {~0u, ~0u, ~0u, ~0u});
  u16* at = (u16*)b.memory.data();
  if (b.kind == 'o') return;
  for (u64 i = 0; i < b.bytes / 2; i++) {
    seed = seed * 1664525u + 1013904223u;
    const u32 x = seed >> 16;
    const bool small = b.row && i / b.row & 1;
    if (b.kind == 'h') at[i] = (u16)((x & 0x83ff) | (small ? 0x1c00 : 0x3800));
    else if (b.kind == 'b') at[i] = (u16)((x & 0x807f) | (small ? 0x3b80 : 0x3f00));
    else at[i] = (u16)(i & 1 ? (x & 0x7f) | 0x3f00 : x);
  }
}

/**
 * Runs a kernel whose launch the file argv[1] describes (blocks, threads of one, blocks of a cluster, bytes of shared memory; buffers; words) in each
 * of the orders that follow, and prints a line of JSON for each.
 */
template <int WORDS, typename Kernel> int watch(int argc, char** argv, Kernel kernel) {
  FILE* file = fopen(argv[1], "r");
  u32 grid, cluster, n;
  unsigned long long shared_bytes;
  if (!file || fscanf(file, "%u %u %u %llu %u", &grid, &threads, &cluster, &shared_bytes, &n) != 5) return 3;
  std::vector<Buffer> buffers(n);
  for (Buffer& b : buffers) if (fscanf(file, " %c %llu %llu", &b.kind, (unsigned long long*)&b.bytes, (unsigned long long*)&b.row) != 3) return 3;
  struct Given { char kind; long long x, y; } words[WORDS];
  for (Given& w : words) if (fscanf(file, " %c %lld %lld", &w.kind, &w.x, &w.y) != 3) return 3;
  stacks = (char*)aligned_alloc(4096, (size_t)threads * cluster * STACK);
  gridDim = {grid, 1, 1};
  blockDim = {threads, 1, 1};
  for (int k = 2; k < argc; k++) {
    int late, random;
    if (sscanf(argv[k], "%d,%d,%d,%d,%u", &schedule.slow, &schedule.fast, &late, &random, &schedule.seed) != 5) return 3;
    schedule.late = late;
    schedule.random = random;
    for (u32 i = 0; i < n; i++) fill(buffers[i], 77 + i);
    Words<WORDS> w;
    for (int i = 0; i < WORDS; i++) w.word[i] = words[i].kind == 'i' ? (u64)words[i].x : (u64)buffers[words[i].x].memory.data() + words[i].y;
    std::function<void()> call = [&] { kernel(w); };
    body = &call;
    reports.clear();
    bool ended = true;
    for (u32 first = 0; ended && first < grid; first += cluster) ended = run_cluster(first, cluster, shared_bytes);
    u64 bits = 14695981039346656037u;
    for (const Buffer& b : buffers)
      if (b.kind == 'o') for (u64 i = 0; i < b.bytes; i++) bits = (bits ^ ((const u8*)b.memory.data())[i]) * 1099511628211u;
    printf("{\"ended\": %s, \"bits\": \"%llx\", \"reports\": [", ended ? "true" : "false", (unsigned long long)bits);
    bool next = false;
    for (const auto& [kind, of_kind] : reports) {
      printf("%s\"%s: %s, %u times\"", next ? ", " : "", kind.c_str(), of_kind.first.c_str(), of_kind.second);
      next = true;
    }
    printf("]}\n");
    fflush(stdout);
  }
  return 0;
}

}  // namespace emulation
