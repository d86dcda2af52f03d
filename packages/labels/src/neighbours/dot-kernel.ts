// A small matrix-product kernel in WebAssembly, assembled here because the search runs in its own threads with its own memories, outside any
// device: dot products of packed rows, 6 queries x 8 supports a tile, one fused multiply-add per vector and step where the engine has it.

/** Queries of one tile. */
export const TILE_ROWS = 6;
/** Supports of one tile. */
export const TILE_COLUMNS = 8;

const LOCAL_GET = 0x20;
const LOCAL_SET = 0x21;
const LOCAL_TEE = 0x22;
const I32 = 0x7f;
const V128 = 0x7b;
const END = 0x0b;

// locals: parameters 0..4, then two vectors of supports, one of a query, twelve sums
const [A, B, C, STEPS, STRIDE] = [0, 1, 2, 3, 4];
const FIRST_VECTOR = 5;
const QUERY = FIRST_VECTOR + 2;
const SUM = FIRST_VECTOR + 3;
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
      code.push(LOCAL_GET, A, ...simd(0x09), 2, ...leb((u * TILE_ROWS + r) * 4), LOCAL_SET, QUERY);
      for (let half = 0; half < 2; half++) {
        const pair = [LOCAL_GET, QUERY, LOCAL_GET, FIRST_VECTOR + half];
        const sum = SUM + r * 2 + half;
        if (fused) code.push(...pair, LOCAL_GET, sum, ...simd(0x105), LOCAL_SET, sum);
        else code.push(LOCAL_GET, sum, ...pair, ...simd(0xe6), ...simd(0xe4), LOCAL_SET, sum);
      }
    }
  }
  const advance = (local: number, by: number): number[] => [LOCAL_GET, local, 0x41, ...signedLeb(by), 0x6a];
  code.push(...advance(A, UNROLL * TILE_ROWS * 4), LOCAL_SET, A);
  code.push(...advance(B, UNROLL * TILE_COLUMNS * 4), LOCAL_SET, B);
  code.push(...advance(STEPS, -UNROLL), LOCAL_TEE, STEPS, 0x0d, 0, END); // br_if loop
  for (let r = 0; r < TILE_ROWS; r++) {
    for (let half = 0; half < 2; half++)
      code.push(LOCAL_GET, C, LOCAL_GET, SUM + r * 2 + half, ...simd(0x0b), 4, ...leb(half * 16));
    code.push(LOCAL_GET, C, LOCAL_GET, STRIDE, 0x6a, LOCAL_SET, C);
  }
  return [1, ...leb(15), V128, ...code, END];
}

function moduleBytes(fused: boolean): Uint8Array<ArrayBuffer> {
  const body = tileBody(fused);
  const magic = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  return Uint8Array.from([
    ...magic,
    ...section(1, [1, 0x60, 5, I32, I32, I32, I32, I32, 0]),
    ...section(2, [1, ...name("m"), ...name("memory"), 2, 0, 1]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...name("tile"), 0, 0]),
    ...section(10, [1, ...leb(body.length), ...body]),
  ]);
}

type TileFunction = (a: number, b: number, c: number, steps: number, stride: number) => void;

/** Packed blocks of queries and supports in one WebAssembly memory, and their product. */
export class DotKernel {
  /** Rows of a query block and of a support block. */
  readonly rows: number;
  readonly columns: number;
  /** The product of the last {@link multiply}, `[rows, columns]`. */
  readonly product: Float32Array;
  /** D rounded up to whole loop turns. */
  readonly #depth: number;
  readonly #size: number;
  readonly #tile: TileFunction;
  readonly #queries: Float32Array;
  readonly #supports: Float32Array;

  /** @param size D. `rows` and `columns` are rounded up to whole tiles. */
  constructor(size: number, rows: number, columns: number) {
    this.rows = Math.ceil(rows / TILE_ROWS) * TILE_ROWS;
    this.columns = Math.ceil(columns / TILE_COLUMNS) * TILE_COLUMNS;
    this.#size = size;
    this.#depth = Math.ceil(size / UNROLL) * UNROLL;
    const words = [this.rows * this.#depth, this.columns * this.#depth, this.rows * this.columns];
    const offsets = words.map((_, i) => words.slice(0, i).reduce((a, b) => a + b + 16, 0));
    const total = offsets[2]! + words[2]!;
    const memory = new WebAssembly.Memory({ initial: Math.ceil((total * 4) / 65_536) + 1 });
    const fused = moduleBytes(true);
    const bytes = WebAssembly.validate(fused) ? fused : moduleBytes(false);
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { m: { memory } });
    this.#tile = instance.exports["tile"] as TileFunction;
    const view = (i: number): Float32Array => new Float32Array(memory.buffer, offsets[i]! * 4, words[i]!);
    this.#queries = view(0);
    this.#supports = view(1);
    this.product = view(2);
  }

  /** Packs rows `list` of `data` (`[*, D]`) as queries; missing rows become zeros. */
  packQueries(data: Float32Array, list: ArrayLike<number>): void {
    pack(this.#queries, data, list, this.#size, this.#depth, TILE_ROWS);
  }

  /** Packs rows as supports. */
  packSupports(data: Float32Array, list: ArrayLike<number>): void {
    pack(this.#supports, data, list, this.#size, this.#depth, TILE_COLUMNS);
  }

  /** Fills {@link product} for the first `rows` queries and `columns` supports (rounded up to tiles). */
  multiply(rows: number, columns: number): void {
    const d = this.#depth;
    const a = this.#queries.byteOffset;
    const b = this.#supports.byteOffset;
    const c = this.product.byteOffset;
    const stride = this.columns * 4;
    for (let r = 0; r < rows; r += TILE_ROWS)
      for (let j = 0; j < columns; j += TILE_COLUMNS)
        this.#tile(a + r * d * 4, b + j * d * 4, c + r * stride + j * 4, d, stride);
  }
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
