// A WebAssembly module under construction: functions over one imported shared memory.

import { joinBytes, nameBytes, pushUnsigned, section } from "./encoding.ts";
import { FunctionBuilder, type FunctionRef } from "./function-builder.ts";
import { TYPE_CODE, type Target, type Value, type ValueType, type Variable } from "./values.ts";

/** Pages of 64 KiB that a module allows its memory to grow to: 4 GiB. */
export const MAX_MEMORY_PAGES = 65536;

/** Types of a function's parameters and result. */
export interface Signature<P extends readonly ValueType[] = readonly ValueType[]> {
  readonly params: P;
  readonly result?: ValueType;
  /** Whether the function is exported under its name; default false. */
  readonly exported?: boolean;
}

type Arguments<P extends readonly ValueType[]> = { [I in keyof P]: Variable<P[I]> };

interface Defined extends FunctionRef {
  readonly exported: boolean;
  body: Uint8Array;
}

/**
 * Collects functions and encodes them as a module that imports `env.memory` (shared, 32-bit, at most 4 GiB).
 *
 * @example
 * const module = new ModuleBuilder({ width: 2, relaxed: true });
 * module.define("double", { params: ["i32", "i32"], exported: true }, (f, at, end) => {
 *   f.sweep(at, end, [[at, 16 * f.width]], () => f.mem.vec.store(at, 0, f.f32x4.mul(f.mem.vec.load(at), 2)));
 * });
 * const compiled = new WebAssembly.Module(module.bytes());
 */
export class ModuleBuilder {
  readonly target: Target;
  private readonly functions: Defined[] = [];
  private readonly byName = new Map<string, FunctionRef>();

  constructor(target: Target) {
    this.target = target;
  }

  /**
   * Adds a function. `body` emits its code; parameters are variables and may be changed. Returns the handle for calls;
   * within `body`, `find(name)` gives it too, for recursion. A name can be given once per module.
   */
  define<const P extends readonly ValueType[]>(
    name: string,
    signature: Signature<P>,
    body: (f: FunctionBuilder, ...params: Arguments<P>) => Value | number | void,
  ): FunctionRef {
    if (this.byName.has(name)) throw new Error(`[wasm] function "${name}" is already defined in this module`);
    const { params, result, exported = false } = signature;
    const ref: Defined = {
      index: this.functions.length,
      name,
      params,
      result,
      exported,
      body: new Uint8Array(),
    };
    this.functions.push(ref);
    this.byName.set(name, ref);
    const f = new FunctionBuilder(this.target, params, result);
    const args = params.map((type, id) => ({ type, id, mutable: true as const })) as unknown as Arguments<P>;
    const value = body(f, ...args);
    if (result) {
      if (value === undefined) throw new Error(`[wasm] function "${name}" must give back a ${result}`);
      f.push(value, result);
    }
    ref.body = f.code.assemble();
    return ref;
  }

  /** The function defined under `name`, if any: lets kernels share helper functions within a module. */
  find(name: string): FunctionRef | undefined {
    return this.byName.get(name);
  }

  /** The function `name`, defined by `make` at the first request. */
  once(name: string, make: () => FunctionRef): FunctionRef {
    return this.byName.get(name) ?? make();
  }

  /** The module in the binary format. */
  bytes(): Uint8Array<ArrayBuffer> {
    const types: number[][] = [];
    const typeIndex = new Map<string, number>();
    const typeOf = (fn: Defined): number => {
      const encoded = [0x60];
      pushUnsigned(encoded, fn.params.length);
      for (const p of fn.params) encoded.push(TYPE_CODE[p]);
      encoded.push(...(fn.result ? [1, TYPE_CODE[fn.result]] : [0]));
      const key = encoded.join();
      let index = typeIndex.get(key);
      if (index === undefined) {
        index = types.push(encoded) - 1;
        typeIndex.set(key, index);
      }
      return index;
    };
    const declarations = this.functions.map((fn) => unsigned(typeOf(fn)));
    const limits = [3, ...unsigned(1), ...unsigned(MAX_MEMORY_PAGES)];
    const memory = [...nameBytes("env"), ...nameBytes("memory"), 2, ...limits];
    const exports = this.functions
      .filter((fn) => fn.exported)
      .map((fn) => [...nameBytes(fn.name), 0, ...unsigned(fn.index)]);
    const bodies = this.functions.flatMap((fn) => [unsigned(fn.body.length), fn.body]);
    const code = joinBytes([unsigned(this.functions.length), ...bodies]);
    return joinBytes([
      [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      section(1, types),
      section(2, [memory]),
      section(3, declarations),
      section(7, exports),
      [10, ...unsigned(code.length)],
      code,
    ]);
  }
}

function unsigned(value: number): number[] {
  const out: number[] = [];
  pushUnsigned(out, value);
  return out;
}
