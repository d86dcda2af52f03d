import { expect, test } from "vitest";
import { gradients, sum, tensor, withDevice } from "@everlong/core";
import { roundedCopies } from "./op.ts";

test("copies are rounded once, and gradients come back as they are", () =>
  withDevice("reference", async () => {
    const [a, b] = [tensor([1 + 2 ** -9, 3], { dtype: "f32" }), tensor([[2 ** -20]], { dtype: "f32" })];
    const [x, y] = roundedCopies([a, b], "bf16") as [typeof a, typeof b];
    expect([x.dtype, y.shape]).toEqual(["bf16", [1, 1]]);
    const [g] = gradients(sum(x.mul(x)), [a]) as [typeof a];
    expect(await x.toArray()).toEqual([1, 3]);
    expect(await y.toArray()).toEqual([[2 ** -20]]);
    expect(g.dtype).toBe("f32");
    expect(await g.toArray()).toEqual([2, 6]);
    expect(() => roundedCopies([a], "f32")).toThrow(/expected bf16 or f16, got f32/);
  }));
