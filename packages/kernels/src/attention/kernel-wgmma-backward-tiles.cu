// Tiles of keys of attention's gradient on sm_90, and the walk through the queries that see one; in front of kernel-wgmma-backward.cu, which says
// what is defined before.

constexpr int KEYS = 128, STAGES = 2;
constexpr u32 KV_BYTES = KEYS * HEAD * 2, Q_BYTES = QUERIES * HEAD * 2, DS_BYTES = QUERIES * KEYS * 2;
/** Sums of dQ of a block of queries. */
constexpr int SUMS = QUERIES * KEY_COLUMNS;
/** A warp's rows of dK and dV, or of dQ, on their way out through the copy engine, which knows where memory ends, not where a list does. */
constexpr u32 OUT_BYTES = LISTS ? 0 : 2 * 16 * HEAD * 2;
/** dS from the rounded P where registers are short. */
constexpr bool ROUNDED = HEAD == 128;


/**
 * Steps `begin` .. `end` - 1 of the blocks of queries `first` .. `last` - 1 of one head after the other, from `head` on; none where `b` is -1. With
 * lists: the column of blocks, where its keys end, and whether there are steps (`end`).
 */
struct Tile { int k0, b, hk, head, part, first, last, begin, end; };

/** Bytes of a tile in shared memory, and the way there and back: who hands tiles out works out where they lie. */
constexpr u32 TILE_BYTES = 48;
__device__ __forceinline__ void store_tile(u32 at, const Tile& x) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" :: "r"(at), "r"(x.b), "r"(x.k0), "r"(x.hk), "r"(x.head) : "memory");
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" :: "r"(at + 16), "r"(x.first), "r"(x.last), "r"(x.begin), "r"(x.end) : "memory");
  asm volatile("st.shared.b32 [%0], %1;" :: "r"(at + 32), "r"(x.part) : "memory");
}
__device__ __forceinline__ Tile load_tile(u32 at) {
  Tile x;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(x.b), "=r"(x.k0), "=r"(x.hk), "=r"(x.head) : "r"(at) : "memory");
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(x.first), "=r"(x.last), "=r"(x.begin), "=r"(x.end) : "r"(at + 16) : "memory");
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(x.part) : "r"(at + 32) : "memory");
  return x;
}

/**
 * The key heads of a group side by side, early keys (which causal queries see most) first. Parts of a group's heads count as heads of
 * their own, so that what is worked on at a time stays in the cache; parts of the steps follow each other.
 */
__device__ __forceinline__ Tile tile_of(const Args& w, int t) {
  // Without signs divisions are shorter.
#if LISTS
  const u32 tiles = Owned::tiles(w, integer(w, w_keys), w_blockKeys);
#else
  const u32 tiles = ((u32)integer(w, w_keys) + KEYS - 1) / KEYS;
#endif
  const u32 together = integer(w, w_together), keyHeads = integer(w, w_keyHeads);
  const u32 headParts = PARTS ? integer(w, w_headParts) : 1, parts = PARTS ? integer(w, w_parts) : 1, share = (u32)integer(w, w_group) / headParts;
  const u32 per = tiles * parts * together, group = (u32)t / per, r = (u32)t - group * per, at = r / together, of = group * together + r % together, row = of / headParts;
  Tile x;
  x.b = row / keyHeads;
  x.hk = row - x.b * keyHeads;
  x.head = x.hk * integer(w, w_group) + of % headParts * share;
  x.k0 = at / parts * KEYS;
  x.part = of % headParts * parts + at % parts;
#if LISTS
  const Owned own(w, at, integer(w, w_keys), w_blockKeys);
  x.k0 = own.first;
  x.first = own.block;
  x.last = own.end;
  x.begin = x.end = 0;
#else
  const Sight sight(w, x.b);
  const int from = max(0, x.k0 - sight.offset - sight.right), to = min(sight.queries, min(x.k0 + KEYS, sight.keys) - sight.offset + sight.left);
  x.first = from / QUERIES;
  x.last = x.k0 < sight.keys ? max(x.first, (to + QUERIES - 1) / QUERIES) : x.first;
  if constexpr (ALONE) {
    // Queries that see nothing get their zeros here too.
    x.first = 0;
    x.last = (integer(w, w_queries) + QUERIES - 1) / QUERIES;
  }
  x.begin = 0;
  x.end = (x.last - x.first) * share;
  if constexpr (PARTS) {
    const int all = x.end, step_part = (int)(at % parts);
    x.begin = (int)((i64)all * step_part / parts);
    x.end = (int)((i64)all * (step_part + 1) / parts);
  }
#endif
  return x;
}

#if LISTS
/** The steps of a tile: blocks of queries that lists bring to it, one step ahead. */
struct Walk {
  QueryWalk walk;
  Step next_step;
  int left;
  __device__ __forceinline__ Walk(const Args& w, const Tile& x, int share) : walk(w, Sight(w, x.b), Owned(x.k0, x.last, x.first), x.head, share) {
    // Blocks of the scratch begin at multiples of their size; so do blocks of lists.
    walk.from &= ~(QUERIES - 1);
    left = walk.next(next_step);
  }
  __device__ __forceinline__ int block() const { return next_step.first / QUERIES; }
  __device__ __forceinline__ int at_head() const { return next_step.head; }
  __device__ __forceinline__ void next() { left = walk.next(next_step); }
};
#else
/** The steps of a tile: blocks of queries, which ordered sums walk backwards, so that the blocks of a head stay one step apart. */
struct Walk {
  int head, at, count, first, last, left;
  __device__ __forceinline__ Walk(const Args& w, const Tile& x, int share) {
    count = x.last - x.first;
    const int before = PARTS && count > 0 ? x.begin / count : 0;
    head = x.head + before;
    at = x.begin - before * count;
    first = x.first;
    last = x.last;
    left = x.end - x.begin;
  }
  __device__ __forceinline__ int block() const { return ORDERED ? last - 1 - at : first + at; }
  __device__ __forceinline__ int at_head() const { return head; }
  __device__ __forceinline__ void next() {
    left--;
    if (++at == count) { at = 0; head++; }
  }
};
#endif
