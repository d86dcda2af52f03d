import {
  abs,
  compile,
  concat,
  full,
  gradients,
  max,
  mul,
  narrow,
  pad,
  random,
  slice,
  sub,
  sum,
  tensor,
  type Tensor,
} from "@everlong/core";
import { describe, expect, test } from "vitest";
import { parameterCount, parameters, stateDict } from "../layer.ts";
import { Hyena } from "../mixers/hyena.ts";
import { AutoEncoder } from "./auto-encoder.ts";
import { LanguageModel, type LanguageModelOptions, type ModelState } from "./language-model.ts";
import { sineTable } from "./position-table.ts";

const distance = (a: Tensor, b: Tensor): Promise<number> => max(abs(sub(a, b))).item();
const ids = (seed: number, time = 20): Tensor => random.integers(random.key(seed), [2, time], 0, 11);
const model = (more: Partial<LanguageModelOptions> = {}): LanguageModel =>
  new LanguageModel({
    key: random.key(1),
    vocabSize: 11,
    dim: 16,
    maxLength: 24,
    layers: [{ layer: "mA", options: { heads: 4 } }, "swiglu", "hyena", "mlp"],
    ...more,
  });

describe("LanguageModel", () => {
  test("gives logits, causally, with readable names", async () => {
    const m = model();
    const logits = m.forward(ids(2));
    expect(logits.shape).toEqual([2, 20, 11]);
    const names = [...stateDict(m).keys()];
    expect(names).toEqual(
      expect.arrayContaining([
        "embedding.weight",
        "layers.0.mixer.wqkv.weight",
        "layers.2.norm.bias",
        "head.weight",
      ]),
    );
    expect(parameterCount(m)).toBe([...parameters(m).values()].reduce((n, v) => n + v.current.size, 0));
    const hidden = m.embedding.forward(ids(2));
    expect(hidden.shape).toEqual([2, 20, 16]);
    const changed = narrow(ids(2), 1, 0, 12);
    expect(await distance(narrow(logits, 1, 0, 12), m.forward(changed))).toBeLessThan(1e-12);
  });

  test("starts as GPT-2-like models do", async () => {
    const m = model();
    const biases = [...parameters(m)].filter(([n]) => /(wqkv|out_proj|in_proj|head)\.bias$/.test(n));
    expect(biases.length).toBeGreaterThan(3);
    for (const [name, v] of biases) expect(await max(abs(v.value)).item(), name).toBe(0);
    const spread = Math.sqrt(await m.embedding.weight.value.square().mean().item());
    expect(spread).toBeGreaterThan(0.015);
    expect(spread).toBeLessThan(0.025);
  });

  test.each(["none", "learned", "sines"] as const)(
    "generates what it computes at once (positions: %s)",
    async (positions) => {
      const m = model({
        positions,
        layers: [{ layer: "mAs", options: { heads: 4, window: [5, 0] } }, "swiglu", "C", "mA"],
      });
      const x = ids(6);
      const whole = m.forward(x);
      const step = compile((id: Tensor, s: ModelState) => m.step(id, s));
      let { logits, state } = m.prefill(narrow(x, 1, 0, 7), { capacity: 20 });
      expect(await distance(logits, narrow(whole, 1, 0, 7))).toBeLessThan(1e-12);
      for (let t = 7; t < 20; t++) {
        ({ logits, state } = step(slice(x, [null, t]), state));
        expect(await distance(logits, slice(whole, [null, t])), `position ${t}`).toBeLessThan(1e-12);
      }
      expect(step.traces).toBe(1);
      const twoSided = model({
        layers: [({ key, dim, maxLength }) => new Hyena({ key, dim, maxLength, bidirectional: true })],
      });
      expect(() => twoSided.prefill(x, { capacity: 20 })).toThrow(/cannot be run one position at a time/);
    },
  );

  test.each(["learned", "sines", "none"] as const)(
    "hidden states do not depend on padding, with positions: %s",
    async (positions) => {
      const m = model({ positions, layers: ["hyena-mr", { layer: "mA", options: { heads: 4 } }, "swiglu"] });
      const real = narrow(ids(31, 13), 0, 0, 1);
      for (const before of [0, 4, 9]) {
        const x = pad(real, [[before, 9 - before]], 3);
        const mask = tensor([Array.from({ length: 22 }, (_, t) => t >= before && t < before + 13)], {
          dtype: "bool",
        });
        const padded = narrow(m.hidden(x, { mask }), 1, before, before + 13);
        expect(await distance(padded, m.hidden(real)), `${before} in front`).toBeLessThan(1e-12);
      }
    },
  );

  test.each(["left", "right"])(
    "goes on from prompts of different lengths, padded on the %s",
    async (side) => {
      const m = model({
        positions: "learned",
        layers: ["mA", { layer: "mAs", options: { heads: 4, window: [4, 0] } }, "C"].map((l) =>
          l === "mA" ? { layer: "mA", options: { heads: 4 } } : l,
        ),
      });
      const lengths = [9, 5];
      const prompts = lengths.map((n, i) => narrow(ids(7 + i, n), 0, 0, 1));
      const rows = prompts.map((p, i) =>
        pad(p, side === "left" ? [[9 - lengths[i]!, 0]] : [[0, 9 - lengths[i]!]], 3),
      );
      const mask = tensor(
        lengths.flatMap((n) => Array.from({ length: 9 }, (_, t) => (side === "left" ? t >= 9 - n : t < n))),
        { dtype: "bool" },
      ).reshape([2, 9]);
      let { state } = m.prefill(concat(rows, 0), { capacity: 14, mask });
      const alone = prompts.map((p) => m.prefill(p, { capacity: 14 }).state);
      for (let t = 0; t < 4; t++) {
        const token = ids(20 + t, 1).reshape([2]);
        const both = m.step(token, state);
        state = both.state;
        for (const i of [0, 1]) {
          const one = m.step(narrow(token, 0, i, i + 1), alone[i]!);
          alone[i] = one.state;
          expect(
            await distance(narrow(both.logits, 0, i, i + 1), one.logits),
            `row ${i} step ${t}`,
          ).toBeLessThan(1e-12);
        }
      }
    },
  );

  test("tied logits share the embedding and its gradient", async () => {
    const m = model({ tied: true });
    expect(stateDict(m).has("head.weight")).toBe(false);
    const x = ids(3);
    const [g] = gradients(sum(slice(m.forward(x), [0, 0])), [m.embedding.weight.value]);
    expect(await max(abs(g!)).item()).toBeGreaterThan(0);
  });

  test("the residual stream can be kept in another dtype", async () => {
    const x = ids(5);
    const [plain, rounded] = [model().forward(x), model({ residualDtype: "f32" }).forward(x)];
    expect(rounded.dtype).toBe("f64");
    const d = await distance(plain, rounded);
    expect(d).toBeGreaterThan(1e-12);
    expect(d).toBeLessThan(1e-5);
  });

  test("sizes are whole numbers of at least 1", () => {
    expect(() => model({ dim: 7.5 })).toThrow(
      "[LanguageModel] dim has a wrong value: expected a whole number of at least 1, got 7.5",
    );
    expect(() => model({ vocabSize: 0 })).toThrow(/vocabSize has a wrong value/);
  });

  test("learned positions and sines are bounded by maxLength", () => {
    for (const positions of ["learned", "sines"] as const) {
      expect(() => model({ positions }).forward(ids(1, 25))).toThrow(
        /longer than maxLength: expected at most 24, got 25/,
      );
    }
    expect(stateDict(model({ positions: "learned" })).get("positions")!.shape).toEqual([24, 16]);
    expect(() => model({ positions: "rotary" as never })).toThrow(/unknown positions/);
    expect(() => model({ layers: [] })).toThrow(/at least one layer/);
    expect(() => model({ layers: ["hyenna"] })).toThrow(/Did you mean "hyena"/);
  });
});

