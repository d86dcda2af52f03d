import "@everlong/device-cpu";
import {
  abs,
  compile,
  device,
  gradients,
  max,
  random,
  sub,
  sum,
  withDevice,
  type Tensor,
} from "@everlong/core";
import { describe, expect, test } from "vitest";
import { MultiHeadAttention, type MultiHeadAttentionOptions } from "./attention.ts";
import {
  butterflyBlocks,
  firstBlocks,
  listedBlocks,
  localBlocks,
  stridedBlocks,
  unionOfBlocks,
  type BlockPattern,
} from "./block-patterns.ts";

const square = (count: number, side = 4) => ({
  rows: count,
  columns: count,
  size: { queries: side, keys: side },
});
const distance = (a: Tensor, b: Tensor): Promise<number> => max(abs(sub(a, b))).item();

describe("patterns of blocks", () => {
  test("local, strided, first and their union", () => {
    expect(localBlocks(1)(square(4))).toEqual([
      [0, 1],
      [0, 1, 2],
      [1, 2, 3],
      [2, 3],
    ]);
    expect(localBlocks(2, 0)(square(3))).toEqual([[0], [0, 1], [0, 1, 2]]);
    expect(stridedBlocks(3)(square(6))[0]).toEqual([2, 5]);
    expect(unionOfBlocks(localBlocks(0), firstBlocks(1))(square(3))).toEqual([[0], [0, 1], [0, 2]]);
    expect(listedBlocks([[0], [5, 1], [2]])(square(2))).toEqual([[0], [5, 1]]);
    expect(() => listedBlocks([[0]])(square(2))).toThrow(/too few/);
  });

  test("the butterfly lists numbers that differ in one digit; log2(n) layers reach everything", () => {
    const lists = butterflyBlocks()(square(8));
    expect(lists[5]).toEqual([1, 4, 5, 7]);
    expect(butterflyBlocks(1)(square(8))[5]).toEqual([4, 5]);
    let reached = new Set([3]);
    for (let layer = 0; layer < 3; layer++) reached = new Set([...reached].flatMap((r) => [...lists[r]!]));
    expect(reached.size).toBe(8);
  });

  test("blocks that are no squares see what their units see", () => {
    const grid = { rows: 6, columns: 2, size: { queries: 16, keys: 48 } };
    expect(localBlocks(0)(grid)).toEqual([[0], [0], [0], [1], [1], [1]]);
    // rows of 6 against columns of 4: the second row covers units that columns 1 and 2 overlap
    const uneven = { rows: 2, columns: 3, size: { queries: 6, keys: 4 } };
    expect(localBlocks(0)(uneven)).toEqual([
      [0, 1],
      [1, 2],
    ]);
  });

  test.each<[string, BlockPattern]>([
    ["local", localBlocks(2)],
    ["strided", stridedBlocks(3)],
    ["butterfly", butterflyBlocks()],
  ])("%s: a longer sequence adds blocks and changes none", (_, pattern) => {
    const short = pattern(square(5));
    const long = pattern(square(11)).slice(0, 5);
    expect(long.map((list) => list.filter((c) => c < 5))).toEqual(short);
  });
});

describe("MultiHeadAttention over blocks", () => {
  const make = (more: Partial<MultiHeadAttentionOptions>): MultiHeadAttention =>
    new MultiHeadAttention({ key: random.key(1), dim: 8, heads: 2, ...more });

  test("all blocks are dense attention; each head follows its pattern", () =>
    withDevice("reference", async () => {
      const x = random.normal(random.key(2), [2, 21, 8]);
      const size = { queries: 5, keys: 3 };
      const everything = localBlocks(100);
      const dense = make({}).forward(x);
      expect(await distance(make({ blocks: { size, pattern: everything } }).forward(x), dense)).toBeLessThan(
        1e-13,
      );
      const layer = make({ causal: false, blocks: { size, pattern: [everything, localBlocks(0)] } });
      const weights = (await layer.weights(x).toArray()) as number[][][][];
      const listed = localBlocks(0)({ rows: 5, columns: 7, size });
      for (let i = 0; i < 21; i++)
        for (let j = 0; j < 21; j++) {
          expect(weights[1]![0]![i]![j]).toBeGreaterThan(0);
          const seen = listed[Math.floor(i / 5)]!.includes(Math.floor(j / 3));
          expect(weights[1]![1]![i]![j]! > 0, `${i} ${j}`).toBe(seen);
        }
      expect(() => make({ blocks: { size, pattern: [everything, everything, everything] } })).toThrow(
        /do not fit the heads/,
      );
    }));

  test("rows that see nothing give zeros in a forward pass and in steps alike", () =>
    withDevice("reference", async () => {
      const x = random.normal(random.key(3), [1, 9, 8]);
      const blocks = { size: { queries: 3, keys: 3 }, pattern: stridedBlocks(2) };
      const layer = make({ blocks, outBias: false });
      const y = layer.forward(x);
      // causal rows 0 .. 2 see no block
      expect(await max(abs(y.narrow(1, 0, 3))).item()).toBe(0);
      let { state } = layer.prefill(x.narrow(1, 0, 1), { capacity: 9 });
      for (let t = 1; t < 9; t++) {
        const step = layer.step(x.narrow(1, t, t + 1).reshape([1, 8]), state);
        expect(await distance(step.y, y.narrow(1, t, t + 1).reshape([1, 8]))).toBeLessThan(1e-13);
        state = step.state;
      }
    }));

  // What a compiled step holds: arena, the kernels' temporaries and their scratch.
  test("memory of forward and backward grows like the length", () =>
    withDevice("cpu", async () => {
      const blocks = {
        size: { queries: 32, keys: 32 },
        pattern: unionOfBlocks(localBlocks(2), firstBlocks(1)),
      };
      const held = async (length: number): Promise<number> => {
        const layer = make({ blocks });
        const x = random.normal(random.key(4), [1, length, 8]);
        await x.data();
        const step = compile((t: Tensor) => gradients(sum(layer.forward(t).square()), [t])[0]!);
        const before = device("cpu").stats.liveBytes;
        const y = step(x);
        await y.data();
        const bytes = device("cpu").stats.liveBytes - before;
        step.dispose();
        return bytes;
      };
      const [short, long] = [await held(1024), await held(8192)];
      expect(short).toBeGreaterThan(0);
      expect(long / short).toBeLessThan(9);
      // one float for every pair of positions would be 256 MiB a head
      expect(long).toBeLessThan(16 * 2 ** 20);
    }));
});
