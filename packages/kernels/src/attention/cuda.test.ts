import { expect, test } from "vitest";
import type { CudaCall, CudaLowering, CudaStep, CudaView } from "../cuda-step.ts";
import { A100, denseView, H100 } from "../cuda-targets.ts";
import { headsTogether, wordIndices } from "./cuda-call.ts";
import { attentionCuda, attentionGradCuda } from "./cuda.ts";
import type { AttentionGradParams, AttentionInput, AttentionParams } from "./op.ts";

const view = (shape: readonly number[], dtype: CudaView["dtype"]): CudaView => ({
  ...denseView(dtype, ...shape),
  aligned: true,
});

interface Case {
  readonly dtype?: CudaView["dtype"];
  readonly time?: number;
  readonly size?: number;
  readonly params?: Partial<AttentionParams>;
  readonly more?: readonly AttentionInput[];
}

function forward({
  dtype = "bf16",
  time = 1024,
  size = 64,
  params,
  more = [],
}: Case): CudaCall<AttentionParams> {
  const x = view([2, time, 4, size], dtype);
  return {
    inputs: [x, x, x, ...more.map((name) => view([2], name === "slopes" ? "f32" : "i32"))],
    outputs: [x, view([2, 4, time], "f32")],
    params: { left: -1, right: 0, scale: 0.1, softCap: 0, inputs: ["q", "k", "v", ...more], ...params },
  };
}

function backward(given: Case): CudaCall<AttentionGradParams> {
  const call = forward(given);
  const [x, rows] = call.outputs as [CudaView, CudaView];
  return {
    inputs: [...call.inputs.slice(0, 3), x, rows, rows],
    outputs: [x, x, x],
    params: { ...call.params, inputs: ["q", "k", "v", "dy", "lse", "delta"] },
  };
}

const entries = (lowered: CudaLowering | string): string[] =>
  typeof lowered === "string" ? [lowered] : lowered.steps.map((s) => (s as CudaStep).kernel.entry);

test("wgmma serves halves on sm_90, mma.sync everything else", () => {
  const chosen = (given: Case, target = H100): string =>
    entries(attentionCuda.lower(forward(given), target))[0]!;
  for (const given of [
    {},
    { size: 128, dtype: "f16" },
    { time: 3 },
    { size: 8 },
    { time: 333, size: 80 },
  ] as const)
    expect(chosen(given)).toBe("attention_wgmma");
  for (const more of [["keyLengths"], ["keyLengths", "queryLengths"]] as const)
    expect(chosen({ more })).toBe("attention_wgmma");
  const others: Case[] = [
    { dtype: "f32" },
    { size: 60, time: 60 },
    { params: { softCap: 3 } },
    { params: { scale: -1 } },
    { more: ["slopes"] },
  ];
  for (const given of others) expect(chosen(given)).toBe("attention");
  expect(chosen({}, A100)).toBe("attention");
  expect(chosen({ size: 129 })).toContain("129");
  expect(entries(attentionGradCuda.lower(backward({ time: 7 }), H100))[0]).toBe("attention_query_grad");
});

/** One query head group after the other: `queries` of them over `keys`. */
const few = (
  queries: number,
  keys: number,
  heads: number,
  target = H100,
  params: Partial<AttentionParams> = {},
): CudaLowering => {
  const kv = view([2, keys, 4, 64], "bf16");
  const call: CudaCall<AttentionParams> = {
    inputs: [view([2, queries, heads, 64], "bf16"), kv, kv],
    outputs: [view([2, queries, heads, 64], "bf16"), view([2, heads, queries], "f32")],
    params: { left: -1, right: 0, scale: 0.1, softCap: 0, inputs: ["q", "k", "v"], ...params },
  };
  return attentionCuda.lower(call, target) as CudaLowering;
};
const gridOf = (lowered: CudaLowering): readonly number[] => (lowered.steps[0] as CudaStep).grid;

