// Batch mates and padding, for every registered layer, in float64 and on the CPU device: a row's numbers and gradients are
// its own, bit for bit, and those of its real positions do not depend on what stands in the others.

import "@everlong/device-cpu";
import {
  abs,
  concat,
  equal,
  full,
  gradients,
  max,
  mul,
  narrow,
  random,
  setDefaultDevice,
  stack,
  sub,
  sum,
  tensor,
  unsqueeze,
  where,
  zerosLike,
  type Tensor,
} from "@everlong/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parameters } from "./layer.ts";
import type { ChannelMixer, Mixer } from "./mixer.ts";
import type { LayerEntry } from "./registry-entry.ts";
import { channelMixers, mixers } from "./registry.ts";

const DIM = 32;
const TOTAL = 17;
const entries: readonly LayerEntry[] = [...mixers, ...channelMixers];
const build = (entry: LayerEntry): Mixer | ChannelMixer =>
  entry.build({ key: random.key(1), dim: DIM, maxLength: 64 });
const sample = (seed: number, batch: number, time: number): Tensor =>
  random.normal(random.key(seed), [batch, time, DIM]);
/** Sizes of tensors, by largest element, in one computation. */
const largest = async (...of: readonly Tensor[]): Promise<number[]> =>
  Array.from(await stack(of.map((t) => max(abs(t)))).data(), Number);
/** Largest differences of pairs, relative to the largest element of the second. */
const apart = async (...pairs: readonly (readonly [Tensor, Tensor])[]): Promise<number[]> => {
  const sizes = await largest(...pairs.flatMap(([a, b]) => [sub(a, b), b]));
  return pairs.map((_, i) => (sizes[2 * i] === 0 ? 0 : sizes[2 * i]! / sizes[2 * i + 1]!));
};
const row = (x: Tensor, i: number): Tensor => narrow(x, 0, i, i + 1);

/** Outputs, and gradients of `sum(y * probe)` with respect to the input and every parameter. */
function passes(
  layer: Mixer | ChannelMixer,
  x: Tensor,
  probe: Tensor,
  mask?: Tensor,
): { readonly y: Tensor; readonly dx: Tensor; readonly parameters: readonly Tensor[] } {
  const y = layer.forward(x, mask ? { mask } : {});
  // A probe of zeros must hide what it multiplies, whatever that is.
  const loss = sum(where(equal(probe, 0), 0, mul(y, probe)));
  const [dx, ...rest] = gradients(loss, [x, ...[...parameters(layer).values()].map((v) => v.value)]);
  return { y, dx: dx!, parameters: rest };
}

// Real positions [from, from + REAL) of each row: padding on the right, on the left, and on both sides.
const REAL = 11;
const STARTS = [0, TOTAL - REAL, 2] as const;

describe.each([
  ["reference", 1e-11, 1e-11],
  // Sums of parameters' gradients run over more positions, in another order.
  ["cpu", 1e-5, 1e-4],
] as const)("on the device %s", (device, tolerance, parameterTolerance) => {
  beforeAll(() => setDefaultDevice(device));
  afterAll(() => setDefaultDevice("reference"));

  describe.each(entries.map((e) => [e.name, e] as const))("%s", (_, entry) => {
    // Loops over rows say nothing about kernels that take several at a time.
    test.runIf(device === "cpu")("a row does not depend on its batch mates, in any bit", async () => {
      const layer = build(entry);
      const x = sample(2, 3, TOTAL);
      const mine = row(x, 1);
      const probe = sample(3, 1, TOTAL);
      const only = concat([zerosLike(probe), probe, zerosLike(probe)], 0);
      const alone = passes(layer, mine, probe);
      const others = concat([mul(row(x, 2), 1e3), mine, mul(row(x, 0), -40)], 0);
      for (const batch of [passes(layer, x, only), passes(layer, others, only)]) {
        const differences = await largest(
          sub(row(batch.y, 1), alone.y),
          sub(row(batch.dx, 1), alone.dx),
          row(batch.dx, 0),
          row(batch.dx, 2),
        );
        expect(differences).toEqual([0, 0, 0, 0]);
      }
      const nothing = full(mine.shape, Number.NaN);
      const y = row(layer.forward(concat([nothing, mine, nothing], 0)), 1);
      expect(await largest(sub(y, alone.y))).toEqual([0]);
    });

    test("real positions do not depend on padding, nor do gradients", async () => {
      const layer = build(entry);
      const [short, probe] = [sample(10, 3, REAL), sample(11, 3, REAL)];
      const around = (x: Tensor, filler: Tensor): Tensor =>
        concat(
          STARTS.map((from, i) => {
            const fill = row(filler, i);
            const parts = [narrow(fill, 1, 0, from), row(x, i), narrow(fill, 1, from + REAL, TOTAL)];
            return concat(
              parts.filter((t) => t.size > 0),
              1,
            );
          }),
          0,
        );
      const mask = tensor(
        STARTS.map((from) => Array.from({ length: TOTAL }, (_, t) => t >= from && t < from + REAL)),
        { dtype: "bool" },
      );
      const junk = mul(sample(12, 3, TOTAL), 50);
      const padded = passes(layer, around(short, junk), around(probe, zerosLike(junk)), mask);
      const alone = passes(layer, short, probe);
      const real = (t: Tensor): Tensor =>
        concat(
          STARTS.map((from, i) => narrow(row(t, i), 1, from, from + REAL)),
          0,
        );
      const [y, dx] = await apart([real(padded.y), alone.y], [real(padded.dx), alone.dx]);
      expect(y).toBeLessThan(tolerance);
      expect(dx).toBeLessThan(tolerance);
      expect(await largest(where(unsqueeze(mask, -1), 0, padded.dx))).toEqual([0]);
      const off = await apart(...padded.parameters.map((g, p) => [g, alone.parameters[p]!] as const));
      for (const [p, name] of [...parameters(layer).keys()].entries())
        expect(off[p], name).toBeLessThan(parameterTolerance);
    });
  });
});
