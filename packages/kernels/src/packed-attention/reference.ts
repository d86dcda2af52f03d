import type { HostArray } from "@everlong/core";
import { attentionGradReference, attentionReference } from "../attention/reference.ts";
import { named } from "../inputs.ts";
import { rotaryReference } from "../rotary/reference.ts";
import type { PackedAttentionGradParams, PackedAttentionParams, PackedAttentionSettings } from "./op.ts";

const like = (shape: readonly number[]): HostArray => ({
  shape,
  data: new Float64Array(shape.reduce((a, b) => a * b, 1)),
});

/** Where feature 0 of a head of part `which` lies, for every (batch, time, head) in order. */
function* places(shape: readonly number[], which: number): Generator<number> {
  const [batch, time, , heads, size] = shape as [number, number, number, number, number];
  for (let row = 0; row < batch * time; row++)
    for (let h = 0; h < heads; h++) yield ((row * 3 + which) * heads + h) * size;
}

function cut(qkv: HostArray, which: number): HostArray {
  const [batch, time, , heads, size] = qkv.shape as [number, number, number, number, number];
  const out = like([batch, time, heads, size]);
  let to = 0;
  for (const from of places(qkv.shape, which)) {
    out.data.set(qkv.data.subarray(from, from + size), to);
    to += size;
  }
  return out;
}

function turned(
  x: HostArray,
  cos: HostArray | undefined,
  sin: HostArray | undefined,
  interleaved: boolean,
  inverse: boolean,
): HostArray {
  if (!cos) return x;
  const out = like(x.shape);
  rotaryReference([x, cos, sin!], [out], { interleaved, inverse });
  return out;
}

const common = ({
  left,
  right,
  scale,
}: PackedAttentionSettings): Omit<PackedAttentionSettings, "interleaved"> & { softCap: number } => ({
  left,
  right,
  scale,
  softCap: 0,
});

/** Cuts, turns and attends. */
export function packedAttentionReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  params: PackedAttentionParams,
): void {
  const { qkv, cos, sin } = named(params.inputs, inputs);
  const turn = (which: number): HostArray => turned(cut(qkv!, which), cos, sin, params.interleaved, false);
  attentionReference([turn(0), turn(1), cut(qkv!, 2)], outputs, {
    ...common(params),
    inputs: ["q", "k", "v"],
  });
}

/** The gradients of the three parts, turned back and joined. */
export function packedAttentionGradReference(
  inputs: readonly HostArray[],
  [dqkv]: readonly HostArray[],
  params: PackedAttentionGradParams,
): void {
  const { qkv, cos, sin, y, dy, lse } = named(params.inputs, inputs);
  const [batch, time, , heads, size] = qkv!.shape as [number, number, number, number, number];
  const turn = (which: number): HostArray => turned(cut(qkv!, which), cos, sin, params.interleaved, false);
  const delta = like([batch, heads, time]);
  for (let b = 0; b < batch; b++)
    for (let t = 0; t < time; t++)
      for (let h = 0; h < heads; h++) {
        const at = ((b * time + t) * heads + h) * size;
        let sum = 0;
        for (let e = at; e < at + size; e++) sum += y!.data[e]! * dy!.data[e]!;
        delta.data[(b * heads + h) * time + t] = sum;
      }
  const found = [0, 1, 2].map(() => like(y!.shape));
  attentionGradReference([turn(0), turn(1), cut(qkv!, 2), dy!, lse!, delta], found, {
    ...common(params),
    inputs: ["q", "k", "v", "dy", "lse", "delta"],
  });
  found.forEach((g, which) => {
    const back = which < 2 ? turned(g, cos, sin, params.interleaved, true) : g;
    let from = 0;
    for (const to of places(qkv!.shape, which)) {
      dqkv!.data.set(back.data.subarray(from, from + size), to);
      from += size;
    }
  });
}
