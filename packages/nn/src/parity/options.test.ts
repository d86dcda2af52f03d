import {
  add,
  concat,
  div,
  mul,
  neg,
  ones,
  random,
  sigmoid,
  sqrt,
  square,
  sum,
  tensor,
  zeros,
  type Tensor,
} from "@everlong/core";
import { relativeError, valuesOf } from "@everlong/testing";
import { expect, test } from "vitest";
import type { MonarchBert } from "../backbones/monarch-bert.ts";
import { loadState, namedVariables } from "../layer.ts";
import type { ParityModule, ParityRequest } from "../parity-entry.ts";
import { callNumbers } from "./arguments.ts";
import { parityModules } from "./modules.ts";

const X = random.normal(random.key(3), [2, 4, 7]);

interface Case {
  readonly args: Readonly<Record<string, unknown>>;
  readonly json?: Readonly<Record<string, unknown>>;
  readonly numbers?: Readonly<Record<string, readonly number[]>>;
}

function built(cls: string, { args, json = {}, numbers = {} }: Case): ParityModule {
  const shapes = new Map([
    ["in.x", [...X.shape]],
    ["in.u", [...X.shape]],
  ]);
  const request: ParityRequest = { args, json, shapes, numbers: (name) => numbers[name] };
  return parityModules[cls]!(request);
}

const run = (cls: string, c: Case, x: Tensor = X): Tensor => built(cls, c).call({ x, u: x })["y"]!;

const same = async (a: Tensor, b: Tensor): Promise<void> => {
  expect(a.shape).toEqual(b.shape);
  expect(relativeError(await valuesOf(a), await valuesOf(b))).toBeLessThan(1e-12);
};

const BLOCK = "models.s4.s4.S4Block";
const CONV = "models.s4.s4.FFTConv";
const LONG = "src.models.sequence.long_conv.LongConv";
const block = { d_model: 4, d_state: 4, mode: "diag", init: "diag-lin" };
const long = { d_model: 4, l_max: 7, lam: 0 };

test.each([
  [BLOCK, block],
  [LONG, long],
  ["src.models.sequence.modules.s4nd.S4ND", { ...block, dim: 1, linear: false, bidirectional: false }],
])("%s: no activation is written null, which is not the default", async (cls, args) => {
  const y = async (activation?: string | null): Promise<number[]> => {
    const { call } = built(cls, { args: activation === undefined ? args : { ...args, activation } });
    const out = call({ x: X, u: X, x0: X });
    return Array.from(await (out["y"] ?? out["y0"])!.data(), Number);
  };
  expect(await y(null)).toEqual(await y("id"));
  expect(await y(null)).not.toEqual(await y());
});

test("an activation after the state space's own", async () => {
  const bare = { ...block, final_act: null, activation: null };
  await same(run(BLOCK, { args: { ...bare, mult_act: "sigmoid" } }), sigmoid(run(BLOCK, { args: bare })));
});

test("outputs of a channel side by side", async () => {
  const args = { ...block, channels: 3, activation: null };
  const sets = run(CONV, { args }).reshape([2, 3, 4, 7]);
  const swapped = run(CONV, { args: { ...args, swap_channels: true } });
  await same(swapped, sets.permute([0, 2, 1, 3]).reshape([2, 12, 7]));
});

test("a call's rate stretches the steps of state spaces and the period of free filters", async () => {
  const fast = { ...block, dt_transform: "none", dt_min: 0.05, dt_max: 0.05 };
  const slow = { ...fast, dt_min: 0.1, dt_max: 0.1 };
  const call_kwargs = { rate: 2 };
  await same(run(BLOCK, { args: fast, json: { call_kwargs } }), run(BLOCK, { args: slow }));

  // Half of 6 taps and 7 positions: a period of 10, in which taps 4 and 5 reach positions 0 and 1 from the end.
  const args = { ...long, l_max: 6, activation: null, postact: null };
  const impulse = concat([zeros([1, 4, 6]), ones([1, 4, 1])], 2);
  const { module, call } = built(LONG, { args, json: { call_kwargs: "{'rate': 2.0}" } });
  const { skip, kernel } = module as { skip: { value: Tensor }; kernel: { kernel: { value: Tensor } } };
  const taps = kernel.kernel.value.reshape([4, 6]);
  const y = call({ u: impulse })["y"]!.reshape([4, 7]);
  const at = (t: Tensor, i: number): Tensor => t.narrow(1, i, i + 1);
  await same(at(y, 0), at(taps, 4));
  await same(at(y, 1), at(taps, 5));
  await same(at(y, 6), add(at(taps, 0), skip.value.reshape([4, 1])));
  await same(at(y, 3), zeros([4, 1]));
});

