import { expect, test } from "vitest";
import { TILE_MAP_WORDS, type CudaProduct, type CudaTileMap } from "@everlong/kernels/cuda";
import { Random } from "@everlong/testing";
import type { Cublas } from "./cublas.ts";
import { Frame, FrameBuilder, type Engine, type Launch } from "./frame.ts";
import type { Kernel } from "./kernel-cache.ts";
import { RecordedStreams } from "./recorded-streams.ts";
import { koffi } from "./shared-library.ts";

const map: CudaTileMap = { dtype: "bf16", sizes: [64, 100], strides: [128], box: [64, 64] };
const BUFFERS = 4;
/** A word of every buffer twice, at odds with a number, and a tile map of two of them. */
const WORDS = [
  { buffer: 2, offset: 128, map },
  { buffer: 0, offset: 0 },
  7,
  { buffer: 1, offset: 24 },
  { buffer: 3, offset: 2 ** 33 },
  { buffer: 0, offset: 4 },
  { buffer: 1, offset: 0 },
  { buffer: 2, offset: 0 },
  { buffer: 0, offset: 256, map },
];
const COUNT = WORDS.length + 2 * (TILE_MAP_WORDS - 1);

/** A frame of one launch, and what the driver was given: words of launches, and addresses of tile maps. */
function recorder(): {
  frame: Frame;
  launched: bigint[][];
  encoded: number[];
  refuse: (address: number) => void;
} {
  const launched: bigint[][] = [];
  const encoded: number[] = [];
  let refused = Number.NaN;
  const shared = new Uint8Array(TILE_MAP_WORDS * 8);
  const driver = {
    launch: (...given: readonly unknown[]) => {
      const [at] = given[5] as BigUint64Array;
      launched.push([...new BigUint64Array(koffi().view(at!, COUNT * 8))]);
      return 0;
    },
    // The driver's place for the result is the same for all.
    encodeTileMap: (_: CudaTileMap, address: number) => {
      new BigUint64Array(shared.buffer).fill(BigInt(address) + 1n);
      if (address === refused) throw new Error("refused");
      encoded.push(address);
      return shared;
    },
  };
  const engine = { driver, stream: 0, overlaps: false, launches: 0 } as unknown as Engine;
  const builder = new FrameBuilder();
  const at = builder.block(WORDS);
  const kernel = { name: "probe", handle: 1 } as Kernel;
  builder.launches.push({
    kind: "kernel",
    kernel,
    grid: [1, 1, 1],
    block: [32, 1, 1],
    sharedBytes: 0,
    step: 0,
    name: "probe",
    at,
  });
  return {
    frame: new Frame(engine, builder, BUFFERS),
    launched,
    encoded,
    refuse: (address) => (refused = address),
  };
}

const expected = (addresses: readonly number[]): bigint[] =>
  WORDS.flatMap((word) => {
    if (typeof word === "number") return [BigInt(word)];
    const address = BigInt(addresses[word.buffer]! + word.offset);
    return "map" in word ? Array.from({ length: TILE_MAP_WORDS }, () => address + 1n) : [address];
  });

test("launches are given where buffers lie now, whatever they were bound to before", () => {
  const { frame, launched } = recorder();
  let state = 5;
  const random = (n: number): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % n;
  // Few addresses for each, which come back, and more than are kept of one.
  const places = Array.from({ length: BUFFERS }, (_, b) =>
    Array.from({ length: 1 + 11 * b }, (_, i) => (b + 1) * 2 ** 40 + i * 2 ** 31 + i * 512),
  );
  const now: number[] = [];
  for (let run = 0; run < 400; run++) {
    for (const b of places.keys()) {
      if (run > 0 && random(3) === 0) continue;
      now[b] = places[b]![random(places[b]!.length)]!;
      frame.bind(b, now[b]!);
    }
    frame.run();
    expect(launched.at(-1)).toEqual(expected(now));
    expect([...frame.addresses]).toEqual(now);
  }
});

test("a tile map is made once for addresses that come in turn, and again for more than a few", () => {
  const { frame, encoded } = recorder();
  for (let i = 0; i < 20; i++) frame.bind(2, (1 + (i % 3)) * 2 ** 20);
  expect(encoded).toEqual([1, 2, 3].map((n) => n * 2 ** 20 + 128));
  for (let i = 0; i < 2000; i++) frame.bind(2, (1 + i) * 2 ** 20);
  expect(encoded.length).toBe(2000);
});

test.each(["the same", "the one before"])(
  "after a tile map that could not be made, %s address is bound anew",
  (which) => {
    const { frame, launched, refuse } = recorder();
    const at = [1, 2, 3, 4].map((n) => n * 2 ** 30);
    at.forEach((address, b) => frame.bind(b, address));
    const next = 9 * 2 ** 30;
    refuse(next + 256);
    // Its other words are written.
    expect(() => frame.bind(0, next)).toThrow(/refused/);
    refuse(Number.NaN);
    const moved = which === "the same" ? next : at[0]!;
    frame.bind(0, moved);
    frame.run();
    expect(launched.at(-1)).toEqual(expected([moved, ...at.slice(1)]));
  },
);

