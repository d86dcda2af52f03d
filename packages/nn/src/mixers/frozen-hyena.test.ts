import { cast, compile, random, type Tensor } from "@everlong/core";
import { relativeError, valuesOf } from "@everlong/testing";
import { expect, test } from "vitest";
import { FrozenHyena } from "./frozen-hyena.ts";
import type { HyenaOptions } from "./hyena-options.ts";
import { Hyena } from "./hyena.ts";

const make = (more: Partial<HyenaOptions> = {}): Hyena =>
  new Hyena({ key: random.key(4), dim: 6, maxLength: 48, ...more });

test.each<Partial<HyenaOptions>>([
  {},
  { order: 3 },
  { order: 4, heads: 3, packing: "order-major" },
  { filter: { bias: false }, activation: "gelu", innerFactor: 2 },
])("computes what the layer computes: %o", async (options) => {
  const layer = make(options);
  for (const [batch, length] of [
    [1, 31],
    [3, 48],
  ] as const) {
    const x = random.normal(random.key(length), [batch, length, 6]);
    const want = await valuesOf(layer.forward(x));
    const operator = new FrozenHyena(layer, { length });
    expect(relativeError(await valuesOf(operator.forward(x)), want)).toBeLessThan(2e-6);
    const compiled = compile((t: Tensor) => operator.forward(t));
    expect(relativeError(await valuesOf(compiled(x)), want)).toBeLessThan(2e-6);
    for (const dtype of ["f16", "bf16"] as const) {
      const half = new FrozenHyena(layer, { length, dtype });
      const y = half.forward(cast(x, dtype));
      expect(y.dtype).toBe(dtype);
      expect(relativeError(await valuesOf(y), want)).toBeLessThan(dtype === "f16" ? 2e-3 : 1.5e-2);
    }
  }
});

test("says what it was not made for", () => {
  const refused: Partial<HyenaOptions>[] = [
    { bidirectional: true },
    { blocks: 4 },
    { projectionGroups: 2 },
    { heads: 2, outerMixing: true },
    { heads: 2, postOrderMixing: true },
  ];
  for (const options of refused)
    expect(() => new FrozenHyena(make(options), { length: 20 })).toThrow(/cannot be|blocks/);
  const operator = new FrozenHyena(make(), { length: 20 });
  expect(() => operator.forward(random.normal(random.key(1), [1, 21, 6]))).toThrow("[B, 20, 6]");
});
