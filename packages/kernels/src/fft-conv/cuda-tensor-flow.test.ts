import { describe, expect, it } from "vitest";
import type { CudaLowering, CudaStep, CudaTarget } from "../cuda-step.ts";
import { denseView, H100 } from "../cuda-targets.ts";
import { fftConvCuda } from "./cuda.ts";

interface Case {
  readonly length: number;
  readonly batch: number;
  readonly channels: number;
  readonly circular?: boolean;
  readonly gated?: boolean;
}

/** The launches of a convolution and the bytes of its temporaries. */
function lowered(
  { length, batch, channels, circular = true, gated = false }: Case,
  target: CudaTarget,
): Required<CudaLowering> {
  const u = denseView("f16", batch, channels, length);
  const gates = gated ? (["preGate", "postGate"] as const) : [];
  const answer = fftConvCuda.lower(
    {
      inputs: [u, denseView("f32", channels, length), ...gates.map(() => u)],
      outputs: [u],
      params: { layout: "bdl", circular, origin: 0, adjoint: false, inputs: ["u", "k", ...gates] },
    },
    target,
  );
  if (typeof answer === "string") throw new Error(answer);
  return { steps: answer.steps, temps: answer.temps ?? [] };
}

const flowOf = ({ steps }: CudaLowering): CudaStep | undefined =>
  (steps as CudaStep[]).find(({ kernel }) => kernel.entry === "convolve_flow");

describe("convolutions through the second-level cache", () => {
  it("need scratch of half the cache at most, whatever the batch", () => {
    for (const length of [2 ** 18, 300_001, 2 ** 20, 2 ** 21])
      for (const [batch, channels] of [
        [1, 1],
        [2, 1],
        [7, 3],
        [64, 250],
      ] as const)
        for (const circular of [false, true]) {
          const call = lowered({ length, batch, channels, circular }, H100);
          const flow = flowOf(call)!;
          const [slots, lag] = [flow.args[21] as number, flow.args[22] as number];
          expect(slots).toBeLessThanOrEqual(batch * channels);
          // Rows go through before their columns go back.
          expect(lag).toBeLessThan(slots);
          const scratch = call.temps[(flow.args[8] as { temp: number }).temp]!;
          expect(scratch).toBe(4 * 2 ** Math.ceil(Math.log2(length)) * slots);
          expect(scratch).toBeLessThanOrEqual(H100.cacheBytes / 2);
          expect(flow.sharedBytes).toBeLessThan(H100.sharedLimit);
        }
  });

  it("are passes of their own where three transforms do not fit", () => {
    const million: Case = { length: 2 ** 20, batch: 8, channels: 48 };
    expect(flowOf(lowered(million, H100))).toBeDefined();
    expect(flowOf(lowered({ ...million, length: 2 ** 22 }, H100))).toBeUndefined();
    expect(flowOf(lowered(million, { ...H100, cacheBytes: 16 * 1024 ** 2 }))).toBeUndefined();
    // And where the shared memory is too small.
    expect(flowOf(lowered(million, { ...H100, arch: 86, sharedLimit: 101_376 }))).toBeUndefined();
  });

  it("leave room for a gate", () => {
    const slots = (gated: boolean): number =>
      flowOf(lowered({ length: 2 ** 20, batch: 8, channels: 4, gated }, H100))!.args[21] as number;
    expect(slots(true)).toBeLessThan(slots(false));
  });
});
