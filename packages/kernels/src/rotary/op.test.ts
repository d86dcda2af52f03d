import { expect, test } from "vitest";
import { ones, tensor, withDevice } from "@everlong/core";
import { checkOp, uniform } from "@everlong/testing";
import { rotary, rotaryOp } from "./op.ts";

/** Not normal: the checks weight outputs by the same normals, and x . R x does not depend on the angle's sign. */
const x = (...shape: number[]) => ({ shape, sample: uniform(-1, 1) });

checkOp(rotaryOp, {
  cases: [false, true].flatMap((interleaved) => [
    {
      inputs: [x(2, 3, 2, 4), [3, 2], [3, 2]],
      params: { interleaved, inverse: false },
    },
    {
      inputs: [x(2, 5, 3, 15), [2, 5, 6], [2, 5, 6]],
      params: { interleaved, inverse: true },
    },
  ]),
  secondOrder: true,
});

test("a quarter turn; pairs by halves and by neighbours", () =>
  withDevice("reference", async () => {
    const x = tensor([1, 2, 3, 4, 5], [1, 1, 1, 5]);
    const [cos, sin] = [tensor([[0, 1]]), tensor([[1, 0]])];
    expect(await rotary(x, cos, sin).toArray()).toEqual([[[[-3, 2, 1, 4, 5]]]]);
    expect(await rotary(x, cos, sin, { interleaved: true }).toArray()).toEqual([[[[-2, 1, 3, 4, 5]]]]);
    expect(() => rotary(x, ones([1, 3]), ones([1, 3]))).toThrow(/more rotary features than the head has/);
  }));
