import { abs, concat, max, mul, ones, random, sub, tensor, zeros, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { S4, type S4Options } from "./s4.ts";
import { S4nd, type S4ndOptions } from "./s4nd.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;
const make = (options: Partial<S4ndOptions> = {}): S4nd =>
  new S4nd({ key: random.key(1), dim: 2, ssm: { stateSize: 4 }, ...options });

test("one axis is S4 without an output map", async () => {
  const layer = make({ axes: 1, channels: 2 });
  const options: S4Options = {
    key: random.key(1),
    dim: 2,
    channels: 2,
    bidirectional: true,
    activation: "identity",
    outputActivation: null,
  };
  const line = new S4(options, () => layer.kernel[0]!);
  line.skip.value = layer.skip.value;
  const x = random.normal(random.key(2), [2, 13, 2]);
  expect(await distance(layer.forward(x), line.forward(x))).toBeLessThan(1e-13);
});

test.each([1, 3])("rank %i: the kernel is a mean of outer products over lags of both signs", async (rank) => {
  const [height, width] = [5, 7];
  const layer = make({ rank, dim: 1, kernelLengths: [3, null] });
  layer.skip.value = zeros([1, 1]);
  const [ku, kv] = await Promise.all(
    [layer.kernel[0]!.kernel(3), layer.kernel[1]!.kernel(width)].map(async (k) =>
      Array.from(await k.data(), Number),
    ),
  );
  const tap = (k: readonly number[], length: number, r: number, lag: number): number =>
    lag >= 0
      ? lag < length
        ? k[r * length + lag]!
        : 0
      : -lag - 1 < length
        ? k[(rank + r) * length - lag - 1]!
        : 0;
  const at = [2, 3] as const;
  const impulse = Array.from({ length: height * width }, (_, i) => (i === at[0] * width + at[1] ? 1 : 0));
  const y = Array.from(await layer.forward(tensor(impulse).reshape([1, height, width, 1])).data(), Number);
  for (let i = 0; i < height; i++)
    for (let j = 0; j < width; j++) {
      let s = 0;
      for (let r = 0; r < rank; r++) s += tap(ku!, 3, r, i - at[0]) * tap(kv!, width, r, j - at[1]);
      expect(y[i * width + j]).toBeCloseTo(s / rank, 12);
    }
});

test("the original's sum over the rank gets lost in its second contraction", () => {
  const x = ones([1, 3, 4, 2]);
  expect(make({ rank: 3 }).forward(x).shape).toEqual([1, 3, 4, 2]);
  expect(make({ rank: 3, compat: "unsummed-rank" }).forward(x).shape).toEqual([1, 3, 4, 6]);
  // A layer of one channel stretches its one column of weights over them.
  const layer = { dim: 1, rank: 3, form: "layer", outputActivation: "glu" } as const;
  const one = ones([1, 3, 4, 1]);
  expect(make({ ...layer, compat: "unsummed-rank" }).forward(one).shape).toEqual([1, 3, 4, 1]);
});

test("padding of any axis is not seen", async () => {
  const layer = make({ form: "layer", outputActivation: "glu" });
  const x = random.normal(random.key(2), [1, 3, 5, 2]);
  const wide = concat([x, mul(random.normal(random.key(3), [1, 3, 2, 2]), 40)], 2);
  const mask = tensor(
    Array.from({ length: 21 }, (_, i) => i % 7 < 5),
    { dtype: "bool" },
  ).reshape([1, 3, 7]);
  const padded = layer.forward(wide, { mask }).narrow(2, 0, 5);
  expect(await distance(padded, layer.forward(x))).toBeLessThan(1e-12);
});

test("dense maps to other widths; three axes; wrong shapes", () => {
  expect(make({ outChannels: 5, rank: 2 }).forward(ones([2, 3, 4, 2])).shape).toEqual([2, 3, 4, 5]);
  expect(make({ axes: 3 }).forward(ones([1, 2, 3, 4, 2])).shape).toEqual([1, 2, 3, 4, 2]);
  expect(() => make().forward(ones([1, 2, 2]))).toThrow(/2 axes/);
  expect(() => make({ kernelLengths: [3] })).toThrow(/one kernel length/);
  expect(() => make({ outChannels: 2, form: "layer" })).toThrow(/no room/);
});
