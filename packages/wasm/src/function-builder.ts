// Emits one function: constants, variables, control flow, calls. The operations live in the namespaces `i32`, `f32x4`, ... .

import { CodeStream } from "./code-stream.ts";
import { float32Bytes, float64Bytes, pushSigned, pushSigned64 } from "./encoding.ts";
import { bindMemory, type MemoryOps } from "./memory-ops.ts";
import {
  bindF32,
  bindF32x4,
  bindF64,
  bindF64x2,
  bindI16x8,
  bindI32,
  bindI32x4,
  bindI64,
  bindI64x2,
  bindI8x16,
  bindV128,
  type F32Ops,
  type F32x4Ops,
  type F64Ops,
  type F64x2Ops,
  type I16x8Ops,
  type I32Ops,
  type I32x4Ops,
  type I64Ops,
  type I64x2Ops,
  type I8x16Ops,
  type V128Ops,
} from "./operations.ts";
import {
  type I32,
  type Target,
  type Value,
  type ValueType,
  type Variable,
  type Vec,
  type VecOperand,
  type VecVariable,
} from "./values.ts";

/** A function of a module, to be called from other functions. */
export interface FunctionRef {
  readonly index: number;
  readonly name: string;
  readonly params: readonly ValueType[];
  readonly result: ValueType | undefined;
}

/** A branch target: leaving a block goes to its end, "leaving" a loop goes to its next round. */
export interface Label {
  readonly scope: number;
  readonly depth: number;
}

const LANES = ["f32x4", "i32x4"] as const;

/** Emits the body of one function. Made by `ModuleBuilder.define`. */
export class FunctionBuilder {
  readonly target: Target;
  /** v128 values per vector (the target's width). */
  readonly width: 1 | 2;
  /** float32 lanes per vector: 4 or 8. */
  readonly lanes: 4 | 8;
  readonly code: CodeStream;
  readonly i32: I32Ops;
  readonly i64: I64Ops;
  readonly f32: F32Ops;
  readonly f64: F64Ops;
  readonly f32x4: F32x4Ops;
  readonly i32x4: I32x4Ops;
  readonly i16x8: I16x8Ops;
  readonly i8x16: I8x16Ops;
  readonly i64x2: I64x2Ops;
  readonly f64x2: F64x2Ops;
  readonly v128: V128Ops;
  /** Loads, stores and atomics. */
  readonly mem: MemoryOps;
  private readonly result: ValueType | undefined;
  private readonly constants = new Map<string, Value<"v128">>();
  private readonly storedHalves = new Set<number>();
  /** Vector arguments of calls, and to whom they went. */
  private readonly passedHalves = new Map<number, string>();
  private depth = 0;

  constructor(target: Target, params: readonly ValueType[], result: ValueType | undefined) {
    this.target = target;
    this.width = target.width;
    this.lanes = target.width === 2 ? 8 : 4;
    this.result = result;
    this.code = new CodeStream(params);
    this.i32 = bindI32(this);
    this.i64 = bindI64(this);
    this.f32 = bindF32(this);
    this.f64 = bindF64(this);
    this.f32x4 = bindF32x4(this);
    this.i32x4 = bindI32x4(this);
    this.i16x8 = bindI16x8(this);
    this.i8x16 = bindI8x16(this);
    this.i64x2 = bindI64x2(this);
    this.f64x2 = bindF64x2(this);
    this.v128 = bindV128(this);
    this.mem = bindMemory(this);
  }

  /** Pushes an operand: a local's value or an immediate of the given type. */
  push(operand: Value | number | bigint, type: ValueType): void {
    if (typeof operand === "object") {
      if (operand.type !== type) throw new TypeError(`[wasm] operand: expected ${type}, got ${operand.type}`);
      this.code.get(operand.id);
      return;
    }
    const bytes: number[] = [];
    if (type === "i32") pushSigned(bytes, Number(operand));
    else if (type === "i64") pushSigned64(bytes, BigInt(operand));
    else if (type === "f32") bytes.push(...float32Bytes(Number(operand)));
    else if (type === "f64") bytes.push(...float64Bytes(Number(operand)));
    else throw new TypeError("[wasm] operand: a v128 has no immediate here");
    this.code.byte({ i32: 0x41, i64: 0x42, f32: 0x43, f64: 0x44 }[type], ...bytes);
  }

