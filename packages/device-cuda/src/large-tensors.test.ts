// Tensors of more elements than 32 bits count, and arenas of more bytes: what is generated, and what is refused.

import { expect, test } from "vitest";
import {
  argmax,
  cast,
  compile,
  contiguousView,
  iota,
  matmul,
  mul,
  permute,
  registerDevice,
  sum,
  tensor,
  withDevice,
  type DType,
  type Executable,
  type FusedStep,
  type Program,
  type Tensor,
} from "@everlong/core";
import {
  attentionGradOp,
  blockSparseAttentionGradOp,
  gateOp,
  shortConv,
  shortConvOp,
} from "@everlong/kernels";
import { H100, type CudaStep } from "@everlong/kernels/cuda";
import { layOut } from "./layout.ts";
import type { Lowered } from "./lowered.ts";
import { LoweringDevice } from "./lowering-device.ts";
import { lower } from "./lowering.ts";
import type { Runtime } from "./runtime.ts";

/** Keeps the programs that it loads, and gives no memory to what they make. */
class Recorder extends LoweringDevice {
  readonly programs: Program[] = [];

  override load(program: Program): Executable {
    this.programs.push(program);
    return super.load({ ...program, steps: [] });
  }

  protected override fresh(): Float32Array {
    return new Float32Array(0);
  }
}

/** The steps of a program of a scalar. */
function programOf(fn: (x: Tensor) => Tensor): Program {
  const recorder = new Recorder({ computes: false });
  registerDevice(recorder.name, () => recorder);
  return withDevice(recorder, () => {
    const x = tensor(new Float32Array([2]), []);
    compile(fn)(x);
    return recorder.programs.at(-1)!;
  });
}

const loweredOf = (program: Program): Lowered[] =>
  program.steps.map((step) => {
    const answer = step.kind === "scan" ? "a scan" : lower(step, H100);
    if (typeof answer === "string") throw new Error(answer);
    return answer;
  });
const kernelsOf = (lowered: readonly Lowered[]): CudaStep[] =>
  lowered.flatMap((l) =>
    l.steps.flatMap((s) => ("library" in s ? (s.otherwise as readonly CudaStep[]) : [s])),
  );
/** Of generated kernels. */
const textsOf = (fn: (x: Tensor) => Tensor): string[] =>
  kernelsOf(loweredOf(programOf(fn)))
    .filter((s) => ["loop", "reduce"].includes(s.kernel.entry))
    .map((s) => s.kernel.source());

const [SMALL, LARGE] = [2 ** 30, 3 * 2 ** 30];