test("lengths of a call, one for all or one a row, as a record or as Python's text", async () => {
  const mask = tensor([[1, 1, 1, 0, 0, 0, 0]]).reshape([1, 1, 7]);
  const expected = run(LONG, { args: long }, mul(X, mask));
  for (const call_kwargs of [
    "{'lengths': tensor([3, 3])}",
    { lengths: "tensor([3])" },
    { lengths: [3, 3] },
    { lengths: 3 },
  ])
    await same(run(LONG, { args: long, json: { call_kwargs } }), expected);
  expect(callNumbers({ call_kwargs: "{}" })).toEqual({ lengths: undefined, rate: 1 });
  expect(callNumbers({ call_kwargs: { lengths: [], rate: 5e-1 } })).toEqual({ lengths: [], rate: 0.5 });
  expect(() => callNumbers({ call_kwargs: { state: 1 } })).toThrow(
    /unsupported: argument "state" of the call/,
  );
});

test("a weight-normalised output map", async () => {
  const args = { ...long, weight_norm: true };
  const normed = built(LONG, { args });
  const names = namedVariables(normed.module!).map((v) => v.name);
  expect(names).toEqual([
    "skip",
    "kernel.kernel",
    "output_linear.weight_g",
    "output_linear.weight_v",
    "output_linear.bias",
  ]);
  const plain = built(LONG, { args: long });
  const state = Object.fromEntries(namedVariables(plain.module!).map((v) => [v.name, v.variable.value]));
  const weight = state["output_linear.weight"]!;
  const lengths = sqrt(sum(square(weight), 1, { keepDims: true }));
  const { skip, "kernel.kernel": kernel, "output_linear.bias": bias } = state;
  loadState(normed.module!, {
    skip: skip!,
    "kernel.kernel": kernel!,
    "output_linear.bias": bias!,
    // Directions count without their length.
    "output_linear.weight_v": mul(weight, 3),
    "output_linear.weight_g": lengths,
  });
  await same(normed.call({ u: X })["y"]!, plain.call({ u: X })["y"]!);
});

test("starts that only fill a state are known by all their names", () => {
  const kernel =
    (args: Record<string, unknown>): (() => ParityModule) =>
    () =>
      built("models.s4.s4.SSMKernelDPLR", { args: { d_model: 4, d_state: 4, ...args }, json: { L: 8 } });
  expect(kernel({ init: ["diag-lin", "fourier"] })).not.toThrow();
  expect(kernel({ init: "dplr-inverse", P_scale: 0.5, real_random: true })).not.toThrow();
  expect(kernel({ init: ["legs", "nonsense"] })).toThrow(/unknown start "nonsense"/);
});

test("a truncated read-out suits the length that the state stores, not the input's", () => {
  const lengthOf = (args: Record<string, unknown>, stored?: number): number | undefined => {
    const numbers: Record<string, readonly number[]> =
      stored === undefined ? {} : { "state.kernel.l_kernel": [stored] };
    const { module } = built(CONV, { args: { ...block, mode: "dplr", init: "legs", ...args }, numbers });
    return (module as { kernel: { truncatedLength?: number } }).kernel.truncatedLength;
  };
  expect(lengthOf({})).toBe(7);
  expect(lengthOf({ l_max: 3 })).toBe(3);
  expect(lengthOf({ l_max: 3 }, 12)).toBe(12);
  expect(lengthOf({ l_max: 3 }, 0)).toBeUndefined();
});

test("H3's forced real modes", async () => {
  const args = { d_model: 4, d_state: 4 };
  const kernel = (more: Record<string, unknown>): Tensor => {
    const { module, call } = built("src.models.ssm.h3.H3", { args: { ...args, ...more } });
    if (!("force_real" in more)) {
      const frequencies = (module as { kernel: { aImag: { value: Tensor } } }).kernel.aImag;
      frequencies.value = mul(frequencies.value, 0);
    }
    return call({ u: X.transpose(1, 2) })["kernel_diag"]!;
  };
  await same(kernel({ force_real: true }), kernel({}));
});

test("H3's steps know no band limit, as there; its convolutions do", async () => {
  const u = X.transpose(1, 2);
  const step = (args: Record<string, unknown>): readonly [Tensor, Tensor] => {
    const request: ParityRequest = {
      args: { d_model: 4, d_state: 8, dt_min: 0.2, dt_max: 0.2, ...args },
      json: {},
      shapes: new Map([["out.y_step", [...u.shape]]]),
    };
    const out = parityModules["src.models.ssm.h3.H3"]!(request).call({ u });
    return [out["y"]!, out["y_step"]!];
  };
  const [free, steps] = step({});
  const [limited, again] = step({ bandlimit: 0.1 });
  await same(steps, free);
  await same(again, steps);
  expect(relativeError(await valuesOf(limited), await valuesOf(free))).toBeGreaterThan(1e-4);
});

