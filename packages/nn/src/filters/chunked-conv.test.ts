import "@everlong/device-cpu";
import { compile, gradients, mul, random, sum, withDevice, type Tensor } from "@everlong/core";
import { chunkedConv, fftConv } from "@everlong/kernels";
import { expect, test } from "vitest";

const CHANNELS = 8;
const UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20 };

/** Bytes of temporaries and of one thread's scratch in the plan of a forward pass, or of that and its gradient. */
function working(time: number, backward: boolean, conv: (u: Tensor, k: Tensor) => Tensor, taps = 64): number {
  const u = random.normal(random.key(1), [1, time, CHANNELS]);
  const k = random.normal(random.key(2), [taps, CHANNELS]);
  const fn = compile((a: Tensor, b: Tensor) => {
    const y = conv(a, b);
    return backward ? [y, ...gradients(sum(mul(y, y)), [a, b])] : [y];
  });
  fn(u, k);
  const sizes = [...fn.plan().matchAll(/(?:arena|scratch) ([\d.]+) (\w+)/g)];
  fn.dispose();
  expect(sizes).toHaveLength(2);
  return sizes.reduce((n, [, size, unit]) => n + Number(size) * UNITS[unit!]!, 0);
}

test("temporaries of a chunked convolution grow with the chunk, not with the length", () =>
  withDevice("cpu", () => {
    const chunked = (u: Tensor, k: Tensor): Tensor => chunkedConv(u, k, { chunk: 256 }).y;
    const whole = (u: Tensor, k: Tensor): Tensor => fftConv(u, k, { layout: "bld" });
    const [short, long] = [4096, 16_384];
    const growth = (backward: boolean, conv: typeof whole, taps?: (time: number) => number): number =>
      (working(long, backward, conv, taps?.(long)) - working(short, backward, conv, taps?.(short))) /
      (4 * CHANNELS * (long - short));
    // In lengths of the input: the result in the order of the chunks; backward the cotangent, and it and its result from the end.
    expect(growth(false, chunked)).toBeLessThan(1.05);
    expect(growth(true, chunked)).toBeLessThan(3.05);
    // Short filters act on blocks by themselves; those as long as the input transform all of it.
    expect(growth(true, whole, (time) => time)).toBeGreaterThan(8);
    expect(working(long, true, chunked)).toBeLessThan(working(long, true, whole, long) / 2.5);
  }));
