// The shape grids of the originals' convolution tests (H3's tests/ops/test_fftconv.py, flash-fft-conv's tests/test_flashfftconv.py), by
// relative error: their absolute tolerances pass outputs that are all zero. Batches and channels are reduced so that a case
// holds at most 2^22 elements. Random samples of every result are checked against float64 sums.

import "@everlong/device-cpu";
import { cast, gradients, mul, random, realize, sum, tensor, withDevice, type Tensor } from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import { Random, relativeError } from "@everlong/testing";
import { describe, expect, test } from "vitest";
import { h3Product } from "./h3-product.ts";

const ELEMENTS = 2 ** 22;
const SAMPLES = 16;

interface Sizes {
  readonly batch: number;
  readonly channels: number;
  readonly length: number;
}
const reduced = (batch: number, channels: number, length: number): Sizes => {
  const fits = Math.max(1, Math.floor(ELEMENTS / length));
  const few = Math.min(channels, fits);
  return { channels: few, batch: Math.max(1, Math.min(batch, Math.floor(fits / few))), length };
};

type Values = Float64Array;
/** The values of a tensor, whose memory goes back at once: finalisers come too late for hundreds of cases. */
async function read(t: Tensor): Promise<Values> {
  const wide = cast(t, "f32");
  const values = Float64Array.from(await wide.data());
  if (wide !== t) wide[Symbol.dispose]();
  return values;
}

const relative = (pairs: readonly (readonly [number, number])[]): number =>
  relativeError(
    pairs.map(([got]) => got),
    pairs.map(([, want]) => want),
  );

/**
 * How inputs are drawn: normal, filters decaying by `exp(-.1 t)`, second halves zero where asked. The originals' factors of .02 are
 * left to the filters: gated outputs would otherwise lie below the smallest f16.
 */
const draw = (seed: number, shape: number[], used: number, decay: number, scale = 1): Tensor => {
  const length = shape.at(-1)!;
  const x = mul(random.normal(random.key(seed), shape), scale);
  const window = Float32Array.from({ length }, (_, t) => (t < used ? Math.exp(-decay * t) : 0));
  const mask = tensor(window);
  const drawn = mul(x, mask);
  realize([drawn]);
  mask[Symbol.dispose]();
  return drawn;
};

interface Case extends Sizes {
  readonly gated: boolean;
  /** Positions that are not zero in u and k. */
  readonly used: number;
  readonly dtype: "f32" | "f16" | "bf16";
}

/** Largest relative error of the output and of every gradient. */
async function worstError({ batch, channels, length, gated, used, dtype }: Case): Promise<number> {
  const stored = (t: Tensor): Tensor => {
    if (dtype === "f32") return t;
    const half = cast(t, dtype);
    realize([half]);
    t[Symbol.dispose]();
    return half;
  };
  const shape = [batch, channels, length];
  const u = stored(draw(1, shape, used, 0));
  const k = draw(2, [channels, length], used, 0.1, 0.02);
  const [pre, post] = gated ? [3, 4].map((s) => stored(draw(s, shape, length, 0))) : [];
  const dout = stored(draw(5, shape, length, 0));
  const y = fftConv(u, k, { ...(pre ? { preGate: pre } : {}), ...(post ? { postGate: post } : {}) });
  const wanted = [u, k, ...(pre ? [pre] : []), ...(post ? [post] : [])];
  const found = gradients(sum(mul(cast(y, "f32"), cast(dout, "f32"))), wanted);
  const [x, filter, out, g, a, b] = await Promise.all(
    [u, k, y, dout, pre, post].map((t) => (t ? read(t) : Promise.resolve(undefined))),
  );
  const [du, dk, dpre, dpost] = await Promise.all(found.map(read));
  for (const t of [u, k, y, dout, pre, post, ...found]) t?.[Symbol.dispose]();
  const random2 = new Random(length + 31 * channels);
  const pick = (n: number): number => Math.min(n - 1, Math.floor(n * random2.uniform()));
  const at = (n: number, d: number, t: number): number => (n * channels + d) * length + t;
  const z = (i: number): number => x![i]! * (a ? a[i]! : 1);
  const h = (i: number): number => g![i]! * (b ? b[i]! : 1);
  const pairs: Record<string, [number, number][]> = { y: [], du: [], dk: [], dpre: [], dpost: [] };
  for (let s = 0; s < SAMPLES; s++) {
    const [n, d, t] = [pick(batch), pick(channels), pick(length)];
    let [c, dz, tap] = [0, 0, 0];
    for (let j = 0; j <= t; j++) c += filter![d * length + j]! * z(at(n, d, t - j));
    for (let j = 0; j < length - t; j++) dz += filter![d * length + j]! * h(at(n, d, t + j));
    const lag = pick(used);
    for (let m = 0; m < batch; m++)
      for (let i = 0; i < length - lag; i++) tap += h(at(m, d, i + lag)) * z(at(m, d, i));
    const i = at(n, d, t);
    pairs["y"]!.push([out![i]!, c * (b ? b[i]! : 1)]);
    pairs["du"]!.push([du![i]!, dz * (a ? a[i]! : 1)]);
    pairs["dk"]!.push([dk![d * length + lag]!, tap]);
    if (!gated) continue;
    pairs["dpre"]!.push([dpre![i]!, dz * x![i]!]);
    pairs["dpost"]!.push([dpost![i]!, c * g![i]!]);
  }
  return Math.max(...Object.values(pairs).map((p) => (p.length === 0 ? 0 : relative(p))));
}

