// A small matrix-product kernel in WebAssembly, assembled here because the search runs in its own threads with its own memories, outside any
// device: dot products of packed rows, 6 supports x 8 queries a tile, one fused multiply-add per vector and step where the engine has it.

/** Supports of one tile. */
export const TILE_ROWS = 6;
/** Queries of one tile. */
export const TILE_COLUMNS = 8;

const LOCAL_GET = 0x20;
const LOCAL_SET = 0x21;
const LOCAL_TEE = 0x22;
const I32 = 0x7f;
const V128 = 0x7b;
const END = 0x0b;

// locals: parameters 0..4, then two vectors of queries, one of a support, twelve sums
const [A, B, C, STEPS, STRIDE] = [0, 1, 2, 3, 4];
const FIRST_VECTOR = 5;
const SUPPORT = FIRST_VECTOR + 2;
const SUM = FIRST_VECTOR + 3;
/** Never set. */
const ZERO = SUM + 12;
const UNROLL = 4;

function leb(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  do {
    const byte = rest & 0x7f;
    rest >>>= 7;
    out.push(rest > 0 ? byte | 0x80 : byte);
  } while (rest > 0);
  return out;
}

function signedLeb(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  for (;;) {
    const byte = rest & 0x7f;
    rest >>= 7;
    if ((rest === 0 && (byte & 0x40) === 0) || (rest === -1 && (byte & 0x40) !== 0)) {
      out.push(byte);
      return out;
    }
    out.push(byte | 0x80);
  }
}

const simd = (code: number): number[] => [0xfd, ...leb(code)];
const section = (id: number, body: readonly number[]): number[] => [id, ...leb(body.length), ...body];
const name = (text: string): number[] => [...leb(text.length), ...new TextEncoder().encode(text)];

// V8 can run both halves of a row as one 256-bit vector (its revectorizer, a flag of the process) when the high half is stored first and no local
// outlives a turn of the loop for nothing.
// tile(a, b, c, steps, stride): c[r][j] = sum over k of a[k][r] * b[k][j]; `stride` is the row pitch of c in bytes
function tileBody(fused: boolean): number[] {
  const code: number[] = [];
  const zero = [...simd(0x0c), ...Array.from({ length: 16 }, () => 0)];
  for (let s = 0; s < 12; s++) code.push(...zero, LOCAL_SET, SUM + s);
  code.push(0x03, 0x40); // loop
  for (let u = 0; u < UNROLL; u++) {
    for (let half = 0; half < 2; half++) {
      const at = leb((u * TILE_COLUMNS + half * 4) * 4);
      code.push(LOCAL_GET, B, ...simd(0x00), 4, ...at, LOCAL_SET, FIRST_VECTOR + half);
    }
    for (let r = 0; r < TILE_ROWS; r++) {
      code.push(LOCAL_GET, A, ...simd(0x09), 2, ...leb((u * TILE_ROWS + r) * 4), LOCAL_SET, SUPPORT);
      for (let half = 0; half < 2; half++) {
        const pair = [LOCAL_GET, SUPPORT, LOCAL_GET, FIRST_VECTOR + half];
        const sum = SUM + r * 2 + half;
        if (fused) code.push(...pair, LOCAL_GET, sum, ...simd(0x105), LOCAL_SET, sum);
        else code.push(LOCAL_GET, sum, ...pair, ...simd(0xe6), ...simd(0xe4), LOCAL_SET, sum);
      }
    }
  }
  for (const local of [FIRST_VECTOR, FIRST_VECTOR + 1, SUPPORT]) code.push(LOCAL_GET, ZERO, LOCAL_SET, local);
  const advance = (local: number, by: number): number[] => [LOCAL_GET, local, 0x41, ...signedLeb(by), 0x6a];
  code.push(...advance(A, UNROLL * TILE_ROWS * 4), LOCAL_SET, A);
  code.push(...advance(B, UNROLL * TILE_COLUMNS * 4), LOCAL_SET, B);
  code.push(...advance(STEPS, -UNROLL), LOCAL_TEE, STEPS, 0x0d, 0, END); // br_if loop
  for (let r = 0; r < TILE_ROWS; r++) {
    for (const half of [1, 0])
      code.push(LOCAL_GET, C, LOCAL_GET, SUM + r * 2 + half, ...simd(0x0b), 4, ...leb(half * 16));
    code.push(LOCAL_GET, C, LOCAL_GET, STRIDE, 0x6a, LOCAL_SET, C);
  }
  return [1, ...leb(16), V128, ...code, END];
}

// update(products, best, index, count, id): where a product beats the best, it replaces it, and id replaces the index; four lanes a turn
function updateBody(): number[] {
  const [products, best, index, count, id] = [0, 1, 2, 3, 4];
  const [value, old, mask, ids] = [5, 6, 7, 8];
  const load = (pointer: number): number[] => [LOCAL_GET, pointer, ...simd(0x00), 4, 0];
  const step = (pointer: number): number[] => [LOCAL_GET, pointer, 0x41, 16, 0x6a, LOCAL_SET, pointer];
  const code = [LOCAL_GET, id, ...simd(0x11), LOCAL_SET, ids, 0x03, 0x40];
  code.push(
    ...load(products),
    LOCAL_TEE,
    value,
    ...load(best),
    LOCAL_TEE,
    old,
    ...simd(0x44),
    LOCAL_SET,
    mask,
  );
  const select = (pointer: number, yes: number, no: readonly number[]): number[] => [
    LOCAL_GET,
    pointer,
    LOCAL_GET,
    yes,
    ...no,
    LOCAL_GET,
    mask,
    ...simd(0x52),
    ...simd(0x0b),
    4,
    0,
  ];
  code.push(...select(best, value, [LOCAL_GET, old]), ...select(index, ids, load(index)));
  code.push(...step(products), ...step(best), ...step(index));
  code.push(LOCAL_GET, count, 0x41, ...signedLeb(-4), 0x6a, LOCAL_TEE, count, 0x41, 0, 0x4a, 0x0d, 0, END);
  return [1, ...leb(4), V128, ...code, END];
}

