import { expect, test } from "vitest";
import { compile, gradients, random, sum, withDevice, zeros, type Tensor } from "@everlong/core";
import { fftConv, fftConvFilter } from "@everlong/kernels";
import { cpuDevice } from "./cpu.ts";

const inputs = (...shapes: number[][]): Tensor[] =>
  random.splitKey(random.key(3), shapes.length).map((key, i) => random.normal(key, shapes[i]!));

test("a filter that depends on no argument is transformed once, and the result has the bits of fftConv", () =>
  withDevice(cpuDevice({ threads: 1 }), async () => {
    const [u, k, skip] = inputs([2, 19, 100], [19, 100], [19]);
    const fn = compile((x: Tensor) => fftConv(x, fftConvFilter(k!, 100, { skip: skip! }), { postGate: x }));
    const y = await fn(u!).data();
    expect(y).toEqual(await fftConv(u!, k!, { skip: skip!, postGate: u! }).data());
    expect(fn.plan()).toContain("fft-conv-cached");
    expect(fn.plan()).not.toContain("fft-conv-spectrum");
  }));

test("gradients pass through kept filters", () =>
  withDevice(cpuDevice({ threads: 1 }), async () => {
    const [u, k] = inputs([2, 5, 40], [5, 11]);
    const through = gradients(sum(fftConv(u!, fftConvFilter(k!, 40)).gelu()), [u!, k!]);
    const direct = gradients(sum(fftConv(u!, k!).gelu()), [u!, k!]);
    for (const [i, g] of through.entries()) expect(await g.data()).toEqual(await direct[i]!.data());
  }));

test("a filter of another making is refused", () =>
  withDevice(cpuDevice({ threads: 1 }), async () => {
    const [u, k] = inputs([1, 3, 16], [3, 16]);
    const filter = fftConvFilter(k!, 16);
    const spectrum = zeros(filter.spectrum.shape);
    await expect(async () => fftConv(u!, { ...filter, spectrum }).data()).rejects.toThrow(
      /the kernel of fft-conv-cached stopped.*kept filter of another device/,
    );
  }));