describe("AutoEncoder", () => {
  test.each(["last", "cls", "mean"] as const)("sends the sequence through one vector (%s)", async (pool) => {
    const m = new AutoEncoder({
      key: random.key(2),
      vocabSize: 11,
      dim: 16,
      maxLength: 20,
      layers: ["hyena", "swiglu"],
      pool,
    });
    const x = ids(4);
    const encoding = m.encode(x);
    expect(encoding.shape).toEqual([2, 16]);
    expect(await distance(m.forward(x), m.decode(encoding))).toBe(0);
    expect(m.forward(x).shape).toEqual([2, 20, 11]);
    expect(() => m.forward(ids(4, 21))).toThrow(/T up to 20/);
  });

  const pools = ["last", "cls", "mean"] as const;
  const stacks = [["hyena", "swiglu"], ["attention"], ["mamba", "mlp"]];
  test.each(pools.flatMap((pool) => stacks.map((layers) => [pool, layers] as const)))(
    "encodes the real tokens of a row only (%s of %o)",
    async (pool, layers) => {
      const m = new AutoEncoder({
        key: random.key(5),
        vocabSize: 11,
        dim: 16,
        maxLength: 20,
        layers,
        pool,
        positions: "learned",
      });
      const starts = [0, 6, 2, 4] as const;
      const short = narrow(ids(6, 9), 0, 0, 1);
      const probe = random.normal(random.key(7), [1, 20, 11]);
      const wide = (fill: number): Tensor =>
        concat(
          starts.map((from) =>
            concat(
              [from, 15 - 9 - from].flatMap((n, side) => {
                const padding = n === 0 ? [] : [full([1, n], fill, { dtype: "i32" })];
                return side === 0 ? [...padding, short] : padding;
              }),
              1,
            ),
          ),
          0,
        );
      const mask = tensor(
        starts.map((from) => Array.from({ length: 15 }, (_, t) => t >= from && t < from + 9)),
        { dtype: "bool" },
      );
      const gradient = (logits: Tensor): Tensor =>
        gradients(sum(mul(logits, probe)), [m.embedding.weight.value])[0]!;
      const alone = m.forward(short);
      const dAlone = gradient(alone);
      for (const fill of [3, 8]) {
        const logits = m.forward(wide(fill), { mask });
        for (const [i, from] of starts.entries())
          expect(await distance(narrow(logits, 0, i, i + 1), alone), `from ${from}`).toBeLessThan(1e-11);
        expect(await distance(gradient(logits), mul(dAlone, starts.length))).toBeLessThan(1e-11);
      }
      const nothing = m.encode(short, { mask: full([1, 9], 0, { dtype: "bool" }) });
      expect(await max(abs(nothing)).item()).toBeLessThan(pool === "cls" ? 100 : 1e-300);
    },
  );
});

test("the sine table holds sines, cosines, and a zero for an odd width", async () => {
  const t = sineTable(5, 7, random.key(0).device);
  const rows = (await t.toArray()) as number[][];
  expect(rows[3]![0]).toBeCloseTo(Math.sin(3), 12);
  expect(rows[3]![3]).toBeCloseTo(Math.cos(3), 12);
  expect(rows[3]![2]).toBeCloseTo(Math.sin(3e-4), 12);
  expect(rows[3]![6]).toBe(0);
});
