// Gradient rules of what holds bodies or ops of its own: recomputation, scans, fused ops.

import { isFloat } from "../dtype.ts";
import { EverlongError } from "../errors.ts";
import { inline, type Graph } from "../graph.ts";
import type { Examples } from "../primitives.ts";
import type { Tensor } from "../tensor.ts";
import { zerosLike } from "../ops/creation.ts";
import { add } from "../ops/elementwise.ts";
import { sum } from "../ops/reduction.ts";
import { after, scan } from "../ops/control.ts";
import { vmap } from "../vmap.ts";
import type { Gradients, Rule, VjpArgs } from "./vjp-rule.ts";

export const recomputeRule: Rule<"recompute"> = ({ inputs, params, cotangents, needed, gradients }) => {
  const later = cotangents.filter((g) => g !== undefined);
  const again = inputs.map((t) => after(t, later));
  const [args, captures] = splitBody(params.body, again);
  const results = inline(params.body, args, captures);
  const wanted = again.filter((_, i) => needed[i]);
  const found = gradients(results, wanted, cotangents);
  return spreadNeeded(needed, found);
};

export const scanRule: Rule<"scan"> = ({ inputs, outputs, params, cotangents, needed, gradients }) => {
  const { body, carries, sequences, reverse } = params;
  const ys = body.results.length - carries;
  const saved = outputs.slice(carries + ys);
  const xs = inputs.slice(carries, carries + sequences);
  const constants = inputs.slice(carries + sequences);
  const hasSlope = (t: Tensor): boolean => isFloat(t.dtype);
  const seedOf = (t: Tensor, g: Tensor | undefined): Tensor | undefined =>
    hasSlope(t) ? (g ?? zerosLike(t)) : undefined;
  const carrySeeds = Array.from({ length: carries }, (_, i) => seedOf(outputs[i]!, cotangents[i]));
  const ySeeds = Array.from({ length: ys }, (_, i) => seedOf(outputs[carries + i]!, cotangents[carries + i]));
  // Second derivatives also reach the saved carries.
  const savedSeeds = saved.map((_, i) => cotangents[carries + ys + i] ?? null);
  const constantSlots = constants.map((t, i) =>
    needed[carries + sequences + i] && hasSlope(t) ? zerosLike(t) : null,
  );
  const [last, stacked] = scan(
    (
      [carryBar, constantBar]: readonly [readonly (Tensor | null)[], readonly (Tensor | null)[]],
      step: {
        saved: readonly Tensor[];
        xs: readonly Tensor[];
        ys: readonly (Tensor | null)[];
        savedBar: readonly (Tensor | null)[];
      },
    ) => {
      // Fresh handles: the gradient is with respect to this step's values.
      const args = [...step.saved, ...step.xs].map((t) => after(t, []));
      const own = constants.map((t) => after(t, []));
      const results = inline(body, args, own);
      const seeds = [...carryBar, ...step.ys].map((t) => t ?? undefined);
      const wrt = [...args, ...own];
      const found = gradients(results, wrt, seeds);
      const orZero = (t: Tensor | undefined, like: Tensor): Tensor => t ?? zerosLike(like);
      const nextCarry = args.slice(0, carries).map((t, i) => {
        if (!carrySeeds[i]) return null;
        const direct = orZero(found[i], t);
        return step.savedBar[i] ? add(direct, step.savedBar[i]) : direct;
      });
      const xBar = args.slice(carries).map((t, i) => (hasSlope(t) ? orZero(found[carries + i], t) : null));
      const nextConstant = own.map((t, i) => {
        const soFar = constantBar[i];
        return soFar ? add(soFar, orZero(found[carries + sequences + i], t)) : null;
      });
      return [[nextCarry, nextConstant] as const, xBar] as const;
    },
    [carrySeeds.map((t) => t ?? null), constantSlots] as const,
    { saved, xs, ys: ySeeds.map((t) => t ?? null), savedBar: savedSeeds },
    { reverse: !reverse },
  );
  return [
    ...last[0].map((t) => t ?? undefined),
    ...stacked.map((t) => t ?? undefined),
    ...last[1].map((t) => t ?? undefined),
  ];
};

export const fusedRule: Rule<"fused"> = (args) => {
  const { inputs, outputs, params, cotangents, needed } = args;
  const { def, examples } = params;
  if (!def.vjp) {
    throw new EverlongError(def.name, "has no gradient", {
      hint: "Use the reference form made of primitives where a second derivative is needed.",
    });
  }
  if (examples) return gradientOfExamples(args, examples);
  return def.vjp({ inputs, outputs, params: params.params as never, cotangents, needed });
};

/** The op's own gradient, mapped over its examples; what they share sums up. */
function gradientOfExamples(
  { inputs, outputs, params, cotangents, needed }: VjpArgs<"fused">,
  { mapped }: Examples,
): Gradients {
  const used = cotangents.flatMap((t, i) => (t ? [i] : []));
  const present: number[] = [];
  const run = vmap(
    (...given: readonly Tensor[]) => {
      const slots: (Tensor | undefined)[] = cotangents.map(() => undefined);
      used.forEach((i, n) => (slots[i] = given[inputs.length + outputs.length + n]));
      const found = params.def.vjp!({
        inputs: given.slice(0, inputs.length),
        outputs: given.slice(inputs.length, inputs.length + outputs.length),
        params: params.params as never,
        cotangents: slots,
        needed,
      });
      return found.flatMap((t, i) => {
        if (!t) return [];
        present.push(i);
        return [t];
      });
    },
    {
      inAxes: [...mapped.map((m) => (m ? 0 : null)), ...outputs.map(() => 0), ...used.map(() => 0)],
    },
  );
  const all = run(...inputs, ...outputs, ...used.map((i) => cotangents[i]!));
  const slopes: (Tensor | undefined)[] = inputs.map(() => undefined);
  present.forEach((i, n) => (slopes[i] = mapped[i] ? all[n]! : sum(all[n]!, 0)));
  return slopes;
}

function splitBody(body: Graph, inputs: readonly Tensor[]): [Tensor[], Tensor[]] {
  return [inputs.slice(0, body.params.length), inputs.slice(body.params.length)];
}

function spreadNeeded(needed: readonly boolean[], found: readonly (Tensor | undefined)[]): Gradients {
  let at = 0;
  return needed.map((n) => (n ? found[at++] : undefined));
}
