// The body of a generated kernel: instructions in a form free of sizes and constants (those are run-time words), its key, and the
// emission of its vector code. Values that are equal in all lanes of a row are computed once a row.

import { isFloat, toBf16Bits, fromBf16Bits, type DType, type Instruction } from "@everlong/core";
import type { FunctionBuilder, I32, ModuleBuilder, Value, Variable, Vec } from "@everlong/wasm";
import type { ArgWord } from "./kernel-step.ts";
import {
  emitBinary,
  emitCast,
  emitCompare,
  emitPower,
  emitUnary,
  WHOLE_POWERS,
} from "./instruction-codegen.ts";
import {
  bytesOf,
  lanesKind,
  loadLanes,
  loadSplat,
  loadTail,
  loadVector,
  roundTo,
  storeLanes,
  storeTail,
  storeVector,
} from "./lane-formats.ts";

/**
 * How an operand is walked along the inner axis: neighbouring elements, one element, elements apart, or neighbouring elements of
 * a tile that was transposed into scratch memory.
 */
export type Access = "vector" | "splat" | "lanes" | "tile";

/** An instruction without run-time data. Constants and iotas number their words; `power` is pow with a small whole exponent. */
type Code =
  | Exclude<Instruction, { op: "const" } | { op: "iota" }>
  | { readonly op: "const"; readonly dtype: DType; readonly word: number }
  | {
      readonly op: "iota";
      readonly dtype: DType;
      readonly word: number;
      readonly pointer: number;
      readonly whole: boolean;
    }
  | { readonly op: "power"; readonly dtype: DType; readonly a: number; readonly exponent: number };

/** What a kernel's code depends on; two steps with equal specs share the kernel. */
export interface FusedSpec {
  readonly code: readonly Code[];
  readonly args: readonly { readonly dtype: DType; readonly access: Access }[];
  readonly outputs: readonly { readonly dtype: DType; readonly access: Access; readonly value: number }[];
  /** Access of the index of each iota along the inner axis. */
  readonly iotas: readonly ("splat" | "lanes")[];
}

/** The run-time words of the code's constants: one each, two for an iota (scale, start). */
export function constantWords(code: readonly Instruction[]): ArgWord[] {
  return code.flatMap((i): ArgWord[] => {
    if (i.op === "const") return [valueWord(i.dtype, i.value)];
    if (i.op === "iota") return wholeIota(i) ? [i.scale, i.start] : [{ f32: i.scale }, { f32: i.start }];
    return [];
  });
}

const wholeIota = (i: Extract<Instruction, { op: "iota" }>): boolean =>
  !isFloat(i.dtype) && Number.isInteger(i.scale) && Number.isInteger(i.start);

/** A constant as lanes hold it. */
function valueWord(dtype: DType, value: number): ArgWord {
  switch (dtype) {
    case "i32":
      return value | 0;
    case "u8":
      return value & 255;
    case "bool":
      return value === 0 ? 0 : -1;
    case "bf16":
      return { f32: fromBf16Bits(toBf16Bits(value)) };
    case "f16":
      return { f32: Math.f16round(value) };
    default:
      return { f32: value };
  }
}

/** Replaces constants by word numbers; `iotaPointer(n)` gives the pointer of the n-th iota. */
export function normalizeCode(code: readonly Instruction[], iotaPointer: (n: number) => number): Code[] {
  let word = 0;
  let iotas = 0;
  return code.map((i): Code => {
    if (i.op === "const") return { op: "const", dtype: i.dtype, word: word++ };
    if (i.op === "iota") {
      const at = word;
      word += 2;
      return { op: "iota", dtype: i.dtype, word: at, pointer: iotaPointer(iotas++), whole: wholeIota(i) };
    }
    if (i.op === "binary" && i.fn === "pow" && isFloat(i.dtype)) {
      const exponent = code[i.b]!;
      if (exponent.op === "const" && WHOLE_POWERS.includes(exponent.value)) {
        return { op: "power", dtype: i.dtype, a: i.a, exponent: exponent.value };
      }
    }
    return i;
  });
}

