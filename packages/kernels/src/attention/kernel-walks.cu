// What a block owns and what it streams: tiles of queries walk the keys that they see, tiles of keys the queries that see them. Without
// lists these are the rows between two edges; lists of blocks are walked entry by entry.
//
// Defined before: LISTS, OWN, BLOCK, Args and Sight.

/** Rows that a block owns: those of one tile, which does not cross rows (columns) of listed blocks. */
struct Owned {
  int first, end, block;
  __device__ __forceinline__ Owned(int from, int to, int of) : first(from), end(to), block(of) {}
  /** `length`: all rows; `side`: the word that holds the rows of a listed block. */
  __device__ __forceinline__ Owned(const Args& w, int tile, int length, int side) {
    block = 0;
    first = tile * OWN;
    end = min(first + OWN, length);
#if LISTS
    const int rows = integer(w, side), each = (rows + OWN - 1) / OWN;
    block = tile / each;
    first = block * rows + (tile - block * each) * OWN;
    end = min(min(first + OWN, (block + 1) * rows), length);
#endif
  }
  static __device__ __forceinline__ int tiles(const Args& w, int length, int side) {
#if LISTS
    const int rows = integer(w, side);
    return (length + rows - 1) / rows * ((rows + OWN - 1) / OWN);
#else
    return (length + OWN - 1) / OWN;
#endif
  }
};

/** Up to BLOCK rows that are streamed at once: the first, where they end, and for queries their head. */
struct Step { int first, end, head; };

#if LISTS
/** The keys that some queries of a tile see. */
struct KeyWalk {
  int from, to, here, until, at, last, size, count;
  const int* columns;
  __device__ __forceinline__ KeyWalk(const Args& w, const Sight& sight, const Owned& own, int h, int part, int parts) {
    const int end = min(own.end, sight.queries);
    from = sight.from(own.first);
    to = own.first < end ? sight.to(end - 1) : 0;
    const int* const starts = pointer<const int>(w, w_blockStarts) + h * integer(w, w_listStride) + own.block;
    columns = pointer<const int>(w, w_blockColumns);
    at = starts[0];
    last = starts[1];
    size = integer(w, w_blockKeys);
    count = (sight.keys + size - 1) / size;
    here = until = 0;
  }
  __device__ __forceinline__ bool next(Step& s) {
    while (here >= until) {
      if (at >= last) return false;
      int c = columns[at++];
      if ((u32)c >= (u32)count) continue;
      here = max(from, c * size);
      // Neighbours in a list are one stretch.
      while (at < last && columns[at] == c + 1 && c + 1 < count) { c++; at++; }
      until = min(to, (c + 1) * size);
    }
    s.first = here;
    s.end = until;
    here += BLOCK;
    return true;
  }
};

/** The queries that see some keys of a tile, for one head of those that share it after the other. */
struct QueryWalk {
  int from, to, here, until, head, heads, row, rows, size, stride;
  const u32* marks;
  __device__ __forceinline__ QueryWalk(const Args& w, const Sight& sight, const Owned& own, int h, int group) {
    const int end = min(own.end, sight.keys);
    from = max(0, own.first - sight.offset - sight.right);
    to = own.first < end ? min(sight.queries, end - sight.offset + sight.left) : 0;
    head = h;
    heads = h + group;
    size = integer(w, w_blockQueries);
    rows = (integer(w, w_queries) + size - 1) / size;
    const int words = (rows + 31) / 32, columns = (integer(w, w_keys) + integer(w, w_blockKeys) - 1) / integer(w, w_blockKeys);
    stride = integer(w, w_listStride) ? columns * words : 0;
    marks = pointer<const u32>(w, w_marks) + (i64)h * stride + (i64)own.block * words;
    row = 0;
    here = until = 0;
  }
  /** The first row of blocks from `r` on that sees the tile. */
  __device__ __forceinline__ int marked(int r) const {
    while (r < rows) {
      const u32 bits = marks[r >> 5] >> (r & 31);
      if (bits) return r + __ffs(bits) - 1;
      r = (r | 31) + 1;
    }
    return rows;
  }
  __device__ __forceinline__ bool next(Step& s) {
    while (here >= until) {
      row = marked(row);
      if (row >= rows) {
        if (++head >= heads) return false;
        marks += stride;
        row = 0;
        continue;
      }
      here = max(from, row * size);
      while (row < rows && marks[row >> 5] >> (row & 31) & 1) row++;
      until = min(to, row * size);
    }
    s.first = here;
    s.end = until;
    s.head = head;
    here += BLOCK;
    return true;
  }
};
#else
/** The blocks of keys that some queries of a tile see, or a part of them. */
struct KeyWalk {
  int first, count, end;
  __device__ __forceinline__ KeyWalk(const Args& w, const Sight& sight, const Owned& own, int h, int part, int parts) {
    const int queries = min(own.end, sight.queries), to = own.first < queries ? sight.to(queries - 1) : 0;
    first = sight.from(own.first) / BLOCK;
    const int all = max(0, (to + BLOCK - 1) / BLOCK - first), begin = (int)((i64)all * part / parts);
    count = (int)((i64)all * (part + 1) / parts) - begin;
    first += begin;
    end = sight.keys;
  }
  __device__ __forceinline__ Step at(int i) const { return {(first + i) * BLOCK, end, 0}; }
};

/** The queries that see some keys of a tile, for one head of those that share it after the other. */
struct QueryWalk {
  int first, each, head, count, end;
  __device__ __forceinline__ QueryWalk(const Args& w, const Sight& sight, const Owned& own, int h, int group) {
    // Query i sees key j where j - offset - right <= i <= j - offset + left.
    const int keys = min(own.end, sight.keys), to = own.first < keys ? min(sight.queries, keys - sight.offset + sight.left) : 0;
    first = max(0, own.first - sight.offset - sight.right) / BLOCK;
    each = max(0, (to + BLOCK - 1) / BLOCK - first);
    head = h;
    count = each * group;
    end = sight.queries;
  }
  __device__ __forceinline__ Step at(int i) const { return {(first + i % each) * BLOCK, end, head + i / each}; }
};
#endif