function moduleBytes(fused: boolean): Uint8Array<ArrayBuffer> {
  const bodies = [tileBody(fused), updateBody()];
  const magic = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  return Uint8Array.from([
    ...magic,
    ...section(1, [1, 0x60, 5, I32, I32, I32, I32, I32, 0]),
    ...section(2, [1, ...name("m"), ...name("memory"), 2, 0, 1]),
    ...section(3, [2, 0, 0]),
    ...section(7, [2, ...name("tile"), 0, 0, ...name("update"), 0, 1]),
    ...section(10, [2, ...bodies.flatMap((body) => [...leb(body.length), ...body])]),
  ]);
}

type KernelFunction = (a: number, b: number, c: number, d: number, e: number) => void;

/**
 * Packed blocks of supports and queries in one WebAssembly memory, their products, and a running best for every cell.
 * Products lie by support, `[supports, queries]`, so that keeping the best is one vector pass per support and cell.
 */
export class DotKernel {
  /** Capacity in supports and queries, whole tiles. */
  readonly supports: number;
  readonly queries: number;
  /** The products of the last {@link multiply}, `[supports, queries]`. */
  readonly product: Float32Array;
  /** Best product and its support for every cell and query, `[width, queries]`. */
  readonly best: Float32Array;
  readonly index: Int32Array;
  /** D rounded up to whole loop turns. */
  readonly #depth: number;
  readonly #size: number;
  readonly #tile: KernelFunction;
  readonly #update: KernelFunction;
  readonly #supportBlock: Float32Array;
  readonly #queryBlock: Float32Array;

  /** @param size D @param width cells per query, 0 when only products are wanted */
  constructor(size: number, supports: number, queries: number, width = 0) {
    this.supports = Math.ceil(supports / TILE_ROWS) * TILE_ROWS;
    this.queries = Math.ceil(queries / TILE_COLUMNS) * TILE_COLUMNS;
    this.#size = size;
    this.#depth = Math.ceil(size / UNROLL) * UNROLL;
    const words = [
      this.supports * this.#depth,
      this.queries * this.#depth,
      this.supports * this.queries,
      width * this.queries,
      width * this.queries,
    ];
    const offsets = words.map((_, i) =>
      words.slice(0, i).reduce((a, b) => a + Math.ceil(b / 16) * 16 + 16, 0),
    );
    const total = offsets[4]! + words[4]!;
    const memory = new WebAssembly.Memory({ initial: Math.ceil((total * 4) / 65_536) + 1 });
    const instance = new WebAssembly.Instance(compiledModule(), { m: { memory } });
    this.#tile = instance.exports["tile"] as KernelFunction;
    this.#update = instance.exports["update"] as KernelFunction;
    const view = (i: number): Float32Array => new Float32Array(memory.buffer, offsets[i]! * 4, words[i]!);
    this.#supportBlock = view(0);
    this.#queryBlock = view(1);
    this.product = view(2);
    this.best = view(3);
    this.index = new Int32Array(memory.buffer, offsets[4]! * 4, words[4]!);
  }

  /** Packs rows `list` of `data` (`[*, D]`) as supports; missing rows become zeros. */
  packSupports(data: Float32Array, list: ArrayLike<number>): void {
    pack(this.#supportBlock, data, list, this.#size, this.#depth, TILE_ROWS);
  }

  /** Packs rows as queries. */
  packQueries(data: Float32Array, list: ArrayLike<number>): void {
    pack(this.#queryBlock, data, list, this.#size, this.#depth, TILE_COLUMNS);
  }

  /** Fills {@link product} for the first `supports` and `queries` (rounded up to tiles). */
  multiply(supports: number, queries: number): void {
    const d = this.#depth;
    const a = this.#supportBlock.byteOffset;
    const b = this.#queryBlock.byteOffset;
    const c = this.product.byteOffset;
    const stride = this.queries * 4;
    // a panel of supports stays in the first cache while the queries stream by
    for (let s = 0; s < supports; s += TILE_ROWS)
      for (let q = 0; q < queries; q += TILE_COLUMNS)
        this.#tile(a + s * d * 4, b + q * d * 4, c + s * stride + q * 4, d, stride);
  }

  /** Lets support row `row` (whose number is `id`) compete for `cell` at the first `queries` queries. */
  compete(row: number, id: number, cell: number, queries: number): void {
    const at = cell * this.queries * 4;
    this.#update(
      this.product.byteOffset + row * this.queries * 4,
      this.best.byteOffset + at,
      this.index.byteOffset + at,
      queries,
      id,
    );
  }
}

let compiled: WebAssembly.Module | undefined;

function compiledModule(): WebAssembly.Module {
  if (!compiled) {
    const fused = moduleBytes(true);
    compiled = new WebAssembly.Module(WebAssembly.validate(fused) ? fused : moduleBytes(false));
  }
  return compiled;
}

function pack(
  into: Float32Array,
  data: Float32Array,
  list: ArrayLike<number>,
  size: number,
  depth: number,
  tile: number,
): void {
  const needed = Math.ceil(list.length / tile) * tile;
  for (let r = 0; r < needed; r++) {
    const start = Math.floor(r / tile) * tile * depth + (r % tile);
    const from = r < list.length ? list[r]! * size : -1;
    for (let k = 0; k < depth; k++) into[start + k * tile] = from >= 0 && k < size ? data[from + k]! : 0;
  }
}
