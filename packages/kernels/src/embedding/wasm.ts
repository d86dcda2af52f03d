import type { ModuleBuilder } from "@everlong/wasm";
import {
  argReader,
  argWords,
  inputWord,
  larger,
  loadPlace,
  rowsPerUnit,
  smaller,
  splatAt,
  storePlace,
  targetKey,
  walk,
} from "../wasm-emit.ts";
import type { ArgWord, WasmSource } from "../wasm-step.ts";
import type { EmbeddingGradParams } from "./op.ts";

const LOOKUP = ["table", "ids", "out", "bytes", "rows", "count", "perUnit"] as const;

function buildLookup(module: ModuleBuilder): void {
  module.define(
    "embedding",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end) => {
      const arg = argReader(f, args, LOOKUP);
      const bytes = arg("bytes");
      const first = f.i32.mul(begin, arg("perUnit"));
      const last = smaller(f, f.i32.mul(end, arg("perUnit")), arg("count"));
      const to = f.variable("i32", f.i32.add(arg("out"), f.i32.mul(first, bytes)));
      f.loop(first, last, 1, (i) => {
        const id = f.mem.i32.load(f.i32.muladd(i, 4, arg("ids")));
        const row = larger(f, smaller(f, id, f.i32.sub(arg("rows"), 1)), 0);
        const from = f.i32.add(arg("table"), f.i32.mul(row, bytes));
        walk(f, bytes, 1, (p) => storePlace(f, to, p, loadPlace(f, from, p)));
        f.advance(to, bytes);
      });
    },
  );
}

export const embeddingWasm: WasmSource<unknown> = {
  lower: ({ inputs }, target) => {
    const [table, ids] = inputs;
    if (table!.dtype !== "f32" || ids!.dtype !== "i32") return "takes an f32 table and i32 ids only";
    const [rows, width] = table!.shape as [number, number];
    const count = ids!.shape[0]!;
    const perUnit = rowsPerUnit(count, width);
    const values: { readonly [K in (typeof LOOKUP)[number]]: ArgWord } = {
      table: inputWord(0, table!),
      ids: inputWord(1, ids!),
      out: { output: 0 },
      bytes: 4 * width,
      rows,
      count,
      perUnit,
    };
    return {
      steps: [
        {
          kernel: { key: `embedding/${targetKey(target)}`, build: buildLookup },
          entry: "embedding",
          args: argWords(LOOKUP, values),
          units: Math.ceil(count / perUnit),
          grain: 1,
          scratchBytes: 0,
        },
      ],
    };
  },
};

const GRADIENT = ["ids", "dy", "out", "bytes", "rows", "count", "perUnit", "starts", "places"] as const;

/** Sorts places by id, stable: `places[starts[r]] ... places[starts[r + 1] - 1]` are the places of row r, in order. */
function defineSort(module: ModuleBuilder): void {
  module.define("sortPlaces", { params: ["i32", "i32", "i32", "i32"], exported: true }, (f, args) => {
    const arg = argReader(f, args, GRADIENT);
    const [rows, count, starts, places] = [arg("rows"), arg("count"), arg("starts"), arg("places")];
    const rowOf = (i: ReturnType<typeof arg>): ReturnType<typeof arg> =>
      larger(f, smaller(f, f.mem.i32.load(f.i32.muladd(i, 4, arg("ids"))), f.i32.sub(rows, 1)), 0);
    f.loop(0, f.i32.add(rows, 2), 1, (r) => f.mem.i32.store(f.i32.muladd(r, 4, starts), 0, 0));
    // counts stand two places late, so that placing below moves each start to where it belongs
    f.loop(0, count, 1, (i) => {
      const at = f.i32.muladd(rowOf(i), 4, starts);
      f.mem.i32.store(at, 8, f.i32.add(f.mem.i32.load(at, 8), 1));
    });
    f.loop(0, rows, 1, (r) => {
      const at = f.i32.muladd(r, 4, starts);
      f.mem.i32.store(at, 8, f.i32.add(f.mem.i32.load(at, 8), f.mem.i32.load(at, 4)));
    });
    f.loop(0, count, 1, (i) => {
      const at = f.i32.muladd(rowOf(i), 4, starts);
      const place = f.mem.i32.load(at, 4);
      f.mem.i32.store(f.i32.muladd(place, 4, places), 0, i);
      f.mem.i32.store(at, 4, f.i32.add(place, 1));
    });
  });
}

function buildGradient(module: ModuleBuilder): void {
  defineSort(module);
  module.define(
    "embeddingGrad",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end) => {
      const arg = argReader(f, args, GRADIENT);
      const bytes = arg("bytes");
      const first = f.i32.mul(begin, arg("perUnit"));
      const last = smaller(f, f.i32.mul(end, arg("perUnit")), arg("rows"));
      const to = f.variable("i32", f.i32.add(arg("out"), f.i32.mul(first, bytes)));
      f.loop(first, last, 1, (r) => {
        const at = f.i32.muladd(r, 4, arg("starts"));
        const from = f.i32.muladd(f.mem.i32.load(at), 4, arg("places"));
        const past = f.i32.muladd(f.mem.i32.load(at, 4), 4, arg("places"));
        walk(f, bytes, 1, (p) => storePlace(f, to, p, splatAt(f, f.f32.constant(0), p)));
        f.loop(from, past, 4, (place) => {
          const row = f.i32.add(arg("dy"), f.i32.mul(f.mem.i32.load(place), bytes));
          walk(f, bytes, 1, (p) => {
            storePlace(f, to, p, f.f32x4.add(loadPlace(f, to, p), loadPlace(f, row, p)));
          });
        });
        f.advance(to, bytes);
      });
    },
  );
}

/** Places are sorted by row in one thread; then every row sums its own, in the order of the places. */
export const embeddingGradWasm: WasmSource<EmbeddingGradParams> = {
  lower: ({ inputs, params }, target) => {
    const [ids, dy] = inputs;
    if (dy!.dtype !== "f32" || ids!.dtype !== "i32") return "takes i32 ids and an f32 gradient only";
    const { rows } = params;
    const [count, width] = dy!.shape as [number, number];
    const perUnit = Math.max(1, Math.ceil(rows / 64));
    const values: { readonly [K in (typeof GRADIENT)[number]]: ArgWord } = {
      ids: inputWord(0, ids!),
      dy: inputWord(1, dy!),
      out: { output: 0 },
      bytes: 4 * width,
      rows,
      count,
      perUnit,
      starts: { temp: 0 },
      places: { temp: 1 },
    };
    const kernel = { key: `embeddingGrad/${targetKey(target)}`, build: buildGradient };
    const step = { kernel, args: argWords(GRADIENT, values), grain: 1, scratchBytes: 0 };
    return {
      steps: [
        { ...step, entry: "sortPlaces", units: 1 },
        { ...step, entry: "embeddingGrad", units: Math.ceil(rows / perUnit) },
      ],
      temps: [4 * (rows + 2), Math.max(4, 4 * count)],
    };
  },
};