  /** Pops the stack's top into a new local. */
  pop<T extends ValueType>(type: T): Value<T> {
    const id = this.code.newLocal(type);
    this.code.set(id);
    return { type, id };
  }

  /** The number `value` in every lane, made once before the body. `parts` is the number of v128 (default: the width). */
  constant(value: number, lane: "f32x4" | "i32x4" = "f32x4", parts: number = this.width): Vec {
    if (!LANES.includes(lane))
      throw new TypeError(`[wasm] constant: expected f32x4 or i32x4, got ${String(lane)}`);
    const bytes = lane === "f32x4" ? float32Bytes(value) : int32Bytes(value);
    const key = bytes.join();
    let local = this.constants.get(key);
    if (!local) {
      const id = this.code.hoisted("v128", [0xfd, 12, ...bytes, ...bytes, ...bytes, ...bytes]);
      local = { type: "v128", id };
      this.constants.set(key, local);
    }
    return { parts: Array.from({ length: parts }, () => local) };
  }

  /** A vector operand as a vector of `parts` v128; numbers become {@link constant}s of the given lane type. */
  vector(operand: VecOperand, lane: "f32x4" | "i32x4", parts: number): Vec {
    if (typeof operand === "number") return this.constant(operand, lane, parts);
    if (operand.parts.length !== parts)
      throw new TypeError(`[wasm] vector operand: expected ${parts} parts, got ${operand.parts.length}`);
    return operand;
  }

  /** Part `index` of `vec` as a vector of one v128: 0 = low half, 1 = high half. Reading a high half costs an extract. */
  part(vec: Vec, index: number): Vec {
    return { parts: [vec.parts[index]!] };
  }

  /** A variable that lives until the scope open now (function, loop, branch) ends. */
  variable<T extends Exclude<ValueType, "v128">>(
    type: T,
    initial: Value<T> | (T extends "i64" ? bigint : number),
  ): Variable<T> {
    const id = this.code.newLocal(type);
    this.push(initial, type);
    this.code.set(id);
    this.code.declare(id);
    return { type, id, mutable: true };
  }

  /** A vector variable (an accumulator) that lives until the scope open now ends. */
  vecVariable(initial: VecOperand, parts: number = this.width): VecVariable {
    const from = this.vector(initial, "f32x4", parts);
    return {
      parts: from.parts.map((p) => {
        const id = this.code.newLocal("v128");
        this.push(p, "v128");
        this.code.set(id);
        this.code.declare(id);
        return { type: "v128", id, mutable: true };
      }),
    };
  }

  set<T extends ValueType>(variable: Variable<T>, value: Value<T> | number | bigint): void {
    this.push(value, variable.type);
    this.code.set(variable.id);
  }

  setVec(variable: VecVariable, value: VecOperand): void {
    const from = this.vector(value, "f32x4", variable.parts.length);
    variable.parts.forEach((p, i) => this.set(p, from.parts[i]!));
  }

  /** `variable += by`, for pointers and counters. */
  advance(variable: Variable<"i32">, by: I32): void {
    if (by === 0) return;
    this.push(variable, "i32");
    this.push(by, "i32");
    this.code.byte(0x6a);
    this.code.set(variable.id);
  }

  /** `condition ? a : b`, for scalars. */
  select<T extends Exclude<ValueType, "v128">>(
    condition: I32,
    a: Value<T> | number,
    b: Value<T> | number,
    type: T = (typeof a === "object" ? a.type : typeof b === "object" ? b.type : "i32") as T,
  ): Value<T> {
    this.push(a, type);
    this.push(b, type);
    this.push(condition, "i32");
    this.code.byte(0x1b);
    return this.pop(type);
  }

  /** A block; `brIf(label, ...)` and `br(label)` leave it. */
  block(body: (label: Label) => void): void {
    this.code.byte(0x02, 0x40);
    const label = this.enter(false);
    body(label);
    this.leave(label);
  }

  /** Repeats `body` while the condition it returns holds; runs it at least once. */
  doWhile(body: (label: Label) => I32): void {
    this.code.byte(0x03, 0x40);
    const label = this.enter(true);
    const again = body(label);
    this.code.clear(label.scope);
    this.push(again, "i32");
    this.code.byte(0x0d, 0);
    this.depth--;
    this.code.close(label.scope);
    this.code.byte(0x0b);
  }

