// Gradients of an op by differentiating the primitives it decomposes into: how gradient ops get a gradient themselves.

import { after, gradients, type Tensor, type VjpContext } from "@everlong/core";

export function gradientsThrough<P>(
  decompose: (inputs: readonly Tensor[], params: P) => Tensor[],
  context: VjpContext<P>,
): (Tensor | undefined)[] {
  // Fresh handles: one tensor may be given as several inputs, whose gradients must stay apart.
  const fresh = context.inputs.map((t) => after(t, []));
  const outputs = decompose(fresh, context.params);
  const used = outputs.map((_, i) => i).filter((i) => context.cotangents[i] !== undefined);
  const wanted = fresh.map((_, i) => i).filter((i) => context.needed[i]);
  const found = gradients(
    used.map((i) => outputs[i]!),
    wanted.map((i) => fresh[i]!),
    used.map((i) => context.cotangents[i]!),
  );
  const out: (Tensor | undefined)[] = context.inputs.map(() => undefined);
  wanted.forEach((i, n) => (out[i] = found[n]));
  return out;
}
