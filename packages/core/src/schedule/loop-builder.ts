// Collects the instructions of one fused loop, each value once.

import type { Instruction, Operand, View } from "../device.ts";
import type { DType } from "../dtype.ts";

type Without<T> = T extends unknown ? T : never;

export class LoopBuilder {
  readonly shape: readonly number[];
  readonly args: Operand[] = [];
  readonly code: Instruction[] = [];
  readonly #known = new Map<string, number>();
  readonly #loaded = new Map<string, number>();

  constructor(shape: readonly number[]) {
    this.shape = shape;
  }

  /** The index of an instruction, new or equal to an earlier one. */
  emit(instruction: Without<Instruction>): number {
    const key = JSON.stringify(instruction, (_, v: unknown) =>
      typeof v === "number" && !Number.isFinite(v) ? String(v) : Object.is(v, -0) ? "-0" : v,
    );
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    this.#known.set(key, this.code.length);
    return this.code.push(instruction) - 1;
  }

  /** The value of a buffer under a view of the loop's shape. */
  load(operand: Operand): number {
    const key = operandKey(operand);
    let arg = this.#loaded.get(key);
    if (arg === undefined) {
      arg = this.args.push(operand) - 1;
      this.#loaded.set(key, arg);
    }
    return this.emit({ op: "load", dtype: operand.dtype, arg });
  }

  constant(value: number, dtype: DType): number {
    return this.emit({ op: "const", dtype, value });
  }

  /** An affine index: `offset + sum stride_i index_i`. */
  index(view: View, dtype: DType): number {
    const axes = view.strides.map((s, i) => ({ s, i })).filter(({ s, i }) => s !== 0 && view.shape[i]! > 1);
    if (axes.length === 0) return this.constant(view.offset, dtype);
    let sum: number | undefined;
    axes.forEach(({ s, i }, k) => {
      const term = this.emit({ op: "iota", dtype, axis: i, scale: s, start: k === 0 ? view.offset : 0 });
      sum = sum === undefined ? term : this.emit({ op: "binary", dtype, fn: "add", a: sum, b: term });
    });
    return sum!;
  }
}

export const operandKey = (o: Operand): string =>
  `${o.buffer}|${o.view.offset}|${o.view.shape.join()}|${o.view.strides.join()}`;

/** Copies instructions of another loop of the same shape; `replace` gives values for some of its loads. */
export function appendCode(
  into: LoopBuilder,
  args: readonly Operand[],
  code: readonly Instruction[],
  replace: (operand: Operand) => number | undefined,
): number[] {
  const at: number[] = [];
  for (const instruction of code) {
    switch (instruction.op) {
      case "load":
        at.push(replace(args[instruction.arg]!) ?? into.load(args[instruction.arg]!));
        break;
      case "const":
      case "iota":
        at.push(into.emit(instruction));
        break;
      case "unary":
      case "cast":
        at.push(into.emit({ ...instruction, a: at[instruction.a]! }));
        break;
      case "binary":
      case "compare":
        at.push(into.emit({ ...instruction, a: at[instruction.a]!, b: at[instruction.b]! }));
        break;
      case "select":
        at.push(
          into.emit({ ...instruction, a: at[instruction.a]!, b: at[instruction.b]!, c: at[instruction.c]! }),
        );
        break;
    }
  }
  return at;
}