  /** Runs `body` with i = start, start + step, ... while i < end (unsigned). */
  loop(start: I32, end: I32, step: I32, body: (i: Variable<"i32">) => void): void {
    this.if(this.i32.ltU(start, end), () => {
      const i = this.variable("i32", start);
      this.doWhile(() => {
        body(i);
        this.advance(i, step);
        return this.i32.ltU(i, end);
      });
    });
  }

  /** Repeats `body` while `condition` holds; it is emitted twice, so let it only read variables. */
  while(condition: () => I32, body: () => void): void {
    this.if(condition(), () => {
      this.doWhile(() => {
        body();
        return condition();
      });
    });
  }

  /**
   * Runs `body` until `pointer` reaches `end`, then advances every pointer of `steps` by its bytes; `pointer` must be among
   * them. Runs at least once: use it for ranges known not to be empty.
   */
  sweep(
    pointer: Value<"i32">,
    end: I32,
    steps: readonly (readonly [Variable<"i32">, I32])[],
    body: () => void,
  ): void {
    this.doWhile(() => {
      body();
      for (const [p, by] of steps) this.advance(p, by);
      return this.i32.ltU(pointer, end);
    });
  }

  if(condition: I32, then: () => void, otherwise?: () => void): void {
    // the outer scope holds the clearing of both arms; the arms hold their variables
    const outer = this.code.open(false);
    this.push(condition, "i32");
    this.code.byte(0x04, 0x40);
    this.depth++;
    const arm = (body: () => void): void => {
      const scope = this.code.open(false);
      body();
      this.code.clear(outer);
      this.code.close(scope);
    };
    arm(then);
    if (otherwise) {
      this.code.byte(0x05);
      arm(otherwise);
    }
    this.depth--;
    this.code.byte(0x0b);
    this.code.close(outer);
  }

  br(label: Label): void {
    this.code.clear(label.scope);
    this.code.byte(0x0c);
    this.code.unsigned(this.depth - label.depth);
  }

  brIf(label: Label, condition: I32): void {
    this.code.clear(label.scope);
    this.push(condition, "i32");
    this.code.byte(0x0d);
    this.code.unsigned(this.depth - label.depth);
  }

  /** Returns from the function. */
  return(value?: Value | number): void {
    if (this.result) this.push(value ?? 0, this.result);
    this.code.byte(0x0f);
  }

  /** Stops the program with a WebAssembly trap. */
  trap(): void {
    this.code.byte(0x00);
  }

  /** Calls a function of the module. Its result, if any, is given back. */
  call(target: FunctionRef, ...args: readonly (Value | number)[]): Value | undefined {
    if (args.length !== target.params.length)
      throw new TypeError(
        `[wasm] call ${target.name}: expected ${target.params.length} arguments, got ${args.length}`,
      );
    args.forEach((a, i) => {
      this.push(a, target.params[i]!);
      if (typeof a === "object" && a.type === "v128") this.passedHalves.set(a.id, target.name);
    });
    this.refuseStoredHalves();
    this.code.byte(0x10);
    this.code.unsigned(target.index);
    return target.result ? this.pop(target.result) : undefined;
  }

  /** Notes that `vec` is stored; see {@link refuseStoredHalves}. */
  noteStore(vec: Vec): void {
    if (vec.parts.length < 2) return;
    for (const part of vec.parts) this.storedHalves.add(part.id);
    this.refuseStoredHalves();
  }

  /** V8 (13.6) aborts the process when it fuses a stored pair one half of which is the argument of a call. */
  private refuseStoredHalves(): void {
    for (const [id, callee] of this.passedHalves) {
      if (!this.storedHalves.has(id)) continue;
      throw new TypeError(
        `[wasm] call ${callee}: an argument is half of a pair that is also stored, on which V8 aborts. ` +
          "Pass a copy of the half, f.v128.or(part, part).",
      );
    }
  }

  private enter(loop: boolean): Label {
    const scope = this.code.open(loop);
    this.depth++;
    return { scope, depth: this.depth };
  }

  private leave(label: Label): void {
    this.code.clear(label.scope);
    this.depth--;
    this.code.close(label.scope);
    this.code.byte(0x0b);
  }
}

function int32Bytes(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >>> 24) & 0xff];
}
