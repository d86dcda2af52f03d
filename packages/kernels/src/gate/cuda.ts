// CUDA sources of the gate and its gradient: eight halves or four floats a thread.

import { cudaFile } from "../cuda-file.ts";
import { cudaType } from "../cuda-prelude.ts";
import { productOf } from "../cuda-rows.ts";
import { blocksFor, positionType, type CudaSource, type CudaView } from "../cuda-step.ts";
import type { GateActivation, GateParams } from "./op.ts";

const ACTIVATION: { readonly [A in GateActivation]: number } = { silu: 0, gelu: 1, "gelu-tanh": 2 };

/** The activation of a gate and its slope; `sigmoid` is an expression of z. */
export const activationText = (activation: GateActivation, sigmoid: string): string =>
  [
    `#define ACTIVATION ${ACTIVATION[activation]}`,
    `#define SIGMOID(z) (${sigmoid})`,
    cudaFile("gate/activation.cu"),
  ].join("\n");

const source = (entry: string): CudaSource<GateParams> => ({
  longAxes: true,
  lower: ({ inputs, outputs, params }) => {
    const { shape, dtype } = outputs[0]!;
    if (dtype !== "f32" && dtype !== "f16" && dtype !== "bf16") return `no kernel for ${dtype}`;
    const size = productOf(shape);
    if (size === 0) return { steps: [] };
    const most = dtype === "f32" ? 4 : 8;
    const whole = (v: CudaView): boolean => v.aligned === true;
    const width = size % most === 0 && [...inputs, ...outputs].every(whole) ? most : 1;
    const count = size / width;
    const head = [
      `typedef ${cudaType[dtype]} E; typedef ${positionType(count)} Index;`,
      `#define WIDTH ${width}`,
    ].join("\n");
    return {
      steps: [
        {
          kernel: {
            key: `gate ${entry} ${params.activation} ${head}`,
            entry,
            source: () =>
              [
                activationText(params.activation, "1.f / (1.f + __expf(-z))"),
                head,
                cudaFile("gate/kernel.cu"),
              ].join("\n"),
          },
          args: [
            ...inputs.map((_, input) => ({ input })),
            ...outputs.map((_, output) => ({ output })),
            count,
          ],
          grid: [blocksFor(count, 256), 1, 1],
          block: [256, 1, 1],
        },
      ],
    };
  },
});

export const gateCuda: CudaSource<GateParams> = source("gate");
export const gateGradCuda: CudaSource<GateParams> = source("gate_grad");
