import { gradients, sum, tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { activate, activationName, isGated } from "./activation.ts";

test("elu, far from zero too", async () => {
  const x = tensor([-1000, -1, -1e-9, 0, 2, 1000]);
  const y = activate("elu", x);
  const values = Array.from(await y.data(), Number);
  [-1, Math.expm1(-1), -1e-9, 0, 2, 1000].forEach((want, i) => expect(values[i]).toBeCloseTo(want, 15));
  const [g] = gradients(sum(activate("elu", x)), [x]);
  expect(Array.from(await g!.data(), Number)).toEqual(
    [0, Math.exp(-1), Math.exp(-1e-9), 1, 1, 1].map((v) => expect.closeTo(v, 12)),
  );
});

test("gates with other functions than the sigmoid", async () => {
  const x = tensor([
    [2, 3, -1, 4],
    [1, 1, 0.5, -2],
  ]);
  const silu = (v: number): number => v / (1 + Math.exp(-v));
  const values = Array.from(await activate("glu-swish", x).data(), Number);
  [2 * silu(-1), 3 * silu(4), silu(0.5), silu(-2)].forEach((want, i) =>
    expect(values[i]).toBeCloseTo(want, 12),
  );
  expect(Array.from(await activate("glu", x).data(), Number)[1]).toBeCloseTo(3 / (1 + Math.exp(-4)), 12);
  expect(activationName("glu-swish")).toBe("glu-silu");
  expect([isGated("glu"), isGated("glu-relu"), isGated("gelu")]).toEqual([true, true, false]);
  for (const name of ["glu-glu", "glu-", "glu-nonsense", "toString"])
    expect(() => activationName(name)).toThrow(`unknown activation "${name}"`);
});