/** float32 sums; halves: one rounding of inputs' products, twice what rounding the exact result alone would give. */
const TOLERANCE = { f32: 1e-5, f16: 2 * 2 ** -11, bf16: 2 * 2 ** -8 };

describe("flash-fft-conv's grid", () => {
  const points = Array.from({ length: 15 }, (_, i) => 2 ** (8 + i));
  const kinds = [
    { kind: "plain", gated: false, padded: false },
    { kind: "padded", gated: false, padded: true },
    { kind: "gated", gated: true, padded: false },
    { kind: "gated padded", gated: true, padded: true },
  ];
  const cases = points.flatMap((n) => {
    const seen = new Map<string, { name: string; c: Case }>();
    for (const { kind, gated, padded } of kinds)
      for (const channels of [768, 111])
        for (const batch of [1, 2, 4, 8, 64]) {
          const sizes = reduced(batch, channels, padded ? n / 2 : n);
          const used = n / 2;
          // every size in float32, half precision once per length and kind
          const dtypes = batch === 2 ? (["f32", "bf16", "f16"] as const) : (["f32"] as const);
          for (const dtype of dtypes) {
            const name = `${kind}, ${n} points, [${sizes.batch}, ${sizes.channels}, ${sizes.length}], ${dtype}`;
            if (!seen.has(name)) seen.set(name, { name, c: { ...sizes, gated, used, dtype } });
          }
        }
    return [...seen.values()].map(({ name, c }) => [name, c] as const);
  });
  test.each(cases)("%s", (_, c) =>
    withDevice("cpu", async () => {
      expect(await worstError(c)).toBeLessThan(TOLERANCE[c.dtype]);
    }),
  );
});

describe("H3's grid", () => {
  const lengths = [8, 16, 32, 64, 128, 256, 372, 512, 784, 1024, 1134, 2048, 4096, 8192];
  const cases = lengths.flatMap((length) =>
    [1, 4].flatMap((batch) => (["f32", "bf16", "f16"] as const).map((dtype) => ({ length, batch, dtype }))),
  );
  test.each(cases)("$length steps, batch $batch, 256 channels, $dtype", ({ length, batch, dtype }) =>
    withDevice("cpu", async () => {
      const c = { ...reduced(batch, 256, length), gated: true, used: length, dtype };
      expect(await worstError(c)).toBeLessThan(TOLERANCE[dtype]);
    }),
  );

  test.each(lengths.filter((n) => n <= 2048))("products over heads of 8, %i steps", (length) =>
    withDevice("cpu", async () => {
      const [batch, heads, headDim] = [1, 4, 8];
      const dim = heads * headDim;
      const [q, k, v] = [1, 2, 3].map((s) => random.normal(random.key(s), [batch, length, dim])) as [
        Tensor,
        Tensor,
        Tensor,
      ];
      const filter = mul(random.normal(random.key(4), [length, heads]), 0.1);
      const y = await read(
        h3Product(q, k, v, headDim, (rows, gates) => fftConv(rows, filter, { layout: "bld", ...gates })),
      );
      const [x, w, z, f] = await Promise.all([q, k, v, filter].map(read));
      const pairs: [number, number][] = [];
      const drawn = new Random(length);
      for (let s = 0; s < SAMPLES; s++) {
        const t = Math.min(length - 1, Math.floor(length * drawn.uniform()));
        const [head, out] = [Math.floor(heads * drawn.uniform()), Math.floor(headDim * drawn.uniform())];
        let want = 0;
        for (let e = 0; e < headDim; e++) {
          let c = 0;
          for (let j = 0; j <= t; j++) {
            const i = (t - j) * dim + head * headDim;
            c += f![j * heads + head]! * w![i + e]! * z![i + out]!;
          }
          want += c * x![t * dim + head * headDim + e]!;
        }
        pairs.push([y[t * dim + out * heads + head]!, want]);
      }
      expect(relative(pairs)).toBeLessThan(1e-5);
    }),
  );
});