/** Bytes between neighbouring elements of pointer k of a spec; iota pointers count indices. */
export const unitOf = (spec: FusedSpec, k: number): number => {
  const n = spec.args.length;
  if (k < n) return bytesOf(spec.args[k]!.dtype);
  return k < n + spec.outputs.length ? bytesOf(spec.outputs[k - n]!.dtype) : 1;
};

export const accessOf = (spec: FusedSpec, k: number): Access => {
  const n = spec.args.length;
  if (k < n) return spec.args[k]!.access;
  return k < n + spec.outputs.length ? spec.outputs[k - n]!.access : spec.iotas[k - n - spec.outputs.length]!;
};

export const pointerCount = (spec: FusedSpec): number =>
  spec.args.length + spec.outputs.length + spec.iotas.length;

/** Emits the code of a {@link FusedSpec}, `parts` v128 at a time. */
export class FusedEmitter {
  private readonly f: FunctionBuilder;
  private readonly module: ModuleBuilder;
  private readonly spec: FusedSpec;
  private readonly parts: number;
  private readonly uniform: boolean[] = [];
  private constants: readonly Vec[] = [];
  private strides: readonly Value<"i32">[] = [];
  private laneIndex: (Vec | undefined)[] = [];
  private rowValues = new Map<number, Vec>();

  constructor(f: FunctionBuilder, module: ModuleBuilder, spec: FusedSpec, parts: number) {
    this.f = f;
    this.module = module;
    this.spec = spec;
    this.parts = parts;
    for (const c of spec.code) this.uniform.push(this.isUniform(c));
  }

  /** Loads what holds for the whole call: constants at byte `constantsAt` of the arguments, inner strides (bytes, by pointer). */
  prologue(args: I32, constantsAt: number, strides: readonly Value<"i32">[]): void {
    const { f, spec, parts } = this;
    this.strides = strides;
    const words = spec.code.reduce((n, c) => n + (c.op === "const" ? 1 : c.op === "iota" ? 2 : 0), 0);
    this.constants = Array.from({ length: words }, (_, i) =>
      f.mem.vec.load32Splat(args, constantsAt + 4 * i, parts),
    );
    const first = spec.args.length + spec.outputs.length;
    this.laneIndex = spec.iotas.map((access, i) => {
      if (access === "splat") return undefined;
      const ramp = {
        parts: Array.from({ length: parts }, (_, part) => {
          let v = f.i32x4.constant(4 * part, 1);
          for (let lane = 1; lane < 4; lane++) v = f.i32x4.replaceLane(v, lane, 4 * part + lane);
          return v.parts[0]!;
        }),
      };
      return f.i32x4.mul(ramp, f.i32x4.splat(strides[first + i]!, parts));
    });
  }

  /** Computes the values that are uniform along a row whose operands start at `pointers`. */
  row(pointers: readonly Variable<"i32">[]): void {
    this.rowValues = new Map();
    // Only what vector code will ask for.
    const wanted = new Set<number>();
    const visit = (i: number): void => {
      if (this.uniform[i]) {
        wanted.add(i);
        return;
      }
      for (const o of operandsOf(this.spec.code[i]!)) visit(o);
    };
    for (const o of this.roots()) visit(o);
    const memo = new Map<number, Vec>();
    for (const i of wanted) this.rowValues.set(i, this.value(i, memo, pointers, undefined));
  }

  /** Computes and stores one vector of every output. With `count`, only that many lanes exist. */
  store(pointers: readonly Variable<"i32">[], count?: I32): void {
    const { f, spec } = this;
    const memo = new Map(this.rowValues);
    const values = spec.outputs.map((o) => this.value(this.root(o), memo, pointers, count));
    spec.outputs.forEach((o, i) => {
      const k = spec.args.length + i;
      const at = pointers[k]!;
      const stride = this.strides[k]!;
      const value = values[i]!;
      if (count !== undefined) storeTail(f, this.module, o.dtype, at, stride, count, value);
      else if (o.access === "vector") storeVector(f, o.dtype, at, value);
      else storeLanes(f, o.dtype, at, stride, value);
    });
  }

  /** One vector of the last instruction's value. */
  last(pointers: readonly Variable<"i32">[], count?: I32): Vec {
    return this.value(this.spec.code.length - 1, new Map(this.rowValues), pointers, count);
  }

