// Tiles of queries of attention on sm_90; in front of kernel-wgmma-forward.cu, which says what is defined before.

/** Tiles of queries in flight: those in registers leave shared memory at once. */
constexpr int Q_STAGES = HELD ? 1 : 2;
constexpr u32 Q_BYTES = OWN * HEAD * 2, KV_BYTES = BLOCK * HEAD * 2;
/** Whether rows leave through shared memory and the copy engine, which knows where a sequence's memory ends, not where a list's or a part's does. */
constexpr bool BOXES = !LISTS && !PARTS;
/** A warp's rows on their way out. */
constexpr u32 OUT_BYTES = BOXES ? 16 * HEAD * 2 : 0;

/**
 * Blocks of keys `first` .. `last` - 1 of queries from `q0` on; no tile where `b` is -1. With lists: the row of blocks, and where its queries
 * end.
 */
struct Tile { int first, last, q0, b, h, hk, part; };

/** Bytes of a tile in shared memory, and the way there and back: who hands tiles out works out where they lie. */
constexpr u32 TILE_BYTES = 32;
__device__ __forceinline__ void store_tile(u32 at, const Tile& x) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" :: "r"(at), "r"(x.b), "r"(x.first), "r"(x.last), "r"(x.q0) : "memory");
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %3};" :: "r"(at + 16), "r"(x.h), "r"(x.hk), "r"(x.part) : "memory");
}
__device__ __forceinline__ Tile load_tile(u32 at) {
  Tile x;
  int unused;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(x.b), "=r"(x.first), "=r"(x.last), "=r"(x.q0) : "r"(at) : "memory");
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(x.h), "=r"(x.hk), "=r"(x.part), "=r"(unused) : "r"(at + 16) : "memory");
  return x;
}

/** The heads of a group side by side, long tiles first. */
__device__ __forceinline__ Tile tile_of(const Args& w, int t) {
  // Without signs divisions are shorter.
#if LISTS
  const u32 tiles = Owned::tiles(w, integer(w, w_queries), w_blockQueries);
#else
  const u32 tiles = ((u32)integer(w, w_queries) + OWN - 1) / OWN;
#endif
  const u32 together = integer(w, w_together), heads = integer(w, w_heads), parts = PARTS ? integer(w, w_parts) : 1;
  const u32 per = tiles * parts * together, group = (u32)t / per, r = (u32)t - group * per, row = group * together + r % together, at = r / together;
  Tile x;
  x.part = at % parts;
#if LISTS
  const Owned own(w, Owned::tiles(w, integer(w, w_queries), w_blockQueries) - 1 - at, integer(w, w_queries), w_blockQueries);
  x.q0 = own.first;
  x.first = own.block;
  x.last = own.end;
#else
  x.q0 = (tiles - 1 - at / parts) * OWN;
#endif
  x.b = row / heads;
  x.h = row - x.b * heads;
  x.hk = (u32)x.h / (u32)integer(w, w_group);
#if !LISTS
  const Sight sight(w, x.b);
  x.first = sight.from(x.q0) / BLOCK;
  x.last = x.q0 < sight.queries ? max(x.first, (sight.to(min(x.q0 + OWN, sight.queries) - 1) + BLOCK - 1) / BLOCK) : x.first;
  if constexpr (PARTS) {
    const int count = x.last - x.first;
    x.last = x.first + (int)((i64)count * (x.part + 1) / parts);
    x.first += (int)((i64)count * x.part / parts);
  }
#endif
  return x;
}