test("rows that the copy engine cannot read go through copies", () => {
  const lowered = attentionCuda.lower(forward({ size: 60, time: 4096 }), H100) as CudaLowering;
  expect(entries(lowered)).toEqual(["attention_widen", "attention_wgmma", "attention_narrow"]);
  const rows = 2 * 4096 * 4;
  expect(lowered.temps).toEqual(Array.from({ length: 4 }, () => rows * 64 * 2));
  // q, k and v: 10 words each; a thread 8 elements of a padded row.
  const [widen, multiply, narrow] = lowered.steps as CudaStep[];
  expect(widen!.args.length).toBe(30);
  expect(widen!.args.slice(0, 10)).toEqual([
    { input: 0 },
    { temp: 0 },
    4096 * 240,
    240,
    60,
    4096,
    4,
    60,
    64,
    rows,
  ]);
  expect(widen!.grid).toEqual([(rows * 8) / 256, 3, 1]);
  expect(multiply!.args[0]).toMatchObject({ temp: 0, map: { sizes: [64, 4096, 4, 2] } });
  expect(narrow!.grid).toEqual([(rows * 60) / 256, 1, 1]);

  const strided = forward({ time: 4096 });
  const off = { ...strided, inputs: strided.inputs.map((x, i) => (i === 1 ? { ...x, aligned: false } : x)) };
  expect(entries(attentionCuda.lower(off, H100))[0]).toBe("attention_widen");
  const given = backward({ size: 20, time: 1000 });
  const gradient = attentionGradCuda.lower(given, H100) as CudaLowering;
  expect(entries(gradient).at(0)).toBe("attention_widen");
  expect(entries(gradient).at(-1)).toBe("attention_narrow");
});

test("few queries share long keys between blocks, and one query its keys between heads", () => {
  // 2 sequences of 4 key heads; 16 query heads are 4 rows of each.
  expect(gridOf(few(1, 8192, 16, A100))).toEqual([8, 27, 1]);
  expect(entries(few(1, 8192, 16, A100))).toEqual(["attention", "attention_parts"]);
  expect(gridOf(few(1, 8192, 16, A100, { left: 100 }))).toEqual([32, 1, 1]);
  expect(gridOf(few(1, 8192, 16, A100, { left: 1000 }))).toEqual([32, 3, 1]);
  expect(entries(few(1, 400, 4, A100))).toEqual(["attention"]);

  expect(entries(few(1, 8192, 16))).toEqual(["attention_wgmma", "attention_parts"]);
  const parts = gridOf(few(1, 8192, 16))[0]! / 8;
  expect(parts).toBeGreaterThan(8);
  expect(few(1, 8192, 16).temps).toEqual([parts * 32 * 64 * 4, parts * 32 * 4]);
  expect(entries(few(1, 60, 4))).toEqual(["attention_wgmma"]);
  // Enough tiles keep all multiprocessors busy.
  expect(entries(few(8192, 8192, 16))).toEqual(["attention_wgmma"]);
});

test("key heads that many query heads share are cut by heads, and long walks of few tiles by steps", () => {
  const of = (time: number, heads: number, keyHeads: number, deterministic = false): CudaLowering => {
    const x = view([1, time, heads, 128], "bf16");
    const kv = view([1, time, keyHeads, 128], "bf16");
    const rows = view([1, heads, time], "f32");
    return attentionGradCuda.lower(
      {
        inputs: [x, kv, kv, x, rows, rows],
        outputs: [x, kv, kv],
        params: {
          left: -1,
          right: 0,
          scale: 0.1,
          softCap: 0,
          deterministic,
          inputs: ["q", "k", "v", "dy", "lse", "delta"],
        },
      },
      H100,
    ) as CudaLowering;
  };
  const whole = ["attention_grad_start", "attention_grad_wgmma", "attention_grad_finish"];
  expect(entries(of(8192, 32, 32))).toEqual(whole);
  expect(entries(of(4096, 32, 1))).toEqual([...whole, "attention_grad_join"]);
  expect(entries(of(2048, 4, 4))).toEqual([...whole, "attention_grad_join"]);
  // One tile of keys leaves queries where they belong.
  expect(entries(of(128, 64, 64))).toEqual(whole.slice(0, 2));
  const { temps } = of(4096, 32, 1, true);
  expect(temps!.length).toBe(6);
  expect(temps![4]! % (4096 * 128 * 4)).toBe(0);
  expect(temps![4]! / (4096 * 128 * 4)).toBeGreaterThan(3);
});

