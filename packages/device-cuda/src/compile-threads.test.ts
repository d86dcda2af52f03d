import { expect, test } from "vitest";
import { CompileThreads } from "./compile-threads.ts";
import { compileOptions } from "./kernel-cache.ts";
import { Nvrtc } from "./nvrtc.ts";

const job = (i: number): { source: string; entry: string } => ({
  source: `extern "C" __global__ void kernel_${i}(float* x) { x[threadIdx.x] = ${i}.f${i === 2 ? " ?" : ""}; }`,
  entry: `kernel_${i}`,
});
const nvrtc = ((): Nvrtc | undefined => {
  try {
    return Nvrtc.open({ driver: 13_000, arch: 90 });
  } catch {
    return undefined;
  }
})();

test("where the compiler cannot be opened every image is missing, and nobody waits", () => {
  const images = new CompileThreads("/nowhere/libnvrtc.so").compile([job(0), job(1), job(2)], [], 2);
  expect(images).toEqual([undefined, undefined, undefined]);
});

test.skipIf(!nvrtc)("images are those of one thread; a source with an error has none", () => {
  const options = compileOptions(90);
  const jobs = Array.from({ length: 7 }, (_, i) => job(i));
  const threads = new CompileThreads(nvrtc!.path);
  for (const count of [7, 2]) {
    const some = jobs.slice(0, count);
    const images = threads.compile(some, options, 3);
    const alone = some.map(({ source, entry }, i) =>
      i === 2 ? undefined : nvrtc!.compile(source, entry, options),
    );
    expect(images.map((image) => image && Buffer.from(image))).toEqual(
      alone.map((image) => image && Buffer.from(image)),
    );
  }
  expect(() => nvrtc!.compile(jobs[2]!.source, "kernel_2", options)).toThrow(/kernel_2 does not compile/);
});
