// CUDA source of linear attention's recurrence, in one walk over time or cut into segments; its gradient is made of the same recurrence.

import { cudaFile } from "../cuda-file.ts";
import { overTwoAxes, type CudaSource, type CudaView, type CudaWord } from "../cuda-step.ts";
import { named } from "../inputs.ts";
import { COLUMNS, segmentCut, segmentSteps, type ScanSizes } from "./cuda-segments.ts";
import type { LinearScanParams } from "./op.ts";

/** Rows of the state that the registers of 8 lanes hold; shared memory holds 16 steps of them. */
const MOST_ROWS = 192;

export const linearScanCuda: CudaSource<LinearScanParams> = {
  lower: ({ inputs, params }, target) => {
    const { a, b, g } = named(params.inputs, inputs) as Readonly<Record<string, CudaView>> & {
      a: CudaView;
      b: CudaView;
    };
    if (a.dtype !== "f32") return `no kernel for ${a.dtype}`;
    const [batch, time, heads, rows] = a.shape as [number, number, number, number];
    const columns = b.shape[3]!;
    if (rows > MOST_ROWS) return `${rows} rows of a state are more than ${MOST_ROWS}`;
    if (batch * heads * columns === 0) return { steps: [] };
    if (rows === 0) return "an empty state";
    const head = [
      `#define ROWS ${Math.ceil(rows / 8) * 8}`,
      `#define DECAY ${g ? (params.decay === "rows" ? 1 : 2) : 0}`,
      `#define REVERSE ${params.reverse ? 1 : 0}`,
    ].join("\n");
    const at = (name: LinearScanParams["inputs"][number]): CudaWord => {
      const input = params.inputs.indexOf(name);
      return input < 0 ? 0 : { input };
    };
    const sizes: ScanSizes = { heads: batch * heads, time, rows, columns, decay: g ? params.decay : "none" };
    const cut = segmentCut(sizes, target.processors);
    if (cut) {
      const [c, initial] = [at("c"), at("initial")];
      const words = { a: at("a"), b: at("b"), c, g: at("g"), initial, heads, reverse: params.reverse };
      return segmentSteps(sizes, words, cut);
    }
    return {
      steps: [
        {
          kernel: {
            key: `linear-scan ${head}`,
            entry: "linear_scan",
            source: () => `${head}\n${cudaFile("gated-linear-attention/kernel.cu")}`,
          },
          args: [
            ...(["a", "b", "c", "g", "initial"] as const).map(at),
            { output: 0 },
            { output: 1 },
            time,
            heads,
            rows,
            columns,
            batch * heads,
          ],
          grid: [Math.ceil(columns / COLUMNS), ...overTwoAxes(batch * heads)],
          block: [256, 1, 1],
        },
      ],
    };
  },
};
