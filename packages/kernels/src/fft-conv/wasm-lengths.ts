// Which lengths are transformed directly, and their twiddle tables.

/** Lengths of the innermost transforms. A length M is one of them times a power of 4 (at least 4). */
export const LEAVES = [3, 4, 5, 6, 8, 10] as const;
export type Leaf = (typeof LEAVES)[number];

const SMALLEST = 16;
const isLeaf = (n: number): n is Leaf => (LEAVES as readonly number[]).includes(n);

/** The innermost length of a transform of length `m`, if `m` is 16 or more and 1, 3 or 5 times a power of 2. */
export function leafOf(m: number): Leaf | undefined {
  if (m < SMALLEST) return undefined;
  let n = m;
  while (n > 10 || !isLeaf(n)) {
    if (n % 4 !== 0) return undefined;
    n /= 4;
  }
  // first and last passes handle two elements at a time
  return (m / 4) % 2 === 0 ? n : undefined;
}

/** The smallest supported length that is at least `n`. */
export function niceLength(n: number): number {
  let best = Infinity;
  for (const factor of [1, 3, 5]) {
    let m = factor;
    while (m < n || leafOf(m) === undefined) m *= 2;
    best = Math.min(best, m);
  }
  return best;
}

/** Bytes of one element: real and imaginary parts of all lanes. */
export const elementBytes = (width: number): number => 32 * width;

/** Where the parts of a twiddle table of length `m` lie, in bytes. */
export interface TableLayout {
  readonly leaf: Leaf;
  /** Levels m/4, m/16, ... of the inner passes, in this order: 24 bytes for each j. */
  readonly inner: number;
  /** Right-angle twist and first pass: 32 bytes for each j < m/4. */
  readonly first: number;
  /** The same, scaled by 1/m, for the last pass. */
  readonly last: number;
  readonly bytes: number;
}

export function tableLayout(m: number): TableLayout {
  const leaf = leafOf(m)!;
  let inner = 0;
  for (let n = m / 4; n > leaf; n /= 4) inner += (n / 4) * 24;
  return { leaf, inner: 0, first: inner, last: inner + m * 8, bytes: inner + m * 16 };
}

/** Writes the table of length `m` at `at`. */
export function fillTable(memory: DataView, at: number, m: number): void {
  const layout = tableLayout(m);
  let to = at;
  const put = (angle: number, scale: number): void => {
    memory.setFloat32(to, Math.cos(angle) * scale, true);
    memory.setFloat32(to + 4, Math.sin(angle) * scale, true);
    to += 8;
  };
  for (let n = m / 4; n > layout.leaf; n /= 4)
    for (let j = 0; j < n / 4; j++) for (let k = 1; k <= 3; k++) put((-2 * Math.PI * j * k) / n, 1);
  for (const scale of [1, 1 / m])
    for (let j = 0; j < m / 4; j++)
      for (let k = 0; k < 4; k++) put((-Math.PI * j) / (2 * m) - (2 * Math.PI * j * k) / m, scale);
}