  private roots(): number[] {
    const { outputs, code } = this.spec;
    return outputs.length > 0 ? outputs.map((o) => this.root(o)) : [code.length - 1];
  }

  /** The instruction to store: a rounding to the output's own dtype is left to the store. */
  private root(output: FusedSpec["outputs"][number]): number {
    const c = this.spec.code[output.value]!;
    return c.op === "cast" && c.dtype === output.dtype && isFloat(c.from) && isFloat(c.dtype)
      ? c.a
      : output.value;
  }

  private isUniform(c: Code): boolean {
    if (c.op === "const") return true;
    if (c.op === "load") return this.spec.args[c.arg]!.access === "splat";
    if (c.op === "iota") return accessOf(this.spec, c.pointer) === "splat";
    return operandsOf(c).every((o) => this.uniform[o]);
  }

  private value(
    i: number,
    memo: Map<number, Vec>,
    pointers: readonly Variable<"i32">[],
    count: I32 | undefined,
  ): Vec {
    const known = memo.get(i);
    if (known) return known;
    const c = this.spec.code[i]!;
    const of = (o: number): Vec => this.value(o, memo, pointers, count);
    const made = this.emit(c, of, pointers, count);
    memo.set(i, made);
    return made;
  }

  private emit(
    c: Code,
    of: (o: number) => Vec,
    pointers: readonly Variable<"i32">[],
    count: I32 | undefined,
  ): Vec {
    const { f, module } = this;
    switch (c.op) {
      case "load":
        return this.load(c.arg, pointers[c.arg]!, count);
      case "const":
        return this.constants[c.word]!;
      case "iota":
        return this.iota(c, pointers[c.pointer]!);
      case "unary":
        return emitUnary(f, c.fn, c.dtype, of(c.a));
      case "binary": {
        const a = of(c.a);
        return emitBinary(f, module, c.fn, c.dtype, a, of(c.b), this.uniform[c.b]!);
      }
      case "power":
        return emitPower(f, of(c.a), c.exponent);
      case "compare": {
        const a = of(c.a);
        return emitCompare(f, c.fn, c.of, a, of(c.b));
      }
      case "select": {
        const mask = of(c.a);
        const a = of(c.b);
        return f.v128.select(mask, a, of(c.c));
      }
      case "cast":
        return emitCast(f, c.from, c.dtype, of(c.a));
    }
  }

  private load(arg: number, at: I32, count: I32 | undefined): Vec {
    const { f, module, parts } = this;
    const { dtype, access } = this.spec.args[arg]!;
    if (access === "splat") return loadSplat(f, dtype, at, parts);
    if (count !== undefined) {
      const stride = access === "lanes" ? this.strides[arg]! : bytesOf(dtype);
      return loadTail(f, module, dtype, at, stride, count, parts);
    }
    return access === "lanes"
      ? loadLanes(f, dtype, at, this.strides[arg]!, parts)
      : loadVector(f, dtype, at, parts);
  }

  private iota(c: Extract<Code, { op: "iota" }>, at: Variable<"i32">): Vec {
    const { f, spec, parts } = this;
    const base = f.i32x4.splat(at, parts);
    const lanes = this.laneIndex[c.pointer - spec.args.length - spec.outputs.length];
    const index = lanes ? f.i32x4.add(base, lanes) : base;
    const [scale, start] = [this.constants[c.word]!, this.constants[c.word + 1]!];
    if (c.whole) {
      const whole = f.i32x4.add(f.i32x4.mul(index, scale), start);
      return c.dtype === "i32" ? whole : emitCast(f, "i32", c.dtype, whole);
    }
    const real = f.f32x4.add(f.f32x4.mul(f.f32x4.convertI32x4S(index), scale), start);
    return lanesKind(c.dtype) === "float" ? roundTo(f, c.dtype, real) : emitCast(f, "f32", c.dtype, real);
  }
}

function operandsOf(c: Code): number[] {
  switch (c.op) {
    case "load":
    case "const":
    case "iota":
      return [];
    case "unary":
    case "cast":
    case "power":
      return [c.a];
    case "binary":
    case "compare":
      return [c.a, c.b];
    case "select":
      return [c.a, c.b, c.c];
  }
}
