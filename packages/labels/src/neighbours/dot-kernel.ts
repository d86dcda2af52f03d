// Dot products of packed rows, and a running best for every cell. The search runs in its own threads with its own memories,
// outside any device; the register tile and the packing are the matrix product's.

import { definePack, defineTile, tileOf } from "@everlong/kernels/matmul-tile";
import { MAX_MEMORY_PAGES, ModuleBuilder, supportsRelaxedSimd, testPairing } from "@everlong/wasm";
import type { Target } from "@everlong/wasm";

/** Steps of the inner axis at once: a panel of queries this deep stays in the first cache while supports stream by. */
const DEPTH = 256;

interface KernelFunctions {
  readonly packSupport: (...args: number[]) => void;
  readonly packQuery: (...args: number[]) => void;
  readonly multiply: (...args: number[]) => void;
  readonly update: (...args: number[]) => void;
}

interface Compiled {
  readonly module: WebAssembly.Module;
  readonly rows: number;
  readonly columns: number;
}

let compiled: Compiled | undefined;

// Pairs of vectors only where the engine fuses them: one test of a few milliseconds per thread.
function kernelModule(): Compiled {
  compiled ??= compile({ width: testPairing().paired ? 2 : 1, relaxed: supportsRelaxedSimd() });
  return compiled;
}

function compile(target: Target): Compiled {
  const module = new ModuleBuilder(target);
  const tile = tileOf(target);
  const tileFunction = defineTile(module, tile);
  const six = ["i32", "i32", "i32", "i32", "i32", "i32"] as const;
  for (const [name, lanes] of [
    ["packSupport", tile.rows],
    ["packQuery", tile.columns],
  ] as const) {
    const pack = definePack(module, lanes);
    module.define(name, { params: six, exported: true }, (f, ...args) => void f.call(pack, ...args));
  }

  // multiply(a, b, c, pitch, rows, columns, inner): all tiles of packed panels; c is written whole tiles at a time
  module.define(
    "multiply",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32"], exported: true },
    (f, a, b, c, pitch, rows, columns, inner) => {
      const aPanel = f.i32.mul(inner, 4 * tile.rows);
      const bPanel = f.i32.mul(inner, 4 * tile.columns);
      const cPanel = f.i32.mul(pitch, tile.rows);
      f.loop(0, inner, DEPTH, (from) => {
        const left = f.i32.sub(inner, from);
        const steps = f.select(f.i32.ltU(left, DEPTH), left, DEPTH, "i32");
        const right = f.variable("i32", f.i32.muladd(from, 4 * tile.columns, b));
        const aFrom = f.i32.muladd(from, 4 * tile.rows, a);
        f.loop(0, columns, tile.columns, (column) => {
          const at = f.variable("i32", f.i32.muladd(column, 4, c));
          const panel = f.variable("i32", aFrom);
          f.loop(0, rows, tile.rows, () => {
            f.call(tileFunction, panel, right, at, pitch, steps, from);
            f.advance(panel, aPanel);
            f.advance(at, cPanel);
          });
          f.advance(right, bPanel);
        });
      });
    },
  );

  // update(products, best, index, count, id): where a product beats the best, it replaces it, and id replaces the index
  module.define(
    "update",
    { params: ["i32", "i32", "i32", "i32", "i32"], exported: true },
    (f, products, best, index, count, id) => {
      const ids = f.i32x4.splat(id);
      f.loop(0, count, f.lanes, () => {
        const [value, old] = [f.mem.vec.load(products), f.mem.vec.load(best)];
        const better = f.f32x4.gt(value, old);
        f.mem.vec.store(best, 0, f.v128.select(better, value, old));
        f.mem.vec.store(index, 0, f.v128.select(better, ids, f.mem.vec.load(index)));
        for (const pointer of [products, best, index]) f.advance(pointer, 4 * f.lanes);
      });
    },
  );
  return { module: new WebAssembly.Module(module.bytes()), rows: tile.rows, columns: tile.columns };
}

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
  readonly #size: number;
  readonly #rows: number;
  readonly #columns: number;
  readonly #run: KernelFunctions;
  /** Rows of one panel as they come, before packing. */
  readonly #staging: Float32Array;
  readonly #supportBlock: number;
  readonly #queryBlock: number;

  /** @param size D @param width cells per query, 0 when only products are wanted */
  constructor(size: number, supports: number, queries: number, width = 0) {
    const { module, rows, columns } = kernelModule();
    this.#rows = rows;
    this.#columns = columns;
    this.supports = Math.ceil(supports / rows) * rows;
    this.queries = Math.ceil(queries / columns) * columns;
    this.#size = size;
    const words = [
      this.supports * size,
      this.queries * size,
      this.supports * this.queries,
      width * this.queries,
      width * this.queries,
      Math.max(rows, columns) * size,
    ];
    // 64 bytes after each part: vector loads of a panel's last rows may reach beyond it
    const offsets = words.map((_, i) =>
      words.slice(0, i).reduce((sum, n) => sum + Math.ceil(n / 16) * 64 + 64, 0),
    );
    const pages = Math.ceil((offsets[5]! + words[5]! * 4) / 65_536) + 1;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: MAX_MEMORY_PAGES, shared: true });
    const instance = new WebAssembly.Instance(module, { env: { memory } });
    this.#run = instance.exports as unknown as KernelFunctions;
    const view = (i: number): Float32Array => new Float32Array(memory.buffer, offsets[i], words[i]);
    this.#supportBlock = offsets[0]!;
    this.#queryBlock = offsets[1]!;
    this.product = view(2);
    this.best = view(3);
    this.index = new Int32Array(memory.buffer, offsets[4], words[4]);
    this.#staging = view(5);
  }

  /** Packs rows `list` of `data` (`[*, D]`) as supports; what a last panel lacks becomes zeros. */
  packSupports(data: Float32Array, list: ArrayLike<number>): void {
    this.#pack(data, list, this.#rows, this.#supportBlock, this.#run.packSupport);
  }

  /** Packs rows as queries. */
  packQueries(data: Float32Array, list: ArrayLike<number>): void {
    this.#pack(data, list, this.#columns, this.#queryBlock, this.#run.packQuery);
  }

  /** Fills {@link product} for the first `supports` and `queries` (rounded up to tiles). */
  multiply(supports: number, queries: number): void {
    const c = this.product.byteOffset;
    this.#run.multiply(
      this.#supportBlock,
      this.#queryBlock,
      c,
      this.queries * 4,
      supports,
      queries,
      this.#size,
    );
  }

  /** Lets support row `row` (whose number is `id`) compete for `cell` at the first `queries` queries. */
  compete(row: number, id: number, cell: number, queries: number): void {
    const at = cell * this.queries * 4;
    this.#run.update(
      this.product.byteOffset + row * this.queries * 4,
      this.best.byteOffset + at,
      this.index.byteOffset + at,
      queries,
      id,
    );
  }

  #pack(
    data: Float32Array,
    list: ArrayLike<number>,
    lanes: number,
    into: number,
    pack: (...args: number[]) => void,
  ): void {
    const size = this.#size;
    const staging = this.#staging;
    for (let first = 0; first < list.length; first += lanes) {
      const count = Math.min(lanes, list.length - first);
      for (let r = 0; r < count; r++) {
        const from = list[first + r]! * size;
        staging.set(data.subarray(from, from + size), r * size);
      }
      pack(staging.byteOffset, size * 4, 4, count, size, into + first * size * 4);
    }
  }
}
