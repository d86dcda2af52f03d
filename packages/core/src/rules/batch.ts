// Batching rule of every primitive: how it runs on inputs some of which carry one more axis in front.

import type { Graph } from "../graph.ts";
import { inline, trace } from "../graph.ts";
import type { Examples, Primitive, PrimitiveParams } from "../primitives.ts";
import { record, record1, recordFused } from "../record.ts";
import type { Tensor } from "../tensor.ts";
import { broadcastTo, permute, reshape, slice, stack, unsqueeze } from "../ops/movement.ts";

export interface BatchArgs<P extends Primitive> {
  readonly inputs: readonly Tensor[];
  /** Which inputs carry the new axis (in front). */
  readonly mapped: readonly boolean[];
  readonly size: number;
  readonly params: PrimitiveParams[P];
  /** Batches a traced body: results with the new axis in front, for parameters of which some carry it. */
  readonly body: (
    graph: Graph,
    args: readonly Tensor[],
    captures: readonly Tensor[],
    mapped: readonly boolean[],
  ) => Tensor[];
}

/** Outputs carry the new axis in front. */
type Rule<P extends Primitive> = (args: BatchArgs<P>) => Tensor[];

const never = (): Tensor[] => [];

/** All inputs with the axis; an unmapped one is repeated (a view, no copy). */
const spread = ({ inputs, mapped, size }: BatchArgs<Primitive>): Tensor[] =>
  inputs.map((t, i) => (mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape])));

const same =
  <P extends Primitive>(name: P): Rule<P> =>
  (args) =>
    record(name, args.params, spread(args));

type WithAxis = {
  [P in Primitive]: PrimitiveParams[P] extends { readonly axis: number } ? P : never;
}[Primitive];
const shiftedAxis =
  <P extends WithAxis>(name: P): Rule<P> =>
  (args) =>
    record(name, { ...args.params, axis: args.params.axis + 1 } as PrimitiveParams[P], spread(args));

/** Runs once per example and stacks. */
function unrolled(args: BatchArgs<Primitive>, run: (inputs: Tensor[]) => Tensor[]): Tensor[] {
  const each = Array.from({ length: args.size }, (_, s) =>
    run(args.inputs.map((t, i) => (args.mapped[i] ? slice(t, [s]) : t))),
  );
  return each[0]!.map((_, k) => stack(each.map((outputs) => outputs[k]!)));
}

