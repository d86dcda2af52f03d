import { expect, test } from "vitest";
import {
  cast,
  gradients,
  mul,
  realize,
  registerDevice,
  device as openDevice,
  sum,
  withDevice,
  writtenBy,
  zeros,
  type Program,
  type Tensor,
} from "@everlong/core";
import { gatedUnit, layerNorm, linear, mixedPrecision, shortConv } from "@everlong/kernels";
import { H100, type CudaStep } from "@everlong/kernels/cuda";
import { foldSums } from "./fold-sums.ts";
import type { BufferWord, Frame, Launch } from "./frame.ts";
import { wholeSource } from "./kernel-cache.ts";
import { joinedSteps } from "./join-launches.ts";
import { layOut } from "./layout.ts";
import { LoweringDevice } from "./lowering-device.ts";
import { lower } from "./lowering.ts";
import { RecordedStreams } from "./recorded-streams.ts";
import type { Runtime } from "./runtime.ts";

class Recorder extends LoweringDevice {
  readonly programs: Program[] = [];

  override load(program: Program): ReturnType<LoweringDevice["load"]> {
    this.programs.push(program);
    return super.load(program);
  }
}

/** The largest program of the gradients of a few mixed-precision layers. */
function trainingProgram(): Program {
  const recorder = new Recorder({ computes: false });
  registerDevice(recorder.name, () => recorder);
  withDevice(openDevice(recorder.name), () => {
    const weight = (...shape: number[]): Tensor => zeros(shape);
    const weights = Array.from({ length: 3 }, () => [
      weight(64),
      weight(64),
      weight(64, 64),
      weight(64),
      weight(64, 3),
      weight(64),
      weight(64),
      weight(176, 64),
      weight(176, 64),
      weight(64, 176),
    ]);
    mixedPrecision({ dtype: "bf16" }, () => {
      let x: Tensor = cast(zeros([4, 96, 64]), "bf16");
      for (const [g, b, w, c, taps, g2, b2, w1, w2, w3] of weights as Tensor[][]) {
        x = x.add(shortConv(linear(layerNorm(x, g, b), w!, c), taps!, { layout: "bld" }));
        x = x.add(gatedUnit(layerNorm(x, g2, b2), [w1!, w2!, w3!]));
      }
      realize(gradients(sum(mul(cast(x, "f32"), 0.5)), weights.flat()));
    });
  });
  return recorder.programs.toSorted((a, b) => b.steps.length - a.steps.length)[0]!;
}

interface Touched {
  readonly from: number;
  readonly to: number;
  readonly written: boolean;
}

const ARENA = 2 ** 40;
const OTHERS = 2 ** 41;