/** A frame of launches of all kinds on four lanes, each behind some that went before on others. */
function branchedFrame(
  seed: number,
  count: number,
): {
  frame: Frame;
  streams: RecordedStreams;
  engine: Engine;
  early: boolean[];
  fail: (launch: number) => void;
} {
  const random = new Random(seed);
  const pick = (n: number): number => Math.floor(random.uniform() * n);
  const streams = new RecordedStreams();
  const early: boolean[] = [];
  let failing = -1;
  const stream = streams.createStream();
  const driver = Object.assign(streams, {
    launch: (...given: readonly unknown[]) => {
      if (streams.behind.length === failing) return 700;
      early[streams.work(given[4] as number)] = given[6] as boolean;
      return 0;
    },
    failure: () => new Error("the driver's"),
  });
  const engine = {
    driver,
    stream,
    beside: { streams: [], events: [] },
    overlaps: true,
    launches: 0,
  } as unknown as Engine;
  const builder = new FrameBuilder();
  const word = { buffer: 0, offset: 0 };
  // The library and scans know the device's stream only.
  const library = { multiply: () => void streams.work(stream) } as unknown as Cublas;
  const run = (): void => void streams.work(stream);
  for (let i = 0; i < count; i++) {
    const lane = pick(4);
    const about = { step: i, name: `step ${i}` };
    const kind = lane === 0 ? pick(3) : 0;
    const given: Launch =
      kind === 0
        ? {
            kind: "kernel",
            kernel: { name: "probe", handle: 1 } as Kernel,
            grid: [1, 1, 1],
            block: [32, 1, 1],
            sharedBytes: 0,
            at: builder.block([i]),
            ...about,
          }
        : kind === 1
          ? {
              kind: "product",
              product: {} as CudaProduct,
              library,
              a: word,
              b: word,
              c: word,
              bias: undefined,
              added: undefined,
              ...about,
            }
          : { kind: "host", run, ...about };
    builder.launches.push(given);
    const others = builder.launches.flatMap((l, at) => (at < i && (l.lane ?? 0) !== lane ? [at] : []));
    const waits =
      others.length === 0 ? [] : Array.from({ length: pick(3) }, () => others[pick(others.length)]!);
    builder.order(i, lane, waits);
  }
  return { frame: new Frame(engine, builder, 1), streams, engine, early, fail: (i) => (failing = i) };
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

test.each([1, 2, 3])("streams follow lanes, and events what is waited for (seed %i)", (seed) => {
  const count = 60;
  const { frame, streams, engine, early } = branchedFrame(seed, count);
  const { launches } = frame;
  const wanted = launches.map((): Set<number> => new Set());
  launches.forEach(({ lane, waits }, i) => {
    const before = launches.findLastIndex((l, k) => k < i && l.lane === lane);
    for (const p of [...waits!, ...(before < 0 ? [] : [before])])
      for (const q of [p, ...wanted[p]!]) wanted[i]!.add(q);
  });
  expect(new Set(launches.map((l) => l.lane)).size).toBe(4);
  let first = streams.work(engine.stream) + 1;
  for (let run = 0; run < 3; run++) {
    frame.run();
    launches.forEach(({ lane, waits }, i) => {
      // All that was there before the run, and no more of the run than what was asked for.
      const expected = [...numbers(0, first), ...[...wanted[i]!].map((p) => first + p)];
      expect([...streams.behind[first + i]!].toSorted((a, b) => a - b)).toEqual(
        expected.toSorted((a, b) => a - b),
      );
      const same = launches.findLastIndex((l, k) => k < i && l.lane === lane);
      if (waits!.length > 0 || launches[same]?.kind !== "kernel") expect(!!early[first + i]).toBe(false);
    });
    // What comes behind on the device's stream is behind all of it.
    const last = streams.work(engine.stream);
    expect(last).toBe(first + count);
    expect(streams.behind[last]!.size).toBe(last);
    first = last + 1;
  }
  expect(early.filter(Boolean).length).toBeGreaterThan(10);
});

test("what comes behind a run that failed is behind all that it launched", () => {
  const { frame, streams, engine, fail } = branchedFrame(7, 60);
  const at = frame.launches.findLastIndex(({ kind }) => kind === "kernel");
  fail(at);
  expect(() => frame.run()).toThrow(new RegExp(`step ${at} .*cannot be launched`));
  expect(streams.behind[streams.work(engine.stream)]!.size).toBe(at);
});

test("a run that is watched goes to one stream, and says when a launch is under way", () => {
  const { frame, streams, engine, early } = branchedFrame(5, 40);
  const told: (readonly [number, number])[] = [];
  engine.watch = (of, { step }, endsStep) => {
    expect([of, endsStep]).toEqual([frame, true]);
    told.push([step, streams.behind.length]);
  };
  frame.run();
  expect(told).toEqual(numbers(0, 40).map((i) => [i, i + 1]));
  expect(new Set(streams.streamOf)).toEqual(new Set([engine.stream]));
  expect(early.some(Boolean)).toBe(false);
});
