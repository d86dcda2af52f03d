import { describe, expect, test } from "vitest";
import { checkOp } from "@everlong/testing";
import { gradients } from "./autodiff.ts";
import { defineOp, definedOps } from "./define-op.ts";
import type { OpSpec } from "./op.ts";
import { mul } from "./ops/elementwise.ts";
import { tensor } from "./ops/creation.ts";
import { sum } from "./ops/reduction.ts";
import type { Tensor } from "./tensor.ts";
import { vmap } from "./vmap.ts";

interface Params {
  readonly gain: number;
}
/** `[B, T]` and `[T]` to `gain * x * w`, and its row sums. */
const spec: OpSpec<Params> = {
  name: "core-test-weighted",
  shape: ([x]) => [x!, { shape: x!.shape.slice(0, 1), dtype: x!.dtype }],
  reference: ([x, w], [y, sums], { gain }) => {
    const [rows, n] = x!.shape as [number, number];
    for (let b = 0; b < rows; b++) {
      sums!.data[b] = 0;
      for (let t = 0; t < n; t++) {
        y!.data[b * n + t] = gain * x!.data[b * n + t]! * w!.data[t]!;
        sums!.data[b]! += y!.data[b * n + t]!;
      }
    }
  },
  vjp: ({ inputs: [x, w], params: { gain }, cotangents: [gy, gs], needed }) => {
    const spread = gs && gs.unsqueeze(-1).broadcastTo(x!.shape);
    const g = gy && spread ? gy.add(spread) : (gy ?? spread)!;
    return [
      needed[0] ? mul(g, w!).mul(gain) : undefined,
      needed[1] ? sum(mul(g, x!), 0).mul(gain) : undefined,
    ];
  },
  batch: { fold: [true, false] },
  cost: ([x]) => ({ flops: 3 * x!.shape[0]! * x!.shape[1]!, bytes: 0 }),
};
const weighted = defineOp(spec);

checkOp(weighted, {
  cases: [
    { inputs: [[3, 4], [4]], params: { gain: 2 } },
    { inputs: [[1, 7], [7]], params: { gain: -0.5 } },
    { inputs: [[0, 2], [2]], params: { gain: 1 } },
  ],
  expected: ([x, w], { gain }) => {
    const y = x!.data.map((v, i) => gain * v * w!.data[i % w!.shape[0]!]!);
    const n = x!.shape[1]!;
    return [
      y,
      Array.from({ length: x!.shape[0]! }, (_, b) => y.slice(b * n, (b + 1) * n).reduce((s, v) => s + v, 0)),
    ];
  },
  secondOrder: true,
});

describe("defineOp", () => {
  test("lists what is defined; names are unique", () => {
    expect(definedOps().map((d) => d.name)).toContain("core-test-weighted");
    expect(() => defineOp(spec)).toThrow(/"core-test-weighted" is defined twice/);
  });
  test("without a gradient it says so", () => {
    const { vjp: _, ...rest } = spec;
    const plain = defineOp<Params>({ ...rest, name: "core-test-plain" });
    const x = tensor([[1, 2]]);
    const [y] = plain([x, tensor([3, 4])], { gain: 1 });
    expect(() => gradients(sum(y!), [x])).toThrow(/\[core-test-plain\] has no gradient.*reference form/);
  });
  test("a mapped input that cannot fold runs once per example", async () => {
    const x = tensor([[1, 2]]);
    const w = tensor([
      [1, 1],
      [2, 3],
    ]);
    const [y] = vmap((v: Tensor) => weighted([x, v], { gain: 1 }))(w);
    expect(await y!.toArray()).toEqual([[[1, 2]], [[2, 6]]]);
  });
});
