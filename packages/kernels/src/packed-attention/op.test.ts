import { expect, test } from "vitest";
import { iota, cos, sin, mul, withDevice, type Tensor } from "@everlong/core";
import { checkOp, positive } from "@everlong/testing";
import {
  packedAttention,
  packedAttentionGradOp,
  packedAttentionOp,
  type PackedAttentionGradInput,
  type PackedAttentionInput,
} from "./op.ts";

const all: readonly PackedAttentionInput[] = ["qkv", "cos", "sin"];
const settings = { left: -1, right: 0, scale: 0.4, interleaved: false };

checkOp(packedAttentionOp, {
  cases: [
    { inputs: [[2, 5, 3, 2, 4]], params: { ...settings, inputs: ["qkv"] } },
    {
      inputs: [
        [1, 7, 3, 2, 8],
        [7, 4],
        [7, 4],
      ],
      params: { ...settings, inputs: all },
    },
    {
      inputs: [
        [2, 6, 3, 1, 8],
        [6, 2],
        [6, 2],
      ],
      params: { ...settings, left: 2, right: -1, interleaved: true, inputs: all },
    },
  ],
  differentiable: [true, false, false],
  strict: false,
  tolerance: { f32: { value: 2e-6, gradient: 1e-5 } },
});

const gradInputs: readonly PackedAttentionGradInput[] = [...all, "y", "dy", "lse"];
checkOp(packedAttentionGradOp, {
  cases: [
    {
      inputs: [
        [2, 5, 3, 2, 8],
        [5, 4],
        [5, 4],
        [2, 5, 2, 8],
        [2, 5, 2, 8],
        { shape: [2, 2, 5], sample: positive },
      ],
      params: { ...settings, inputs: gradInputs },
    },
  ],
  differentiable: false,
  strict: false,
  tolerance: { f32: { value: 1e-5, gradient: 1e-5 } },
});

test("wrong tables and shapes are refused", () =>
  withDevice("reference", () => {
    const qkv = iota([1, 4, 3, 2, 8], 1);
    const x: Tensor = mul(qkv, 0.1);
    const table = iota([4, 5], 0);
    expect(() => packedAttention(x, { tables: { cos: cos(table), sin: sin(table) } })).toThrow(
      /more rotary features than the head has/,
    );
    expect(() => packedAttention(x.reshape([1, 4, 2, 3, 8]))).toThrow(/\[B, T, 3, H, K\]/);
  }));
