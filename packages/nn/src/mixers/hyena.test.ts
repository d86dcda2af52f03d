import { abs, gradients, max, narrow, random, slice, sub, sum, type Tensor } from "@everlong/core";
import { describe, expect, test } from "vitest";
import { hintsOf, loadState, namedVariables, parameters, stateDict } from "../layer.ts";
import { HyenaFilter } from "./hyena-filter.ts";
import { Hyena, type HyenaOptions } from "./hyena.ts";

const DIM = 6;
const make = (more: Partial<HyenaOptions> = {}): Hyena =>
  new Hyena({ key: random.key(4), dim: DIM, maxLength: 48, ...more });
const sample = (seed: number, time = 31): Tensor => random.normal(random.key(seed), [1, time, DIM]);
const distance = (a: Tensor, b: Tensor): Promise<number> => max(abs(sub(a, b))).item();
/** Largest gradient of output `at` with respect to inputs `from..to-1`. */
async function reach(layer: Hyena, time: number, at: number, from: number, to: number): Promise<number> {
  const x = sample(1, time);
  const [g] = gradients(sum(slice(layer.forward(x), [0, at])), [x]);
  return max(abs(narrow(g!, 1, from, to))).item();
}

describe("Hyena", () => {
  test("equals its recurrence written as direct sums", async () => {
    const layer = make({ order: 3 });
    const time = 13;
    const x = sample(2, time);
    const parts = (await layer.shortFilter.forward(layer.inProj.forward(x)).toArray()) as number[][][];
    const taps = (await layer.filterFn.forward(time).toArray()) as number[][];
    const skip = (await layer.filterFn.skip()!.toArray()) as number[];
    const part = (p: number, t: number, c: number): number => parts[0]![t]![p * DIM + c]!;
    let v = Array.from({ length: time }, (_, t) => Array.from({ length: DIM }, (_, c) => part(3, t, c)));
    for (let o = 0; o < 2; o++) {
      const gated = v.map((row, t) => row.map((z, c) => z * part(2 - o, t, c)));
      // Channel-major packing: channel c, step o at 2 c + o.
      v = gated.map((row, t) =>
        row.map((z, c) => {
          let y = skip[2 * c + o]! * z;
          for (let s = 0; s <= t; s++) y += taps[s]![2 * c + o]! * gated[t - s]![c]!;
          return y;
        }),
      );
    }
    const { tensor } = await import("@everlong/core");
    const want = layer.outProj.forward(tensor([v.map((row, t) => row.map((z, c) => z * part(0, t, c)))]));
    expect(await distance(layer.forward(x), want)).toBeLessThan(1e-11);
  });

  test("packings agree at order 2 and differ above", async () => {
    const x = sample(3);
    const pair = (order: number): [Tensor, Tensor] => [
      make({ order }).forward(x),
      make({ order, packing: "order-major" }).forward(x),
    ];
    expect(await distance(...pair(2))).toBe(0);
    expect(await distance(...pair(3))).toBeGreaterThan(1e-3);
  });

  test("heads share filters and work with every option", async () => {
    const layer = make({
      heads: 3,
      innerFactor: 2,
      order: 3,
      outerMixing: true,
      postOrderMixing: true,
      activation: "gelu",
    });
    expect(layer.filterFn.channels).toBe(8);
    expect(layer.forward(sample(5)).shape).toEqual([1, 31, DIM]);
    expect(await reach(layer, 31, 10, 11, 31)).toBeLessThan(1e-12);
    expect(await reach(layer, 31, 10, 0, 11)).toBeGreaterThan(1e-6);
  });

  test("blocks are causal and separate; compat wraps inside them", async () => {
    const layer = make({ blocks: 4 });
    expect(await reach(layer, 48, 20, 21, 48)).toBeLessThan(1e-12);
    // The short convolution alone reaches two positions back over the border at 12.
    expect(await reach(layer, 48, 20, 0, 10)).toBeLessThan(1e-12);
    expect(await reach(layer, 48, 20, 12, 21)).toBeGreaterThan(1e-6);
    expect(make({ blocks: 4 }).forward(sample(6, 29)).shape).toEqual([1, 29, DIM]);
    const compat = make({ blocks: 4, compat: ["wrapped-blocks"] });
    expect(compat.causal).toBe(false);
    expect(await reach(compat, 48, 20, 21, 24)).toBeGreaterThan(1e-6);
    expect(() => compat.forward(sample(6, 29))).toThrow(/blocks do not divide the input/);
  });

  test("bidirectional sees both sides; hyena-dna's form does not", async () => {
    const layer = make({ bidirectional: true });
    expect(layer.causal).toBe(false);
    for (const at of [3, 15, 27]) {
      expect(await reach(layer, 31, at, 0, 1)).toBeGreaterThan(1e-8);
      expect(await reach(layer, 31, at, 30, 31)).toBeGreaterThan(1e-8);
    }
    const compat = make({ bidirectional: true, compat: ["aliased-two-sided"] });
    expect(compat.filterFn.channels * 2).toBe(layer.filterFn.channels);
    // A position past the middle sees nothing of the recent past through the filter: only its own short convolution.
    expect(await reach(compat, 32, 20, 8, 17)).toBeLessThan(1e-12);
    expect(await reach(layer, 32, 20, 8, 17)).toBeGreaterThan(1e-8);
  });

  test("too long an input is an error; compat cuts it", () => {
    expect(() => make().forward(sample(7, 49))).toThrow(
      /longer than maxLength: expected at most 48 positions, got 49/,
    );
    expect(make({ compat: ["truncate"] }).forward(sample(7, 60)).shape).toEqual([1, 48, DIM]);
  });

  test("state has safari's names, with the shared sines under one", () => {
    const layer = make({ filter: { width: 8 } });
    const names = namedVariables(layer);
    const sine = names.find((v) => v.name.endsWith(".freq"))!;
    expect(sine.name).toBe("filter_fn.implicit_filter.1.freq");
    expect(sine.aliases).toEqual(["filter_fn.implicit_filter.3.freq", "filter_fn.implicit_filter.5.freq"]);
    expect(names.map((v) => v.name)).toEqual(
      expect.arrayContaining([
        "in_proj.weight",
        "short_filter.weight",
        "filter_fn.pos_emb.z",
        "filter_fn.modulation.deltas",
      ]),
    );
    expect(stateDict(layer).get("short_filter.weight")!.shape).toEqual([18, 1, 3]);
    loadState(make({ filter: { width: 8 } }), stateDict(layer));
  });
});

