import { expect, test } from "vitest";
import {
  add,
  compile,
  matmul,
  ones,
  registerDevice,
  slice,
  withDevice,
  type Executable,
  type Program,
  type Tensor,
} from "@everlong/core";
import { layerNorm } from "@everlong/kernels";
import { H100 } from "@everlong/kernels/cuda";
import { foldSums } from "./fold-sums.ts";
import { LoweringDevice } from "./lowering-device.ts";
import { lower } from "./lowering.ts";

/** Keeps the programs that it loads. */
class Recorder extends LoweringDevice {
  readonly programs: Program[] = [];

  override load(program: Program): Executable {
    this.programs.push(program);
    return super.load(program);
  }
}

const recorder = new Recorder();
registerDevice(recorder.name, () => recorder);

/** Names of the lowered steps of a function of tensors of the given shapes. */
async function namesOf(
  fn: (...inputs: Tensor[]) => Tensor,
  shapes: readonly number[][],
  fuses = true,
): Promise<string[]> {
  return withDevice(recorder, async () => {
    const inputs = shapes.map((s) => ones(s));
    await Promise.all(inputs.map((t) => t.data()));
    const before = recorder.programs.length;
    await compile(fn)(...inputs).data();
    const program = recorder.programs.slice(before).at(-1)!;
    const lowerings = program.steps.map((s) => (s.kind === "scan" ? undefined : lower(s, H100)));
    return foldSums(program, lowerings, H100, () => fuses).map((l) => (typeof l === "object" ? l.name : "?"));
  });
}

const square = [64, 64];

test("a sum behind a product becomes part of it where the library adds in passing", async () => {
  const fn = (a: Tensor, b: Tensor, c: Tensor): Tensor => add(matmul(a, b), c);
  expect(await namesOf(fn, [square, square, square])).toEqual(["matmul and sum", "added before"]);
  expect(await namesOf(fn, [square, square, square], false)).toEqual(["matmul", "loop add"]);
});

test("a sum stays when it is more than a sum, spreads a row, or its term is read again", async () => {
  const scaled = (a: Tensor, b: Tensor, c: Tensor): Tensor => add(matmul(a, b), c.mul(2));
  expect((await namesOf(scaled, [square, square, square])).includes("matmul and sum")).toBe(false);
  const row = (a: Tensor, b: Tensor, c: Tensor): Tensor => add(matmul(a, b), c);
  expect((await namesOf(row, [square, square, [64]])).includes("matmul and sum")).toBe(false);
  const again = (a: Tensor, b: Tensor, c: Tensor): Tensor => {
    const product = matmul(a, b);
    return matmul(add(product, c), product);
  };
  expect((await namesOf(again, [square, square, square])).includes("matmul and sum")).toBe(false);
  // What is added is the product itself.
  const twice = (a: Tensor, b: Tensor): Tensor => {
    const product = matmul(a, b);
    return add(product, product);
  };
  expect((await namesOf(twice, [square, square])).includes("matmul and sum")).toBe(false);
});

test("a sum of a part of a product stays: the product would be written beside it", async () => {
  const rows = (a: Tensor, b: Tensor, c: Tensor): Tensor =>
    slice(add(matmul(a, b), c), [{ start: 16, stop: 32 }]);
  const names = await namesOf(rows, [square, square, square]);
  expect(names).toContain("matmul");
  expect(names).not.toContain("matmul and sum");
});

test("kernels that cannot add are left alone", async () => {
  const fn = (x: Tensor, w: Tensor, c: Tensor): Tensor => add(layerNorm(x, w), c);
  expect(await namesOf(fn, [square, [64], square])).toEqual(["layer-norm", "loop add"]);
});
