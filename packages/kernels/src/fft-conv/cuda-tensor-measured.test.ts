import { describe, expect, it } from "vitest";
import type { CudaLowering, CudaStep, CudaTarget } from "../cuda-step.ts";
import { denseView, H100 } from "../cuda-targets.ts";
import { fftConvBackwardCuda } from "./cuda.ts";

interface Case {
  readonly length: number;
  readonly batch?: number;
  readonly channels?: number;
  readonly circular?: boolean;
  readonly gated?: boolean;
}

/** The launches of gradients of a convolution. */
function gradientsOf(
  { length, batch = 4, channels = 3, circular = true, gated = false }: Case,
  target: CudaTarget,
): CudaLowering {
  const u = denseView("f16", batch, channels, length);
  const k = denseView("f32", channels, length);
  const inputs = gated ? ["u", "k", "preGate", "dy"] : ["u", "k", "dy"];
  const params = { layout: "bdl", circular, origin: 0, adjoint: false, inputs, wanted: ["u", "k"] } as const;
  const answer = fftConvBackwardCuda.lower(
    { inputs: inputs.map((name) => (name === "k" ? k : u)), outputs: [u, k], params } as Parameters<
      typeof fftConvBackwardCuda.lower
    >[0],
    target,
  );
  if (typeof answer === "string") throw new Error(answer);
  return answer;
}

const named = ({ steps }: CudaLowering, entry: string): CudaStep[] =>
  (steps as CudaStep[]).filter(({ kernel }) => kernel.entry === entry);

describe("sequences that are measured and transformed in one launch", () => {
  it("have columns behind all that they wait for, and room for their counters", () => {
    for (const length of [2 ** 18, 300_001, 2 ** 20])
      for (const [batch, channels] of [
        [1, 1],
        [5, 2],
        [64, 250],
      ] as const)
        for (const circular of [false, true]) {
          const call = gradientsOf({ length, batch, channels, circular }, H100);
          const launches = named(call, "measured_columns");
          expect(launches.length).toBeGreaterThanOrEqual(2);
          for (const { args, block, sharedBytes } of launches) {
            const [inRound, transforms, ahead] = args.slice(9) as number[] as [number, number, number];
            const paired = circular && Number.isInteger(Math.log2(length));
            // Parts that the sequences of a transform are measured in.
            const parts = 2 ** Math.ceil(Math.log2(length)) / (32 * block[0]);
            expect(ahead).toBeGreaterThan(parts + 2 * H100.processors);
            expect(ahead * block[0] * (paired ? 128 : 64)).toBeLessThan(H100.cacheBytes / 2);
            expect(2 * sharedBytes!).toBeLessThan(H100.sharedLimit);
            const counters = args[3] as { readonly temp: number; readonly byteOffset: number };
            expect(counters.temp).toBe((args[2] as { readonly temp: number }).temp);
            expect(counters.byteOffset).toBe(128 * batch * inRound);
            expect(call.temps![counters.temp]).toBeGreaterThanOrEqual(
              counters.byteOffset + 4 * (1 + transforms),
            );
          }
          // Nothing of what they count is left from another call.
          expect(named(call, "clear_counters")).toHaveLength(launches.length);
        }
  });

  it("are not where the cache or the shared memory is too small, or with gates", () => {
    const million: Case = { length: 2 ** 20 };
    const count = (c: Case, target: CudaTarget): number =>
      named(gradientsOf(c, target), "measured_columns").length;
    expect(count(million, H100)).toBe(2);
    expect(count({ length: 2 ** 22 }, H100)).toBe(0);
    expect(count(million, { ...H100, cacheBytes: 16 * 1024 ** 2 })).toBe(0);
    expect(count(million, { ...H100, arch: 80, sharedLimit: 166_912 })).toBe(0);
    // Only u has a gate.
    expect(count({ ...million, gated: true }, H100)).toBe(1);
  });
});

it("gradients of two circular filters are the parts of a transform, each with its own unit", () => {
  for (const length of [2 ** 15, 2 ** 20]) {
    const call = gradientsOf({ length, batch: 40 }, H100);
    const [rows] = named(call, "gradient_rows");
    const [columns] = named(call, length === 2 ** 15 ? "gradient_columns" : "columns_of_gradient");
    expect(rows!.kernel.key).toContain('"PACKED":1');
    expect(columns!.kernel.key).toContain('"PACKED":1');
    expect(columns!.grid[1]).toBe(2);
    // Exponents of the units, and how many parts of the batch have one.
    expect(columns!.args.slice(9)).toEqual([rows!.args[1], rows!.args[3]]);
  }
});