test.each([
  ["loops", (n: number) => (x: Tensor) => mul(x.broadcastTo([n]), 3)],
  [
    "transposes",
    (n: number) => (x: Tensor) => permute(x.add(1).broadcastTo([n / 1024, 1024]), [1, 0]).mul(2),
  ],
  ["sums", (n: number) => (x: Tensor) => sum(x.broadcastTo([n / 1024, 1024]).cumsum(1), 1)],
  [
    "maxima of columns",
    (n: number) => (x: Tensor) =>
      x
        .broadcastTo([n / 1024, 1024])
        .cumsum(1)
        .max(0),
  ],
])("%s of more than 2^31 elements count with 64 bits, others do not", (_, fn) => {
  const isWide = (text: string): boolean => /\bi64\b|wide\(/.test(text);
  expect(textsOf(fn(SMALL)).filter(isWide)).toEqual([]);
  expect(textsOf(fn(LARGE)).filter(isWide)).not.toEqual([]);
});

test("positions along an axis of more than 2^31 become floats as they are", () => {
  const positions = (n: number, dtype: DType) => (x: Tensor) => iota([n], 0, { dtype }).mul(cast(x, dtype));
  expect(textsOf(positions(SMALL, "f32"))[0]).toContain("(float)(int)(");
  expect(textsOf(positions(LARGE, "f32"))[0]).toContain("(float)(i64)(");
  expect(() => textsOf(positions(LARGE, "i32"))).toThrow("do not fit 32-bit integers");
  expect(textsOf((x) => sum(iota([LARGE], 0, { dtype: "f32" }).mul(x)))[0]).toContain("(float)(i64)(");
});

test("sizes of a product may be beyond 32 bits", () => {
  const dot = (x: Tensor): Tensor =>
    matmul(x.add(1).broadcastTo([1, LARGE]).mul(x), x.broadcastTo([LARGE, 1]).mul(x));
  const product = loweredOf(programOf(dot))
    .find((l) => l.name === "matmul")!
    .steps.at(-1)!;
  expect(product).toMatchObject({ library: "gemm", m: 1, n: 1, k: LARGE });
  expect((product as { otherwise: readonly CudaStep[] }).otherwise[0]!.args.slice(3, 6)).toEqual([
    1,
    1,
    LARGE,
  ]);
});

test("along an axis whose positions have no 32-bit number there is no greatest", () => {
  expect(() => programOf((x) => argmax(x.broadcastTo([LARGE]).mul(x), 0))).toThrow(
    /positions along the axis/,
  );
});

/** Fused ops by their operands. */
function fused(
  op: { readonly def: FusedStep["def"] },
  inputs: readonly (readonly [DType, readonly number[]])[],
  params: unknown,
): Lowered | string {
  const types = inputs.map(([dtype, shape]) => ({ dtype, shape }));
  const operands = [...types, ...op.def.shape(types, params as never)].map(({ dtype, shape }, buffer) => ({
    buffer,
    dtype,
    view: contiguousView(shape),
  }));
  const step: FusedStep = {
    kind: "fused",
    def: op.def,
    params,
    inputs: operands.slice(0, inputs.length),
    outputs: operands.slice(inputs.length),
  };
  return lower(step, H100);
}

test("fused ops take tensors of more than 2^31 elements, but no axis that 32 bits do not number", () => {
  const short = (batch: number, length: number): Lowered | string =>
    fused(
      shortConvOp,
      [
        ["bf16", [batch, 8, length]],
        ["f32", [8, 3]],
      ],
      { layout: "bdl", silu: false, inputs: ["x", "w"] },
    );
  const wide = short(4, 2 ** 28);
  if (typeof wide === "string") throw new Error(wide);
  expect(kernelsOf([wide])[0]!.grid[0]).toBe(2 ** 22);
  expect(short(1, 2 ** 31)).toBe("an axis of 2147483648 is longer than 2147479552");
  const gate = fused(
    gateOp,
    [
      ["f32", [3, 2 ** 30]],
      ["f32", [3, 2 ** 30]],
    ],
    { activation: "silu" },
  );
  expect(kernelsOf([gate as Lowered])[0]!.kernel.key).toContain("u32 Index");
});

test("what a fused op refuses runs as its primitives", () => {
  const steps = (length: number): string[] => {
    const conv = (x: Tensor): Tensor =>
      shortConv(x.broadcastTo([1, length, 1]).mul(x), x.broadcastTo([1, 2]));
    return programOf((x) => sum(conv(x))).steps.map((s) => s.kind);
  };
  expect(steps(2 ** 30)).toContain("fused");
  expect(steps(2 ** 31)).not.toContain("fused");
});

test("attention says which sequences and lists are too long", () => {
  const params = { left: 8, right: 0, scale: 1, softCap: 0, inputs: ["q", "k", "v", "dy", "lse", "delta"] };
  const head = (length: number): readonly [DType, readonly number[]] => ["bf16", [1, length, 1, 16]];
  const row = (length: number): readonly [DType, readonly number[]] => ["f32", [1, 1, length]];
  const of = (length: number): (readonly [DType, readonly number[]])[] => [
    ...Array.from({ length: 4 }, () => head(length)),
    row(length),
    row(length),
  ];
  expect(fused(attentionGradOp, of(2 ** 29 + 8), params)).toBe(
    "sequences of 536870920 are longer than 536870912",
  );
  const lists = [...of(2 ** 22), ["i32", [1, 2 ** 19 + 1]], ["i32", [2 ** 19]]] as const;
  const listed = { ...params, blockSize: [8, 8], inputs: [...params.inputs, "blockStarts", "blockColumns"] };
  expect(fused(blockSparseAttentionGradOp, lists, listed)).toBe(
    "lists whose turned ones have more than 2^31 words",
  );
});

test("temporaries lie above 4 GiB of an arena, and words hold their addresses", () => {
  const program = programOf((x) => {
    const parts = Array.from({ length: 6 }, (_, i) =>
      x
        .add(i)
        .broadcastTo([2 ** 29])
        .mul(x)
        .cumsum(0),
    );
    return sum(parts.reduceRight((a, b) => b.add(a).cumsum(0)));
  });
  const device = {
    engine: { driver: {}, stream: 0, beside: { streams: [], events: [] }, overlaps: true, launches: 0 },
    kernels: { prepare: () => {}, get: () => ({ handle: 0 }) },
    target: H100,
    table: () => 0,
  } as unknown as Runtime;
  const { frame, bindArena, arenaBytes } = layOut(device, program, []);
  expect(arenaBytes).toBeGreaterThan(10 * 2 ** 30);
  const arena = 0x7f_1234_0000_00;
  bindArena(arena);
  const { view, patches } = frame as unknown as {
    view: DataView;
    patches: readonly (readonly { at: number; offset: number }[])[];
  };
  let high = 0;
  program.buffers.forEach(({ role }, i) => {
    if (role.kind !== "temp") return;
    expect(frame.addresses[i]! - arena).toBeLessThan(arenaBytes);
    for (const { at, offset } of patches[i]!) {
      expect(Number(view.getBigUint64(at, true))).toBe(frame.addresses[i]! + offset);
      high += frame.addresses[i]! - arena > 2 ** 32 ? 1 : 0;
    }
  });
  expect(high).toBeGreaterThan(3);
});