test("launches that meet in memory are ordered by their streams and the events they wait for", () => {
  const program = trainingProgram();
  expect(program.steps.length).toBeGreaterThan(30);
  let next = OTHERS;
  const kernels = new Map<string, CudaStep["kernel"]>();
  const streams = new RecordedStreams();
  const stream = streams.createStream();
  // The library knows the device's stream only.
  const library = { fuses: () => true, has: () => true, multiply: () => void streams.work(stream) };
  const driver = Object.assign(streams, {
    launch: (...given: readonly unknown[]) => (streams.work(given[4] as number), 0),
  });
  const device = {
    engine: { driver, stream, beside: { streams: [], events: [] }, overlaps: true, launches: 0 },
    pool: { allocate: (bytes: number) => ({ address: (next += 2 ** 30), bytes }) },
    kernels: {
      prepare: () => {},
      get: (kernel: CudaStep["kernel"]) => (
        kernels.set(kernel.key, kernel),
        { name: kernel.entry, handle: 0 }
      ),
    },
    transfers: { upload: () => {} },
    target: H100,
    library,
    table: () => 0,
  } as unknown as Runtime;
  const { frame, bindArena, arenaBytes } = layOut(device, program, []);
  bindArena(ARENA);
  program.buffers.forEach(({ role }, i) => {
    const donor = role.kind === "output" ? program.donated[role.index] : undefined;
    if (role.kind === "input") frame.bind(i, 2 * OTHERS + role.index * 2 ** 30);
    if (role.kind === "output")
      frame.bind(i, donor === undefined ? 3 * OTHERS + role.index * 2 ** 30 : 2 * OTHERS + donor * 2 ** 30);
  });

  const single = program.steps.map((step) => (step.kind === "scan" ? undefined : lower(step, H100)));
  const lowerings = foldSums(program, single, H100, library.fuses);
  const groups = joinedSteps(program, lowerings);
  const stepsOf = (step: number): readonly number[] => groups.find((g) => g.at(-1) === step) ?? [step];
  const touched = frame.launches.map((launch): Touched[] => {
    const steps = stepsOf(launch.step);
    // A folded sum is written by the step before it.
    const written = new Set(
      steps.flatMap((s) =>
        [s, s + 1]
          .filter((k) => k === s || (lowerings[k] as { name?: string } | undefined)?.name === "added before")
          .flatMap((k) => writtenBy(program.steps[k]!).map((o) => o.buffer)),
      ),
    );
    const temps = steps.flatMap((s) => (lowerings[s] as { temps: readonly number[] }).temps);
    return buffersOf(frame, launch).map((buffer) => {
      const from = frame.addresses[buffer]!;
      expect(from, `buffer ${buffer}`).toBeGreaterThan(0);
      const own = program.buffers[buffer];
      const bytes = own ? own.bytes : Math.max(...temps);
      if (!own) expect(from + 1).toBeLessThanOrEqual(ARENA + arenaBytes);
      return { from, to: from + (own ? bytes : 1), written: !own || written.has(buffer) };
    });
  });
  // By what the driver is told.
  const before = streams.work(stream);
  expect(before).toBe(0);
  frame.run();
  const over = frame.launches.map((_, i) => new Set([...streams.behind[i + 1]!].map((p) => p - 1)));
  expect(streams.behind.length).toBe(1 + frame.launches.length);
  for (const earlier of over) expect(earlier.has(-1)).toBe(true);
  expect(streams.behind[streams.work(stream)]!.size).toBe(1 + frame.launches.length);
  let pairs = 0;
  let apart = 0;
  touched.forEach((b, j) =>
    touched.slice(0, j).forEach((a, i) => {
      const meet = a.some((x) => b.some((y) => (x.written || y.written) && x.from < y.to && y.from < x.to));
      if (meet) expect(over[j]!.has(i), `launch ${i} before ${j}`).toBe(true);
      pairs += meet ? 1 : 0;
      apart += over[j]!.has(i) ? 0 : 1;
    }),
  );
  expect(pairs).toBeGreaterThan(frame.launches.length);
  // Something does run side by side.
  expect(apart).toBeGreaterThan(frame.launches.length);
  // Launched beside the end of the one in front, every kernel waits for it first.
  expect(kernels.size).toBeGreaterThan(10);
  for (const kernel of kernels.values()) {
    const heads = wholeSource(kernel).split("__global__").slice(1);
    expect(heads.length).toBeGreaterThan(0);
    for (const head of heads) expect(head).toMatch(/^[^{]*\{ wait_for_previous\(\);/);
  }
});

/** The buffers that a launch's words name. */
function buffersOf(frame: Frame, launch: Launch): number[] {
  if (launch.kind === "product")
    return [launch.a, launch.b, launch.c, launch.bias, launch.added]
      .filter((w): w is BufferWord => w !== undefined)
      .map((w) => w.buffer);
  if (launch.kind === "host") return [];
  const { patches } = frame as unknown as { patches: readonly (readonly { readonly at: number }[])[] };
  const later = frame.launches.slice(frame.launches.indexOf(launch) + 1);
  const end = later.find((l) => l.kind === "kernel");
  const to = end?.kind === "kernel" ? end.at * 8 : Infinity;
  return patches.flatMap((list, buffer) =>
    list.some(({ at }) => at >= launch.at * 8 && at < to) ? [buffer] : [],
  );
}