describe("HyenaFilter", () => {
  const filter = (more: object = {}): HyenaFilter =>
    new HyenaFilter({ key: random.key(1), channels: 5, maxLength: 40, ...more });

  test("shorter filters are the first taps", async () => {
    const f = filter({ embeddingDim: 7 });
    expect(await distance(f.forward(17), narrow(f.forward(40), 0, 0, 17))).toBe(0);
    expect(() => f.forward(41)).toThrow(/longer than the filter/);
  });

  test("learning rates make parameters or buffers, with hints", () => {
    const names = (f: HyenaFilter): string[] => [...parameters(f).keys()];
    expect(names(filter())).toContain("pos_emb.z");
    expect(names(filter({ positionLearningRate: 0 }))).not.toContain("pos_emb.z");
    expect(names(filter())).not.toContain("modulation.deltas");
    expect(names(filter({ modulationLearningRate: 0.1 }))).toContain("modulation.deltas");
    expect(hintsOf(filter().posEmb.z)).toEqual({ learningRate: 1e-5, weightDecay: 0 });
  });

  test("windows decay from slow to fast over channels, and the shift keeps a floor", async () => {
    const f = filter();
    const deltas = (await f.modulation.deltas.value.data()) as Float64Array;
    expect(deltas[0]).toBeCloseTo(Math.log(0.01) / 1.5, 10);
    expect(deltas[4]).toBeCloseTo(Math.log(0.01) / 0.3, 10);
    const last = async (shift: number): Promise<number> =>
      max(abs(narrow(narrow(filter({ shift }).forward(40), 0, 39, 40), 1, 4, 5))).item();
    expect(await last(0.05)).toBeGreaterThan(100 * (await last(0)));
  });

  test("normalisation and bias", async () => {
    const l1 = (await sum(abs(filter({ normalized: "l1" }).forward(40)), 1).data()) as Float64Array;
    l1.forEach((x) => expect(x).toBeCloseTo(1, 12));
    expect(filter({ bias: false }).skip()).toBeUndefined();
    expect(await max(abs(filter({ bias: "zeroed" }).skip()!)).item()).toBe(0);
    expect(() => filter({ embeddingDim: 4 })).toThrow(/odd and at least 3/);
  });
});