export const batchRules: { readonly [P in Primitive]: Rule<P> } = {
  data: never,
  full: never,
  iota: never,
  constant: never,
  unary: same("unary"),
  binary: same("binary"),
  compare: same("compare"),
  select: same("select"),
  cast: same("cast"),
  fft: same("fft"),
  reshape: ({ inputs, params, size }) => [record1("reshape", { shape: [size, ...params.shape] }, inputs)],
  permute: ({ inputs, params }) => [
    record1("permute", { order: [0, ...params.order.map((a) => a + 1)] }, inputs),
  ],
  expand: ({ inputs, params, size }) => [record1("expand", { shape: [size, ...params.shape] }, inputs)],
  slice: ({ inputs, params, size }) => [
    record1(
      "slice",
      { starts: [0, ...params.starts], sizes: [size, ...params.sizes], steps: [1, ...params.steps] },
      inputs,
    ),
  ],
  pad: ({ inputs, params }) => [
    record1(
      "pad",
      { before: [0, ...params.before], after: [0, ...params.after], value: params.value },
      inputs,
    ),
  ],
  concat: shiftedAxis("concat"),
  reduce: ({ inputs, params }) => [
    record1("reduce", { fn: params.fn, axes: params.axes.map((a) => a + 1) }, inputs),
  ],
  argReduce: shiftedAxis("argReduce"),
  cumulative: shiftedAxis("cumulative"),
  sort: shiftedAxis("sort"),
  gather: shiftedAxis("gather"),
  scatter: shiftedAxis("scatter"),
  matmul: (args) => {
    const [a, b] = args.inputs as [Tensor, Tensor];
    // A shared right factor: one taller product.
    if (!args.mapped[1] && b.rank === 2) {
      const [, m, k] = a.shape as [number, number, number];
      return [
        reshape(record1("matmul", {}, [reshape(a, [args.size * m, k]), b]), [args.size, m, b.shape[1]!]),
      ];
    }
    return record("matmul", {}, spread(args));
  },
  randomBits: (args) => unrolled(args, (inputs) => record("randomBits", args.params, inputs)),
  barrier: ({ inputs, mapped, size, params }) => {
    const [x, ...later] = inputs as [Tensor, ...Tensor[]];
    const first = mapped[0] ? x : broadcastTo(unsqueeze(x, 0), [size, ...x.shape]);
    return record("barrier", params, [first, ...later]);
  },
  recompute: (args) => {
    const { body } = args.params;
    const graph = trace(
      (inputs) =>
        args.body(body, inputs.slice(0, body.params.length), inputs.slice(body.params.length), args.mapped),
      args.inputs.map((t) => ({ shape: t.shape, dtype: t.dtype })),
      args.inputs[0]!.device,
    );
    return record("recompute", { body: graph }, [...args.inputs, ...graph.captures]);
  },
  scan: (args) => {
    const { body, carries, sequences } = args.params;
    const device = args.inputs[0]!.device;
    // Carries all take the axis: whether one needs it depends on the body.
    const inputs = args.inputs.map((t, i) => {
      if (i < carries) return args.mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [args.size, ...t.shape]);
      const isSequence = i < carries + sequences;
      // [S, T, ...] -> [T, S, ...]
      return isSequence && args.mapped[i] ? permute(t, [1, 0, ...t.shape.slice(2).map((_, k) => k + 2)]) : t;
    });
    const mapped = args.mapped.map((m, i) => m || i < carries);
    const stepTypes = inputs.map((t, i) => ({
      shape: i >= carries && i < carries + sequences ? t.shape.slice(1) : t.shape,
      dtype: t.dtype,
    }));
    const perStep = carries + sequences;
    const graph = trace(
      (params) => args.body(body, params.slice(0, perStep), params.slice(perStep), mapped),
      stepTypes,
      device,
    );
    // Constants became parameters of the trace; they are captures of the recorded body again.
    const constants = inputs.slice(perStep);
    const outer = inline(graph, [...graph.params.slice(0, perStep), ...constants]);
    const rebound: Graph = {
      params: graph.params.slice(0, perStep),
      results: outer,
      captures: [...constants, ...graph.captures],
    };
    const outputs = record(
      "scan",
      { ...args.params, body: rebound },
      [...inputs.slice(0, perStep), ...rebound.captures],
      device,
    );
    return outputs.map((t, i) =>
      i < carries ? t : permute(t, [1, 0, ...t.shape.slice(2).map((_, k) => k + 2)]),
    );
  },
  fused: (args) => {
    const { def, params, examples } = args.params;
    if (examples) return moreExamples(args, examples);
    const apply = (inputs: readonly Tensor[], p: unknown = params): Tensor[] => recordFused(def, inputs, p);
    const { batch } = def;
    if (typeof batch === "function") {
      const context = { inputs: args.inputs, mapped: args.mapped, size: args.size, params: params as never };
      const outputs = batch({ ...context, apply: apply as never });
      if (outputs) return outputs;
    } else if (batch && args.mapped.every((m, i) => !m || batch.fold[i])) {
      const folded = spreadFoldable(args, batch.fold).map((t, i) =>
        batch.fold[i] ? reshape(t, [t.shape[0]! * t.shape[1]!, ...t.shape.slice(2)]) : t,
      );
      return apply(folded).map((t) => reshape(t, [args.size, t.shape[0]! / args.size, ...t.shape.slice(1)]));
    }
    return recordFused(def, args.inputs, params, { size: args.size, mapped: args.mapped });
  },
};

/** vmap in vmap: the two axes of examples become one. */
function moreExamples(args: BatchArgs<"fused">, { size: inner, mapped: own }: Examples): Tensor[] {
  const { inputs, mapped, size, params } = args;
  const joined = inputs.map((t, i) => {
    if (!mapped[i] && !own[i]) return t;
    const both = unsqueezeWhere(unsqueezeWhere(t, 0, !mapped[i]), 1, !own[i]);
    const rest = both.shape.slice(2);
    return reshape(broadcastTo(both, [size, inner, ...rest]), [size * inner, ...rest]);
  });
  const examples = { size: size * inner, mapped: inputs.map((_, i) => mapped[i]! || own[i]!) };
  return recordFused(params.def, joined, params.params, examples).map((t) =>
    reshape(t, [size, inner, ...t.shape.slice(1)]),
  );
}

const unsqueezeWhere = (t: Tensor, axis: number, condition: boolean): Tensor =>
  condition ? unsqueeze(t, axis) : t;

const spreadFoldable = (args: BatchArgs<"fused">, fold: readonly boolean[]): Tensor[] =>
  args.inputs.map((t, i) =>
    args.mapped[i] || !fold[i] ? t : broadcastTo(unsqueeze(t, 0), [args.size, ...t.shape]),
  );
