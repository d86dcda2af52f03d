import { describe, expect, test } from "vitest";
import { checkOp, relativeError, valuesOf } from "@everlong/testing";
import { gradients } from "./autodiff.ts";
import { defineOp, definedOps } from "./define-op.ts";
import type { OpSpec } from "./op.ts";
import { add, mul, square } from "./ops/elementwise.ts";
import { tensor } from "./ops/creation.ts";
import { sum } from "./ops/reduction.ts";
import * as random from "./random.ts";
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
  test("examples of examples, and their gradients, equal single calls", async () => {
    const x = random.normal(random.key(1), [2, 3, 4]);
    const w = random.normal(random.key(2), [5, 4]);
    const wide = random.normal(random.key(3), [2, 5, 4]);
    const one = (a: Tensor, v: Tensor): Tensor => {
      const [y, sums] = weighted([a, v], { gain: -0.5 });
      return add(sum(mul(square(y!), a)), sum(square(sums!)));
    };
    const inner = (a: Tensor, v: Tensor): Tensor => sum(vmap((u: Tensor) => one(a, u))(v));
    const pairs = [0, 1].flatMap((i) => [0, 1, 2, 3, 4].map((j) => [i, j] as const));
    const total = (list: Tensor[]): Tensor => list.reduce((a, b) => add(a, b));
    const forms: [string, Tensor, (a: Tensor, v: Tensor) => Tensor, (a: Tensor, v: Tensor) => Tensor][] = [
      [
        "outer over x, inner over w",
        w,
        (a, v) => sum(vmap((t: Tensor) => inner(t, v))(a)),
        (a, v) => total(pairs.map(([i, j]) => one(a.slice([i]), v.slice([j])))),
      ],
      [
        "outer over both, inner over w",
        wide,
        (a, v) => sum(vmap(inner)(a, v)),
        (a, v) => total(pairs.map(([i, j]) => one(a.slice([i]), v.slice([i, j])))),
      ],
    ];
    for (const [name, v, together, apart] of forms) {
      const first = (f: typeof together): Tensor[] => [f(x, v), ...gradients(f(x, v), [x, v])];
      const second = (f: typeof together): Tensor[] => gradients(sum(square(first(f)[2]!)), [x]);
      const [got, want] = [together, apart].map((f) => [...first(f), ...second(f)]);
      for (const [i, t] of got!.entries()) {
        const error = relativeError(await valuesOf(t), await valuesOf(want![i]!));
        expect(error, `${name}, result ${i}`).toBeLessThan(1e-13);
      }
    }
  });
});
