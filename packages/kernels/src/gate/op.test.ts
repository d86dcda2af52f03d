import { checkOp } from "@everlong/testing";
import { gateGradOp, gateOp, type GateActivation } from "./op.ts";

const activations: readonly GateActivation[] = ["silu", "gelu", "gelu-tanh"];

checkOp(gateOp, {
  cases: activations.map((activation) => ({
    inputs: [
      [3, 37],
      [3, 37],
    ],
    params: { activation },
  })),
  dtypes: ["f32", "bf16"],
  strict: false,
  secondOrder: true,
});

checkOp(gateGradOp, {
  cases: activations.map((activation) => ({
    inputs: [
      [2, 5, 16],
      [2, 5, 16],
      [2, 5, 16],
    ],
    params: { activation },
  })),
  dtypes: ["f32", "bf16"],
  strict: false,
  secondOrder: true,
});
