import "@everlong/device-cpu";
import {
  compile,
  gradients,
  mul,
  permute,
  random,
  reshape,
  sum,
  withDevice,
  type Tensor,
} from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import { expect, test } from "vitest";
import { parameters } from "../layer.ts";
import { chunkedSsm } from "./chunked-ssm.ts";
import { DiagonalSsm } from "./diagonal-ssm.ts";

const CHANNELS = 8;
const UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20 };

/** Bytes of temporaries and of one thread's scratch in the plan of a forward pass, or of that and its gradients. */
function working(time: number, backward: boolean, chunk: number | undefined): number {
  const ssm = new DiagonalSsm({ key: random.key(1), channels: CHANNELS, stateSize: 8 });
  const weights = [...parameters(ssm).values()];
  const fn = compile((u: Tensor) => {
    const whole = (): Tensor =>
      fftConv(u, permute(reshape(ssm.kernel(time), [CHANNELS, time]), [1, 0]), { layout: "bld" });
    const y = chunk === undefined ? whole() : chunkedSsm(ssm, u, { chunk }).y;
    if (!backward) return [y];
    return [
      y,
      ...gradients(
        sum(mul(y, y)),
        weights.map((v) => v.value),
      ),
    ];
  });
  fn(random.normal(random.key(2), [1, time, CHANNELS]));
  const sizes = [...fn.plan().matchAll(/(?:arena|scratch) ([\d.]+) (\w+)/g)];
  fn.dispose();
  expect(sizes).toHaveLength(2);
  return sizes.reduce((n, [, size, unit]) => n + Number(size) * UNITS[unit!]!, 0);
}

test("temporaries of state passing grow with the chunk, not with the length", () =>
  withDevice("cpu", () => {
    const [short, long] = [4096, 16_384];
    const growth = (backward: boolean, chunk: number | undefined): number =>
      (working(long, backward, chunk) - working(short, backward, chunk)) / (4 * CHANNELS * (long - short));
    // In lengths of the input: the result in the order of the chunks, backward the cotangent too, and a state per chunk.
    expect(growth(false, 256)).toBeLessThan(1.05);
    expect(growth(true, 256)).toBeLessThan(2.1);
    expect(growth(false, undefined)).toBeGreaterThan(5);
    expect(working(long, true, 256)).toBeLessThan(working(long, true, undefined) / 3);
  }));
