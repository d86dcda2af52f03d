import { expect, test } from "vitest";
import { ones, tensor, withDevice, type Tensor } from "@everlong/core";
import { checkOp } from "@everlong/testing";
import {
  shortConv,
  shortConvGradOp,
  shortConvOp,
  type ShortConvGradInput,
  type ShortConvInput,
} from "./op.ts";

const xw: readonly ShortConvInput[] = ["x", "w"];
const all: readonly ShortConvInput[] = ["x", "w", "bias"];
checkOp(shortConvOp, {
  cases: [
    {
      inputs: [
        [2, 5, 3],
        [3, 4],
      ],
      params: { layout: "bld", silu: false, inputs: xw },
    },
    { inputs: [[2, 9, 13], [13, 3], [13]], params: { layout: "bld", silu: true, inputs: all } },
    { inputs: [[2, 3, 9], [3, 3], [3]], params: { layout: "bdl", silu: false, inputs: all } },
    { inputs: [[1, 5, 21], [5, 4], [5]], params: { layout: "bdl", silu: true, inputs: all } },
    // a filter longer than the sequence
    { inputs: [[2, 2, 5], [5, 4], [5]], params: { layout: "bld", silu: true, inputs: all } },
    {
      inputs: [
        [3, 37, 19],
        [19, 1],
      ],
      params: { layout: "bld", silu: false, inputs: xw },
    },
  ],
  secondOrder: true,
});

// Half precision is read and written as it is; taps and bias are f32 inside.
for (const layout of ["bld", "bdl"] as const) {
  checkOp(
    {
      name: `shortConv, ${layout}`,
      apply: ([x, w, bias, inputBias]: readonly Tensor[], { silu }: { silu: boolean }) =>
        shortConv(x!, w!, {
          layout,
          silu,
          ...(bias ? { bias } : {}),
          ...(inputBias ? { inputBias } : {}),
        }),
    },
    {
      cases: [
        {
          inputs: [
            [2, 24, 40],
            [layout === "bld" ? 40 : 24, 5],
          ],
          params: { silu: false },
        },
        {
          inputs: [[3, 17, 33], [layout === "bld" ? 33 : 17, 3], [layout === "bld" ? 33 : 17]],
          params: { silu: true },
        },
        ...[
          [2, 24, 40],
          [2, 17, 33],
        ].map((shape) => {
          const channels = shape[layout === "bld" ? 2 : 1]!;
          return { inputs: [shape, [channels, 3], [channels], [channels]], params: { silu: false } };
        }),
      ],
      dtypes: ["f32", "f16", "bf16"],
      batch: false,
    },
  );
}

const names: readonly ShortConvGradInput[] = ["x", "w", "bias", "dy"];
checkOp(shortConvGradOp, {
  cases: [
    { inputs: [[2, 5, 3], [3, 3], [3], [2, 5, 3]], params: { layout: "bld", silu: true, inputs: names } },
    {
      inputs: [
        [2, 5, 9],
        [5, 3],
        [2, 5, 9],
      ],
      params: { layout: "bdl", silu: false, inputs: ["x", "w", "dy"] },
    },
  ],
  secondOrder: true,
});
checkOp(shortConvGradOp, {
  cases: [
    {
      inputs: [[5, 33, 20], [20, 4], [20], [5, 33, 20]],
      params: { layout: "bld", silu: true, inputs: names },
    },
  ],
  batch: false,
});

test("the last tap acts on the present; torch's weight shape is taken", () =>
  withDevice("reference", async () => {
    const x = tensor([[[1], [2], [3]]]);
    const w = tensor([[[10, 1]]]);
    expect(await shortConv(x, w).toArray()).toEqual([[[1], [12], [23]]]);
    expect(() => shortConv(x, ones([2, 2]))).toThrow(/w has the wrong shape/);
  }));
