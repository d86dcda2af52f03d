import { abs, max, narrow, random, slice, softmax, sub, tensor, type Tensor } from "@everlong/core";
import { describe, expect, test } from "vitest";
import { parameterCount } from "../layer.ts";
import { Rotary, rotate } from "../layers/rotary.ts";
import { MultiHeadAttention, type MultiHeadAttentionOptions } from "./attention.ts";

const distance = (a: Tensor, b: Tensor): Promise<number> => max(abs(sub(a, b))).item();
const make = (more: Partial<MultiHeadAttentionOptions> = {}): MultiHeadAttention =>
  new MultiHeadAttention({ key: random.key(1), dim: 24, heads: 4, ...more });
const sample = (seed: number, time = 19): Tensor => random.normal(random.key(seed), [2, time, 24]);

describe("MultiHeadAttention", () => {
  test("equals the sum over positions written out", async () => {
    const layer = make({ headsKv: 2, causal: true });
    const x = sample(2, 5);
    const y = (await layer.forward(x).toArray()) as number[][][];
    const qkv = (await layer.wqkv!.forward(x).toArray()) as number[][][];
    const context = Array.from({ length: 24 }, () => 0);
    // Row 3 of example 1, by hand: heads 0, 1 share keys 0; heads 2, 3 share keys 1.
    for (let h = 0; h < 4; h++) {
      const [q, k, v] = [h * 6, 24 + Math.floor(h / 2) * 6, 36 + Math.floor(h / 2) * 6];
      const scores = [0, 1, 2, 3].map((s) => {
        let dot = 0;
        for (let i = 0; i < 6; i++) dot += qkv[1]![3]![q + i]! * qkv[1]![s]![k + i]!;
        return dot / Math.sqrt(6);
      });
      const weights = (await softmax(tensor(scores)).toArray()) as number[];
      for (let i = 0; i < 6; i++)
        for (let s = 0; s < 4; s++) context[h * 6 + i]! += weights[s]! * qkv[1]![s]![v + i]!;
    }
    const want = (await layer.outProj.forward(tensor([context])).toArray()) as number[][];
    want[0]!.forEach((w, i) => expect(y[1]![3]![i]).toBeCloseTo(w, 10));
    expect(parameterCount(layer)).toBe(48 * 24 + 48 + 24 * 24 + 24);
  });

  test("a window sees exactly its positions", async () => {
    const layer = make({ window: [3, -1] });
    const [x, other] = [sample(3), sample(4)];
    const weights = await layer.weights(x).toArray();
    const row = (weights as number[][][][])[0]![2]![10]!;
    row.forEach((w, i) => expect(w > 0, `key ${i}`).toBe(i >= 7 && i <= 10));
    const changed = narrow(x, 1, 7, 11);
    const y = slice(layer.forward(x), [null, 10]);
    // Other inputs outside of the window change nothing.
    const { concat } = await import("@everlong/core");
    const mixed = concat([narrow(other, 1, 0, 7), changed, narrow(other, 1, 11, 19)], 1);
    expect(await distance(y, slice(layer.forward(mixed), [null, 10]))).toBeLessThan(1e-13);
  });

  test("cross-attention reads the context only", async () => {
    const layer = make({ cross: true, causal: false });
    const [x, context] = [sample(5, 7), sample(6, 11)];
    const mask = tensor(
      Array.from({ length: 22 }, (_, i) => i % 11 < 8),
      { dtype: "bool" },
    ).reshape([2, 11]);
    const y = layer.forward(x, { context, contextMask: mask });
    expect(await distance(y, layer.forward(x, { context: narrow(context, 1, 0, 8) }))).toBeLessThan(1e-12);
    expect(await distance(y, layer.forward(x, { context }))).toBeGreaterThan(1e-6);
  });

  test("dropout needs a key and keeps the mean", async () => {
    const layer = make({ dropout: 0.3 });
    const x = sample(7);
    const y = layer.forward(x);
    expect(await distance(y, make().forward(x))).toBeLessThan(1e-13);
    const dropped = layer.forward(x, { key: random.key(1) });
    expect(await distance(y, dropped)).toBeGreaterThan(1e-3);
    expect(await distance(dropped, layer.forward(x, { key: random.key(1) }))).toBe(0);
  });

  test("says what does not fit", () => {
    expect(() => make({ heads: 5 })).toThrow(/heads do not divide dim/);
    expect(() => make({ headsKv: 3 })).toThrow(/headsKv does not divide heads/);
    expect(() => make({ rotaryDim: 8 })).toThrow(/rotaryDim exceeds the head: expected at most 6/);
    expect(() => make({ heds: 2 } as never)).toThrow(/Did you mean "heads"/);
    expect(() => make({ causal: false }).step!(sample(1, 1).reshape([2, 24]), {})).toThrow(
      /causal self-attention/,
    );
    expect(() => make().prefill(sample(1), { capacity: 3 })).toThrow(/exceeds the capacity/);
    expect(() => make({ rotaryDim: 4, rotaryScaleBase: 512 }).prefill(sample(1), { capacity: 30 })).toThrow(
      /XPos/,
    );
  });
});

describe("Rotary", () => {
  const dot = (a: Tensor, b: Tensor): Promise<number> => a.mul(b).sum().item();

  test.each([false, true])("products depend on the distance alone (interleaved: %s)", async (interleaved) => {
    const rotary = new Rotary({ dim: 8, interleaved });
    const q = random.normal(random.key(1), [1, 1, 1, 10]);
    const k = random.normal(random.key(2), [1, 1, 1, 10]);
    const at = (t: Tensor, p: number): Tensor =>
      rotary.apply(t, { positions: tensor([p], { dtype: "i32" }) });
    const near = await dot(at(q, 9), at(k, 4));
    expect(await dot(at(q, 1005), at(k, 1000))).toBeCloseTo(near, 10);
    expect(await dot(at(q, 1_000_005), at(k, 1_000_000))).toBeCloseTo(near, 8);
    expect(await dot(at(q, 9), at(k, 3))).not.toBeCloseTo(near, 4);
  });

  test("given positions equal the table's, and the layouts are permutations of each other", async () => {
    const x = random.normal(random.key(3), [2, 40, 3, 12]);
    const rotary = new Rotary({ dim: 6 });
    const positions = tensor(Int32Array.from({ length: 40 }, (_, i) => i));
    expect(await distance(rotary.apply(x), rotary.apply(x, { positions }))).toBeLessThan(1e-13);
    const { cos, sin } = rotary.tables(40, x.device);
    const order = [0, 3, 1, 4, 2, 5, 6, 7, 8, 9, 10, 11];
    const shuffled = x.take(tensor(order, { dtype: "i32" }), -1);
    const turned = rotate(x, cos, sin, false).take(tensor(order, { dtype: "i32" }), -1);
    expect(await distance(rotate(shuffled, cos, sin, true), turned)).toBeLessThan(1e-13);
    expect(await distance(narrow(rotate(x, cos, sin, false), -1, 6, 12), narrow(x, -1, 6, 12))).toBe(0);
  });
});
