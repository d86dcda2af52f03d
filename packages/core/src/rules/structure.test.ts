// Sources, barriers and primitives with a body.

import { build, checkOp } from "@everlong/testing";
import { trace } from "../graph.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { add, mul, sin } from "../ops/elementwise.ts";
import { sum } from "../ops/reduction.ts";
import { subject } from "./check-subject.ts";

checkOp(subject("full"), {
  cases: [{ inputs: [], params: { shape: [2, 3], dtype: "f32", value: -0.5 } }],
  expected: () => [new Float64Array(6).fill(-0.5)],
});

checkOp(subject("iota"), {
  cases: [0, 1, 2].map((axis) => ({
    inputs: [],
    params: { shape: [2, 3, 4], axis, dtype: "i32" as const },
  })),
  expected: (_, { shape, axis }) => [build(shape, (index) => index[axis]!)],
  differentiable: false,
});

checkOp(subject("constant"), {
  cases: [{ inputs: [], params: { shape: [3], dtype: "f32", data: Float32Array.of(1, 0.5, -2) } }],
  expected: () => [[1, 0.5, -2]],
});

checkOp(subject("barrier"), {
  cases: [{ inputs: [[3], [2, 2]], params: { gradient: "pass" } }],
  expected: ([x]) => [x!.data],
  secondOrder: true,
});
checkOp(subject("barrier", "barrier that stops"), {
  cases: [{ inputs: [[3]], params: { gradient: "stop" } }],
  expected: ([x]) => [x!.data],
  differentiable: false,
});

const twice = ([x, y]: readonly Tensor[]): Tensor[] => [mul(sin(x!), y!), sum(mul(x!, x!))];
checkOp(
  {
    name: "recompute",
    apply: (inputs) => {
      const types = inputs.map((t) => ({ shape: t.shape, dtype: t.dtype }));
      return record("recompute", { body: trace(twice, types, inputs[0]!.device) }, inputs);
    },
  },
  {
    cases: [
      {
        inputs: [
          [2, 3],
          [2, 3],
        ],
        params: {},
      },
    ],
    expected: ([x, y]) => [
      x!.data.map((v, i) => Math.sin(v) * y!.data[i]!),
      [x!.data.reduce((s, v) => s + v * v, 0)],
    ],
    secondOrder: true,
  },
);

// c' = sin(c) x + k, y = c x.
const step = ([c, x, k]: readonly Tensor[]): Tensor[] => [add(mul(sin(c!), x!), k!), mul(c!, x!)];
for (const reverse of [false, true]) {
  checkOp(
    {
      name: reverse ? "scan in reverse" : "scan",
      apply: (inputs) => {
        const [c, xs, k] = inputs as [Tensor, Tensor, Tensor];
        const types = [c, c, k].map((t) => ({ shape: t.shape, dtype: t.dtype }));
        const traced = trace(step, types, c.device);
        // The third argument is a constant: a capture rather than a parameter.
        const graph = {
          params: traced.params.slice(0, 2),
          results: traced.results,
          captures: [traced.params[2]!],
        };
        const params = { body: graph, length: xs.shape[0]!, carries: 1, sequences: 1, reverse };
        return record("scan", params, [c, xs, k]).slice(0, 2);
      },
    },
    {
      cases: [
        { inputs: [[3], [5, 3], [3]], params: {} },
        { inputs: [[], [1], []], params: {} },
        { inputs: [[2], [0, 2], [2]], params: {} },
      ],
      expected: ([c, xs, k]) => {
        let carry = [...c!.data];
        const n = carry.length;
        const length = xs!.shape[0]!;
        const ys = new Float64Array(length * n);
        for (let s = 0; s < length; s++) {
          const t = reverse ? length - 1 - s : s;
          const x = xs!.data.subarray(t * n, (t + 1) * n);
          ys.set(
            carry.map((v, i) => v * x[i]!),
            t * n,
          );
          carry = carry.map((v, i) => Math.sin(v) * x[i]! + k!.data[i]!);
        }
        return [carry, ys];
      },
      secondOrder: true,
    },
  );
}
