import {
  abs,
  compile,
  concat,
  gradients,
  max,
  mul,
  narrow,
  random,
  slice,
  stack,
  sub,
  sum,
  tensor,
  type Tensor,
} from "@everlong/core";
import { describe, expect, test } from "vitest";
import { hintsOf, loadState, namedVariables, parameters, stateDict } from "../layer.ts";
import { activate } from "../layers/activation.ts";
import type { MixerState } from "../mixer.ts";
import { HyenaFilter } from "./hyena-filter.ts";
import type { HyenaOptions } from "./hyena-options.ts";
import { Hyena } from "./hyena.ts";

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
  const variants: readonly Partial<HyenaOptions>[] = [2, 3, 4].flatMap((order) =>
    (["channel-major", "order-major"] as const).flatMap((packing) => [
      { order, packing },
      { order, packing, heads: 3, outerMixing: true },
      { order, packing, bidirectional: true, heads: 2, postOrderMixing: true },
      { order, packing, blocks: 6 },
    ]),
  );
  test.each<Partial<HyenaOptions>>([
    ...variants,
    { order: 3, blocks: 8, bidirectional: true, innerFactor: 2, heads: 4, outerMixing: true },
    { filter: { bias: false }, activation: "gelu" },
    { order: 3, bidirectional: true, firstBackwardLag: 0, blocks: 3 },
  ])("equals its recurrence written as direct sums: %o", async (options) => {
    const layer = make(options);
    const { order, heads, inner, blocks } = layer;
    const count = order - 1;
    const headDim = inner / heads;
    const time = 31;
    const x = sample(2, time);
    const parts = (await layer.shortFilter.forward(layer.inProj.forward(x)).toArray()) as number[][][];
    const taps = (await layer.filterFn.forward(time).toArray()) as number[][];
    const skip = (await layer.filterFn.skip()?.toArray()) as number[] | undefined;
    const mix = (await layer.ordProjW?.value.toArray()) as number[][][] | undefined;
    const part = (p: number, t: number, c: number): number => parts[0]![t]![p * inner + c]!;
    const gate = (p: number, t: number, c: number): number => {
      if (!options.outerMixing) return part(p, t, c);
      const from = c - (c % headDim);
      return Array.from({ length: headDim }, (_, i) => part(p, t, from + i)).reduce((a, b) => a + b);
    };
    /** Which filter channel is step o's for channel c, on the side of the past or the future. */
    const at = (o: number, c: number, side: number): number =>
      side * headDim * count +
      (options.packing === "order-major" ? o * headDim + (c % headDim) : (c % headDim) * count + o);
    const block = (t: number): number => Math.floor((t * blocks) / layer.maxLength);
    const places = Array.from({ length: time }, (_, t) => t);
    const channels = Array.from({ length: inner }, (_, c) => c);
    let v = places.map((t) => channels.map((c) => part(order, t, c)));
    for (let o = 0; o < count; o++) {
      const gated = v.map((row, t) => row.map((z, c) => z * gate(order - 1 - o, t, c)));
      v = places.map((t) =>
        channels.map((c) => {
          let y = (skip?.[at(o, c, 0)] ?? 0) * gated[t]![c]!;
          for (const s of places.filter((p) => blocks === 1 || block(p) === block(t))) {
            if (s <= t) y += taps[t - s]![at(o, c, 0)]! * gated[s]![c]!;
            const tap = s - t + (options.firstBackwardLag ?? -1);
            if (options.bidirectional && tap >= 0) y += taps[tap]![at(o, c, 1)]! * gated[s]![c]!;
          }
          return y;
        }),
      );
      if (mix)
        v = v.map((row) =>
          channels.map((c) => {
            const g = Math.floor(c / headDim);
            return mix[o]!.reduce((sum, w, h) => sum + w[g]! * row[h * headDim + (c % headDim)]!, 0);
          }),
        );
    }
    const last = tensor([v.map((row, t) => row.map((z, c) => z * part(0, t, c)))]);
    const want = layer.outProj.forward(activate(layer.activation, last));
    expect(await distance(layer.forward(x), want)).toBeLessThan(1e-10);
  });

  test.each([{ blocks: 4 }, { blocks: 6, bidirectional: true, heads: 2 }, { bidirectional: true, order: 3 }])(
    "padding on any side changes nothing with %o",
    async (options) => {
      const layer = make(options);
      const real = sample(8, 21);
      const fill = sample(9, 20).mul(50);
      for (const before of [0, 3, 20]) {
        const x = concat([narrow(fill, 1, 0, before), real, narrow(fill, 1, before, 20)], 1);
        const mask = tensor([Array.from({ length: 41 }, (_, t) => t >= before && t < before + 21)], {
          dtype: "bool",
        });
        const y = narrow(layer.forward(x, { mask }), 1, before, before + 21);
        expect(await distance(y, layer.forward(real))).toBeLessThan(1e-11);
      }
    },
  );

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

  const stepped: readonly Partial<HyenaOptions>[] = [
    { blocks: 4 },
    { blocks: 6, order: 4, packing: "order-major", filter: { bias: false } },
    { blocks: 3, heads: 2, innerFactor: 2, outerMixing: true, postOrderMixing: true, shortFilterOrder: 1 },
    { blocks: 48 },
  ];
  test.each(stepped)(
    "blocks step as they compute at once, from any place of a block: %o",
    async (options) => {
      const layer = make({ activation: "silu", ...options });
      const time = 31;
      const x = random.normal(random.key(8), [2, time, DIM]);
      const whole = layer.forward(x);
      const step = compile(
        (t: Tensor, s: MixerState) => layer.step(t, s) as { y: Tensor; state: MixerState },
      );
      for (const prompt of [1, 12, 23]) {
        let { y, state } = layer.prefill(narrow(x, 1, 0, prompt), { capacity: time });
        expect(await distance(y, narrow(whole, 1, 0, prompt))).toBeLessThan(1e-12);
        for (let t = prompt; t < time; t++) {
          ({ y, state } = step(slice(x, [null, t]), state));
          expect(await distance(y, slice(whole, [null, t])), `position ${t}`).toBeLessThan(1e-12);
        }
        const own = Object.entries(state).filter(
          ([name, t]) => t.dtype !== "i32" && !name.startsWith("taps"),
        );
        expect(layer.stateBytes(time)).toBe(own.reduce((n, [, t]) => n + (t.size * 4) / 2, 0));
      }
      expect(step.traces).toBe(1);
    },
  );

  test("rows with padding step through blocks of their own", async () => {
    const layer = make({ blocks: 4, order: 3 });
    const rows = [7, 17, 12].map((time, i) => sample(20 + i, time));
    const later = sample(25, 9);
    const pads = [
      [10, 0],
      [0, 0],
      [2, 3],
    ] as const;
    const filler = (time: number): Tensor => mul(sample(26, time), 50);
    const padded = concat(
      rows.map((row, i) => {
        const parts = [filler(pads[i]![0]), row, filler(pads[i]![1])];
        return concat(
          parts.filter((t) => t.size > 0),
          1,
        );
      }),
      0,
    );
    const mask = tensor(
      rows.map((row, i) =>
        Array.from({ length: 17 }, (_, t) => t >= pads[i]![0] && t < pads[i]![0] + row.shape[1]!),
      ),
      { dtype: "bool" },
    );
    let { state } = layer.prefill(padded, { capacity: 26, mask });
    const alone = rows.map((row) => layer.forward(concat([row, later], 1)));
    for (let t = 0; t < 9; t++) {
      const x = slice(later, [0, t]);
      const next = layer.step(stack([x, x, x]), state);
      state = next.state;
      for (const [i, row] of rows.entries())
        expect(
          await distance(slice(next.y, [i]), slice(alone[i]!, [0, row.shape[1]! + t])),
          `row ${i}, position ${t}`,
        ).toBeLessThan(1e-12);
    }
  });

  test("what blocks cannot do is told", () => {
    const layer = make({ blocks: 4 });
    expect(() => layer.prefill(sample(6, 9), { capacity: 49 })).toThrow(
      /capacity must hold the prompt and fit the filter: expected 9 to 48, got 49/,
    );
    expect(() => layer.longFilters(9)).toThrow(/no filter over all positions: got 4 blocks/);
    expect(() => layer.chunk(sample(6, 9))).toThrow(/no filter over all positions/);
    const wrapped = make({ blocks: 4, compat: ["wrapped-blocks"] });
    expect(() => wrapped.prefill(sample(6, 12), { capacity: 24 })).toThrow(
      /cannot be run one position at a time: got wrapped blocks/,
    );
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
    expect(() => make({ firstBackwardLag: 0 })).toThrow(/needs a two-sided filter/);
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