test("lists of blocks have tiles that do not cross them, and are turned round for the keys", () => {
  const x = view([1, 300, 2, 64], "f16");
  const lists = [view([2, 4], "i32"), view([9], "i32")];
  const params = { left: -1, right: -1, scale: 0.1, softCap: 0, blockSize: [100, 40] as const };
  const rows = view([1, 2, 300], "f32");
  const lowered = attentionGradCuda.lower(
    {
      inputs: [x, x, x, x, rows, rows, ...lists],
      outputs: [x, x, x],
      params: { ...params, inputs: ["q", "k", "v", "dy", "lse", "delta", "blockStarts", "blockColumns"] },
    },
    H100,
  ) as CudaLowering;
  expect(entries(lowered)).toEqual([
    "attention_query_grad",
    "attention_marks_clear",
    "attention_marks",
    "attention_key_grad",
  ]);
  const grids = lowered.steps.map((s) => (s as CudaStep).grid[0]);
  // 3 rows of 2 tiles and 8 columns of 1 tile, of 2 heads each.
  expect([grids[0], grids[3]]).toEqual([12, 16]);
  // A word of rows for each column and head.
  expect(lowered.temps).toEqual([4 * 8 * 2]);
});

test("lists of blocks go to wgmma where blocks of queries are its own, and no word of a launch is missing", () => {
  const x = view([1, 512, 2, 64], "f16");
  const rows = view([1, 2, 512], "f32");
  const lists = [view([1, 9], "i32"), view([20], "i32")];
  const of = (blockSize: readonly [number, number], deterministic = false): CudaLowering => {
    const params = { left: -1, right: 0, scale: 0.1, softCap: 0, blockSize, deterministic };
    const inputs = ["blockStarts", "blockColumns"] as const;
    const forwards = attentionCuda.lower(
      {
        inputs: [x, x, x, ...lists],
        outputs: [x, rows],
        params: { ...params, inputs: ["q", "k", "v", ...inputs] },
      },
      H100,
    ) as CudaLowering;
    const backwards = attentionGradCuda.lower(
      {
        inputs: [x, x, x, x, rows, rows, ...lists],
        outputs: [x, x, x],
        params: { ...params, inputs: ["q", "k", "v", "dy", "lse", "delta", ...inputs] },
      },
      H100,
    ) as CudaLowering;
    for (const step of [...forwards.steps, ...backwards.steps] as CudaStep[])
      expect(step.args).not.toContain(undefined);
    expect(entries(forwards)).toEqual(["attention_wgmma"]);
    return backwards;
  };
  expect(entries(of([64, 64]))).toEqual([
    "attention_marks_clear",
    "attention_marks",
    "attention_grad_start",
    "attention_grad_wgmma",
    "attention_grad_finish",
  ]);
  expect((of([64, 64]).steps[3] as CudaStep).grid).toEqual([16, 1, 1]);
  expect(entries(of([64, 64], true))[0]).toBe("attention_query_grad");
  expect(entries(of([32, 64]))[0]).toBe("attention_query_grad");
});

test("gradients of wide heads in float32 keep their tiles on GPUs with 99 KiB of shared memory a block", () => {
  const tiles = (sharedLimit: number, size: number): number[][] => {
    const lowered = attentionGradCuda.lower(backward({ dtype: "f32", size }), {
      ...A100,
      arch: 86,
      sharedLimit,
    });
    expect(entries(lowered)).toEqual(["attention_query_grad", "attention_key_grad"]);
    return (lowered as CudaLowering).steps.map((s, i) => {
      const { BLOCK, STAGES } = choices(lowered as CudaLowering, i);
      return [BLOCK!, STAGES!, (s as CudaStep).sharedBytes!];
    });
  };
  // 64 rows of k and v and 16 of q and dy, of 132 floats each with what pads them, and two floats for each of the latter.
  for (const size of [128, 121]) {
    const bytes = (64 + 16) * 2 * 132 * 4 + 16 * 8;
    expect(tiles(101_376, size)).toEqual([
      [16, 1, bytes],
      [16, 1, bytes],
    ]);
  }
  expect(tiles(101_376, 120).map(([block, stages]) => [block, stages])).toEqual([
    [32, 1],
    [32, 1],
  ]);
  expect(tiles(166_912, 128)[0]).toEqual([32, 2, (64 + 2 * 32) * 2 * 132 * 4 + 2 * 32 * 8]);
  const none = attentionGradCuda.lower(backward({ dtype: "f32", size: 128 }), {
    ...A100,
    sharedLimit: 49_152,
  });
  expect(none).toMatch(/^needs 84608 bytes of shared memory a block, the GPU has 49152$/);
});

