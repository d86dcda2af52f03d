// Ordered selections without repetition, by rank: the rank-th of all lists of `size` different items out of `count`,
// in lexicographic order (the order of Python's itertools.permutations), without making the others.

/** How many ordered selections of `size` out of `count` items there are. */
export function arrangements(count: number, size: number): number {
  let product = 1;
  for (let i = 0; i < size; i++) product *= count - i;
  return product;
}

/** Writes the `rank`-th selection of `size` items out of first..first+count-1 to `out` from `at` on. */
export function unrankArrangement(
  rank: number,
  count: number,
  size: number,
  first: number,
  out: Int32Array,
  at: number,
): void {
  let rest = rank;
  for (let i = 0; i < size; i++) {
    const block = arrangements(count - i - 1, size - i - 1);
    const digit = Math.floor(rest / block);
    rest -= digit * block;
    // the digit counts among the items not used yet
    let item = digit;
    for (let used = nextUsed(out, at, i, first, -1); used >= 0 && used <= item;) {
      item++;
      used = nextUsed(out, at, i, first, used);
    }
    out[at + i] = first + item;
  }
}

/** The smallest of the first `i` items written that is above `after`, or -1. */
function nextUsed(out: Int32Array, at: number, i: number, first: number, after: number): number {
  let least = -1;
  for (let j = 0; j < i; j++) {
    const item = out[at + j]! - first;
    if (item > after && (least < 0 || item < least)) least = item;
  }
  return least;
}
