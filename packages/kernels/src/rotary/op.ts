// Rotary position embedding (Su et al. 2021) in one pass. Its gradient is the rotation back.

import {
  ShapeError,
  add,
  cast,
  checkOptions,
  concat,
  defineOp,
  mul,
  narrow,
  neg,
  reshape,
  show,
  sizeOf,
  stack,
  sub,
  unsqueeze,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { computeDtype, need, needCompute } from "../inputs.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { rotaryReference } from "./reference.ts";

export interface RotaryParams {
  /** Pairs are neighbours (0, 1), (2, 3), ... instead of (i, i + R/2). */
  readonly interleaved: boolean;
  /** Turns back: the transposed operator. */
  readonly inverse: boolean;
}

function decompose([x, cos, sin]: readonly Tensor[], { interleaved, inverse }: RotaryParams): Tensor[] {
  const half = cos!.shape.at(-1)!;
  const size = x!.shape.at(-1)!;
  const c = unsqueeze(cos!, -2);
  const s = unsqueeze(inverse ? neg(sin!) : sin!, -2);
  const turning = narrow(x!, -1, 0, 2 * half);
  const rest = 2 * half < size ? [narrow(x!, -1, 2 * half, size)] : [];
  const turn = (a: Tensor, b: Tensor): [Tensor, Tensor] => [
    sub(mul(a, c), mul(b, s)),
    add(mul(b, c), mul(a, s)),
  ];
  if (!interleaved) {
    return [
      concat([...turn(narrow(turning, -1, 0, half), narrow(turning, -1, half, 2 * half)), ...rest], -1),
    ];
  }
  const front = turning.shape.slice(0, -1);
  const pairs = reshape(turning, [...front, half, 2]);
  const part = (i: number): Tensor => reshape(narrow(pairs, -1, i, i + 1), [...front, half]);
  return [concat([reshape(stack(turn(part(0), part(1)), -1), turning.shape), ...rest], -1)];
}

/** `(x [B, T, H, K], cos, sin [T, R/2] or [B, T, R/2]) -> [B, T, H, K]`; features from R on pass. */
export const rotaryOp: Op<RotaryParams> = defineOp<RotaryParams>({
  name: "rotary",
  shape: ([x, cos, sin]) => {
    const dtype = needCompute("rotary", "x", x!);
    need("rotary", "x", x!, [undefined, undefined, undefined, undefined], "[B, T, H, K]");
    const [batch, time, , size] = x!.shape as [number, number, number, number];
    const batched = cos!.shape.length === 3;
    const lead = batched ? [batch, time] : [time];
    need("rotary", "cos", cos!, [...lead, undefined], batched ? "[B, T, R/2]" : "[T, R/2]", dtype);
    need("rotary", "sin", sin!, cos!.shape, "shape of cos", dtype);
    const half = cos!.shape.at(-1)!;
    if (2 * half > size) {
      throw new ShapeError("rotary", "more rotary features than the head has", {
        expected: `at most ${size}`,
        got: `${2 * half} (tables ${show(cos!.shape)})`,
      });
    }
    return [x!];
  },
  reference: rotaryReference,
  decompose,
  vjp: (context) => {
    const { inputs, params, cotangents, needed } = context;
    if (needed[1] || needed[2]) return gradientsThrough(decompose, context);
    const turned = rotaryOp([cotangents[0]!, inputs[1]!, inputs[2]!], {
      ...params,
      inverse: !params.inverse,
    });
    return [turned[0]!, undefined, undefined];
  },
  batch: ({ inputs, mapped, size, apply }) => {
    const [x, cos, sin] = inputs as [Tensor, Tensor, Tensor];
    if (mapped[1] || mapped[2] || cos.rank === 3) return undefined;
    const [y] = apply([reshape(x, [size * x.shape[1]!, ...x.shape.slice(2)]), cos, sin]);
    return [reshape(y!, x.shape)];
  },
  cost: (inputs, outputs) => ({ flops: 3 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
});

export interface RotateOptions {
  /** Pairs are neighbours (GPT-J) instead of halves (GPT-NeoX, default). */
  readonly interleaved?: boolean;
}

/**
 * Turns feature pairs by angles given as tables of cosines and sines.
 * @param x `[B, T, H, K]`
 * @param cos `[T, R/2]` or `[B, T, R/2]`; features from R on pass unchanged
 * @param sin as `cos`
 * @returns shape and dtype of `x`
 */
export function rotary(x: Tensor, cos: Tensor, sin: Tensor, options: RotateOptions = {}): Tensor {
  checkOptions("rotary", options, ["interleaved"]);
  const dtype = computeDtype([x, cos, sin]);
  const inputs = [x, cos, sin].map((t) => cast(t, dtype));
  return cast(rotaryOp(inputs, { interleaved: options.interleaved ?? false, inverse: false })[0]!, x.dtype);
}