test("the gradient keeps an order of sums where it is asked for", () => {
  const source = (params: Partial<AttentionParams>): string => {
    const lowered = attentionGradCuda.lower(backward({ params }), H100) as CudaLowering;
    return (lowered.steps[1] as CudaStep).kernel.source();
  };
  expect(source({})).toContain("#define ORDERED 0");
  expect(source({ deterministic: true })).toContain("#define ORDERED 1");
  const plain = attentionGradCuda.lower(backward({ dtype: "f32" }), A100);
  expect(entries(plain)).toEqual(["attention_query_grad", "attention_key_grad"]);
});

/** What is defined before the kernel of a step, and the widths of its products. */
function choices(lowered: CudaLowering, step: number): Record<string, number> & { products: number[] } {
  const text = (lowered.steps[step] as CudaStep).kernel.source();
  const defined = [...text.matchAll(/#define (\w+) (\d+)$/gm)].map((m) => [m[1]!, Number(m[2])]);
  const products = [...text.matchAll(/template <> struct Product<(\d+)>/g)].map((m) => Number(m[1]));
  return { ...Object.fromEntries(defined), products };
}

test("products take the columns that heads have, not those of tiles", () => {
  // Head sizes, columns of products, and those of dq that each of two sides multiplies.
  for (const [size, columns, ofSide] of [
    [8, 16, 16],
    [32, 32, 16],
    [40, 48, 32],
    [64, 64, 32],
    [72, 80, 64],
    [112, 112, 64],
    [128, 128, 64],
  ] as const) {
    const forwards = choices(attentionCuda.lower(forward({ size }), H100) as CudaLowering, 0);
    expect([forwards["KEY_COLUMNS"], forwards["VALUE_COLUMNS"]]).toEqual([columns, columns]);
    expect(new Set(forwards.products)).toEqual(new Set([columns, forwards["BLOCK"]]));
    // Long enough that no tile is cut and no block takes whole heads.
    const time = 8192;
    const lowered = attentionGradCuda.lower(backward({ size, time }), H100) as CudaLowering;
    const backwards = choices(lowered, 1);
    expect([backwards["KEY_COLUMNS"], backwards["VALUE_COLUMNS"]]).toEqual([columns, columns]);
    expect(new Set(backwards.products)).toEqual(new Set([columns, ofSide, 64]));
    // Both sides have room for every column, and what brings dq into place reads it there.
    expect(2 * backwards["DQ_COLUMNS"]!).toBeGreaterThanOrEqual(columns);
    expect(choices(lowered, 2)).toMatchObject({ KEY_COLUMNS: columns, DQ_COLUMNS: ofSide });
    expect(lowered.temps![2]).toBe(2 * 4 * time * columns * 4);
  }
});

test("tile maps begin on multiples of 8 words, arguments end on one, and the kernel's indices follow them", () => {
  const lowered = attentionGradCuda.lower(backward({}), H100) as CudaLowering;
  const { args, kernel } = lowered.steps[1] as CudaStep;
  const maps = args.filter((a) => typeof a === "object" && "map" in a);
  expect(args.slice(0, maps.length)).toEqual(maps);
  expect(maps.length).toBe(6);
  const words = args.length + 15 * maps.length;
  expect(words % 8).toBe(0);
  const text = kernel.source();
  expect(text).toContain(`WORDS = ${words} }`);
  expect(text).toMatch(/w_qMap = 0, .*w_kMap = 16, .*w_heads = 96, /);
});

test("heads worked on together divide them, and are few where they are long", () => {
  for (const [count, bytes] of [
    [32, 4e6],
    [12, 1e9],
    [7, 1],
    [1, 1],
    [34, 3e6],
  ] as const) {
    const together = headsTogether(count, bytes);
    expect(count % together).toBe(0);
    expect(together).toBeLessThanOrEqual(Math.max(16, 24e6 / bytes));
  }
  expect(wordIndices(["a", "b"])).toBe("enum { w_a = 0, w_b = 1, WORDS = 2 };");
});
