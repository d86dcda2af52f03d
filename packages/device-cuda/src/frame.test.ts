import { expect, test } from "vitest";
import { TILE_MAP_WORDS, type CudaTileMap } from "@everlong/kernels/cuda";
import { Frame, FrameBuilder, type Engine } from "./frame.ts";
import type { Kernel } from "./kernel-cache.ts";
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
