// What follows a product: bias, activation, the value before the activation, and the sum over parts of a split inner axis.

import {
  gelu,
  geluTanh,
  relu,
  silu,
  type FunctionBuilder,
  type FunctionRef,
  type I32,
  type ModuleBuilder,
  type Value,
  type VecFunction,
} from "@everlong/wasm";
import type { Activation } from "./op.ts";

/** What an epilogue does besides storing. */
export interface Epilogue {
  readonly activation: Activation;
  /** A bias over columns is added. */
  readonly bias: boolean;
  /** The value before the activation is stored too. */
  readonly keep: boolean;
}

export const isPlain = (e: Epilogue): boolean => e.activation === "none" && !e.bias && !e.keep;
export const epilogueKey = (e: Epilogue): string =>
  `${e.activation}${e.bias ? "+bias" : ""}${e.keep ? "+keep" : ""}`;

const FUNCTIONS: { readonly [A in Activation]: VecFunction } = {
  none: (_, x) => x,
  relu,
  silu,
  gelu,
  "gelu-tanh": geluTanh,
};

/** Loads with one vector shape, whatever its number of parts: full vectors, or one element in a single v128. */
function columnsOf(f: FunctionBuilder, columns: I32, body: (j: Value<"i32">, whole: boolean) => void): void {
  const bytes = f.i32.shl(columns, 2);
  const bulk = f.i32.and(bytes, -4 * f.lanes);
  f.loop(0, bulk, 4 * f.lanes, (j) => body(j, true));
  f.loop(bulk, bytes, 4, (j) => body(j, false));
}

/**
 * `finish(c, keep, pitch, bias, rows, columns)`: c = activation(c + bias) in place, the value before it to `keep`. Pitches of c and
 * keep are equal, in bytes.
 */
export function defineFinish(module: ModuleBuilder, epilogue: Epilogue): FunctionRef {
  return module.define(
    "finish",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, c, keep, pitch, bias, rows, columns) => {
      f.loop(0, rows, 1, () => {
        columnsOf(f, columns, (j, whole) => {
          const at = f.i32.add(c, j);
          const parts = whole ? f.width : 1;
          const load = (address: Value<"i32">) =>
            whole ? f.mem.vec.load(address, 0, parts) : f.mem.vec.load32Splat(address, 0, parts);
          const store = (address: Value<"i32">, v: ReturnType<typeof load>): void =>
            whole ? f.mem.vec.store(address, 0, v) : f.mem.vec.store32Lane(address, 0, v, 0);
          let x = load(at);
          if (epilogue.bias) x = f.f32x4.add(x, load(f.i32.add(bias, j)));
          if (epilogue.keep) store(f.i32.add(keep, j), x);
          store(at, FUNCTIONS[epilogue.activation](f, x));
        });
        f.advance(c, pitch);
        if (epilogue.keep) f.advance(keep, pitch);
      });
    },
  );
}

/** `gather(from, stride, parts, to, count)`: to = sum over the parts, in their order, of `count` contiguous elements. */
export function defineGather(module: ModuleBuilder): FunctionRef {
  return module.define(
    "gather",
    { params: ["i32", "i32", "i32", "i32", "i32"] },
    (f, from, stride, parts, to, count) => {
      columnsOf(f, count, (j, whole) => {
        const at = f.variable("i32", f.i32.add(from, j));
        const sum = f.vecVariable(0, whole ? f.width : 1);
        f.loop(0, parts, 1, () => {
          const x = whole ? f.mem.vec.load(at) : f.mem.vec.load32Splat(at, 0, 1);
          f.setVec(sum, f.f32x4.add(sum, x));
          f.advance(at, stride);
        });
        if (whole) f.mem.vec.store(f.i32.add(to, j), 0, sum);
        else f.mem.vec.store32Lane(f.i32.add(to, j), 0, sum, 0);
      });
    },
  );
}