test("partial filters longer than the input come round, as in a transform of 2L points", async () => {
  const u = random.normal(random.key(9), [1, 1, 3]);
  const k = random.normal(random.key(10), [1, 5]);
  const { call } = parityModules["flashfftconv.sparse_conv"]!({
    args: { N_partial: 5 },
    json: { note: "PartialFFTConv" },
    shapes: new Map(),
  });
  const [a, b] = [await valuesOf(u), await valuesOf(k)];
  const expected = [0, 1, 2].map((t) => a.reduce((y, x, s) => y + x * (b[(t - s + 6) % 6] ?? 0), 0));
  expect(relativeError(await valuesOf(call({ u, k })["y"]!), expected)).toBeLessThan(1e-12);
});

test("several filters without an output map", () => {
  const args = { ...long, channels: 3, postact: null, weight_norm: true };
  expect(run(LONG, { args }).shape).toEqual([2, 12, 7]);
});

test("tables of angles longer than the sequences", async () => {
  const angles = mul(random.normal(random.key(4), [9, 2]), 2);
  const draw = (i: number, time: number): Tensor => random.normal(random.key(i), [1, time, 2, 4]);
  const inputs = { q: draw(5, 3), k: draw(6, 5), v: draw(7, 5) };
  const call = (rows: number): Tensor => {
    const table = angles.narrow(0, 0, rows);
    const { call: attend } = parityModules["tests/test_util.py::attention_ref"]!({
      args: { causal: true, rotary_dim: 4 },
      json: {},
      shapes: new Map(),
    });
    return attend({ ...inputs, cos: table.cos(), sin: table.sin() })["y"]!;
  };
  await same(call(9), call(5));
});

test("a window with a left end alone stops before the query's own key, as in the reference", async () => {
  const draw = (i: number, time: number): Tensor => random.normal(random.key(i), [1, time, 1, 4]);
  const inputs = { q: draw(5, 4), k: draw(6, 6), v: draw(7, 6) };
  const { call } = parityModules["tests/test_util.py::attention_ref"]!({
    args: { causal: false, window_size: [2, -1], alibi: true },
    json: {},
    shapes: new Map(),
  });
  const { y, attention } = call({ ...inputs, alibi_slopes: tensor([[0.3]]) });
  const [q, k, v] = await Promise.all([inputs.q, inputs.k, inputs.v].map(valuesOf));
  const expected: number[] = [];
  const weights: number[] = [];
  for (let t = 0; t < 4; t++) {
    const at = t + 2;
    const score = (s: number): number =>
      s > at - 1 || s < at - 2
        ? 0
        : Math.exp(
            [0, 1, 2, 3].reduce((sum, c) => sum + q![t * 4 + c]! * k![s * 4 + c]!, 0) / 2 - 0.3 * (at - s),
          );
    const row = [0, 1, 2, 3, 4, 5].map(score);
    const total = row.reduce((a, b) => a + b, 0);
    weights.push(...row.map((w) => w / total));
    for (let c = 0; c < 4; c++)
      expected.push(row.reduce((sum, w, s) => sum + (w / total) * v![s * 4 + c]!, 0));
  }
  expect(relativeError(await valuesOf(y!), expected)).toBeLessThan(1e-12);
  expect(relativeError(await valuesOf(attention!), weights)).toBeLessThan(1e-12);
});

test("blocks without MLPs", () => {
  const args = { d_model: 4, n_layer: 2, d_inner: 8, vocab_size: 8, layer: { l_max: 7 }, identity_mlp: true };
  const { module, rename } = built("src.models.sequence.long_conv_lm.ConvLMHeadModel", {
    args,
    json: { repo: "HazyResearch/hyena-dna" },
  });
  expect((module as { layers: unknown[] }).layers).toHaveLength(2);
  expect(rename!("backbone.layers.1.norm1.weight")).toBe("layers.1.norm.weight");
});

test("means of several positions are divided along the features, as the decoder has them", async () => {
  const x = random.normal(random.key(8), [2, 5, 3]);
  const args = { d_model: 3, l_output: 3, mode: "pool" };
  const [head, ...rest] = built("standalone_hyenadna.SequenceDecoder", { args }).module as {
    forward(x: Tensor, o: object): Tensor;
  }[];
  expect(rest).toEqual([]);
  const sums = [3, 4, 5].map((n) => sum(x.narrow(1, 0, n), 1, { keepDims: true }));
  await same(head!.forward(x, {}), div(concat(sums, 1), tensor([3, 4, 5])));
  expect(() => head!.forward(neg(x.narrow(2, 0, 2)), {})).toThrow(/expected 3 features, got 2/);
});

test("the activation between the maps of a head by transformers' names", () => {
  const bert = "src.bert_layers.BertForMaskedLM";
  const args = { vocab_size: 5, hidden_size: 4, num_hidden_layers: 1, intermediate_size: 4 };
  const head = (hidden_act: string): string =>
    (built(bert, { args: { ...args, hidden_act } }).module as MonarchBert).headActivation;
  expect(["gelu", "gelu_new", "relu", "swish"].map(head)).toEqual(["gelu", "gelu-tanh", "relu", "silu"]);
  expect(() => head("mish")).toThrow(/unsupported: argument "hidden_act"/);
});
