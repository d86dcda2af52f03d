// State-space kernels and layers as state-spaces/s4 and H3 construct them.

import {
  concat,
  narrow,
  neg,
  random,
  reshape,
  slice,
  stack,
  tensor,
  transpose,
  zeros,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { parameter } from "../layer.ts";
import { S4, type S4Options } from "../mixers/s4.ts";
import type { MixerState } from "../mixer.ts";
import type { ParityModule, ParityModules, ParityRequest } from "../parity-entry.ts";
import { DiagonalSsm } from "../ssm/diagonal-ssm.ts";
import { DplrSsm } from "../ssm/dplr-ssm.ts";
import { roundHalfEven } from "../ssm/rounding.ts";
import {
  activationOr,
  booleanOr,
  callNumbers,
  checkArguments,
  numberOr,
  required,
  stringOr,
  type Arguments,
} from "./arguments.ts";
import { prefixMask } from "./prefix-mask.ts";
import { SSM_ARGUMENTS, dplrSettings, isDiagonal, roundsKernel, ssmSettings } from "./ssm-arguments.ts";

const KERNEL_ARGUMENTS = {
  ...SSM_ARGUMENTS,
  used: [...SSM_ARGUMENTS.used, "d_model", "channels", "l_max"],
};

/** Of the convolution layer; the block has more. */
const LAYER_ARGUMENTS = {
  used: [
    ...KERNEL_ARGUMENTS.used,
    "bidirectional",
    "activation",
    "transposed",
    "mode",
    "kernel",
    "swap_channels",
  ],
  withoutEffect: [...KERNEL_ARGUMENTS.withoutEffect, "dropout", "tie_dropout", "drop_kernel"],
};

/** Last parts of original names to ours. */
const NAMES: Readonly<Record<string, string>> = {
  inv_dt: "dt",
  log_dt: "dt",
  A_real: "a_real",
  A_imag: "a_imag",
  inv_A_real: "a_real",
  log_A_real: "a_real",
  B: "b",
  C: "c",
  P: "p",
  l_kernel: "length",
};

/** Renames the last part of a key. */
export function renameSsm(key: string): string {
  const parts = key.split(".");
  const last = parts.pop()!;
  return [...parts, NAMES[last] ?? last].join(".");
}

/** Rates that a case asks for, with the names of their outputs. */
function rates(json: ParityRequest["json"]): readonly (readonly [number, string])[] {
  const list = (json["rates"] ?? [1]) as readonly number[];
  return list.map((rate) => [
    rate,
    rate === 1 ? "k" : `k_rate${Number.isInteger(rate) ? rate.toFixed(1) : rate}`,
  ]);
}

function diagonalKernel({ args, json }: ParityRequest): ParityModule {
  checkArguments(args, KERNEL_ARGUMENTS);
  const module = new DiagonalSsm({
    ...ssmSettings(args, "legs"),
    key: random.key(0),
    channels: required(args, "d_model"),
    outputs: numberOr(args, "channels", 1),
  });
  const length = required(json, "L");
  return {
    module,
    rename: renameSsm,
    float32Inside: roundsKernel(args),
    call: () => Object.fromEntries(rates(json).map(([rate, name]) => [name, module.kernel(length, rate)])),
  };
}

/** Applies a layer to `[B, D, T]` where the original keeps time last. */
const between = (transposed: boolean, fn: (x: Tensor) => Tensor): ((x: Tensor) => Tensor) =>
  transposed ? (x) => transpose(fn(transpose(x))) : fn;

const renameLayer = (key: string): string =>
  key.replace(/^layer\./, "").replace(/^(output_linear|input_gate)\.0\./, "$1.");

/** Names inside a kernel with a low-rank part. */
function renameDplr(key: string): string | undefined {
  if (key === "l_kernel" || key.endsWith(".l_kernel")) return undefined;
  const name = renameSsm(key);
  return name.replace(/(^|\.)(dt|a_real|a_imag|b|c)$/, "$1diagonal.$2");
}

/**
 * The length that the original's stored read-out suits, 0 for none: what its buffer `l_kernel` says, or else what follows
 * from kernels of `length` at these rates.
 * @param key of the buffer in the state
 */
function truncatedLength(
  { args, numbers }: ParityRequest,
  key: string,
  length: number,
  wanted: readonly number[],
): number | undefined {
  const stored = numbers?.(`state.${key}`) ?? numbers?.(`state_initial.${key}`);
  if (stored?.length === 1) return stored[0]! > 0 ? stored[0]! : undefined;
  const limit = args["l_max"];
  let known = typeof limit === "number" && limit > 0 ? limit : roundHalfEven(wanted[0]! * length);
  for (const rate of wanted) while (roundHalfEven(rate * length) > known) known *= 2;
  return known;
}

/** Kernels asked for at growing lengths, with the state after each as the original rewrites it. */
function dplrDoubling({ args, json }: ParityRequest): ParityModule {
  const module = new DplrSsm({
    ...dplrSettings(args),
    key: random.key(0),
    channels: required(args, "d_model"),
    outputs: numberOr(args, "channels", 1),
  });
  const { diagonal } = module;
  const state = (): Readonly<Record<string, Tensor>> => ({
    inv_dt: diagonal.dt.value,
    C: diagonal.c.value,
    B: diagonal.b!.value,
    A_real: diagonal.aReal.value,
    A_imag: diagonal.aImag!.value,
    P: module.p.value,
    l_kernel: tensor(module.truncatedLength!, { device: diagonal.dt.value.device }),
  });
  return {
    module,
    rename: renameDplr,
    call: () => {
      const out: Record<string, Tensor> = {};
      const limit = args["l_max"];
      for (const step of ["first", "second"]) {
        const length = required(json, `L_${step}`);
        module.truncate(step === "first" && typeof limit === "number" ? Math.max(limit, length) : length);
        out[`k_${step}`] = module.kernel(length);
        for (const [name, value] of Object.entries(state())) out[`state_${step}.${name}`] = value;
      }
      out["k_rate2"] = module.kernel(required(json, "L_first"), 2);
      return out;
    },
  };
}

function dplrKernel(request: ParityRequest): ParityModule {
  const { args, json } = request;
  checkArguments(args, KERNEL_ARGUMENTS);
  if (typeof json["L_first"] === "number") return dplrDoubling(request);
  const length = required(json, "L");
  const list = rates(json);
  const asked = list.map(([rate]) => rate);
  const suited = truncatedLength(request, "l_kernel", length, asked);
  const module = new DplrSsm({
    ...dplrSettings(args),
    key: random.key(0),
    channels: required(args, "d_model"),
    outputs: numberOr(args, "channels", 1),
    ...(suited === undefined ? {} : { truncatedLength: suited }),
  });
  return {
    module,
    rename: renameDplr,
    call: () => Object.fromEntries(list.map(([rate, name]) => [name, module.kernel(length, rate)])),
  };
}

const renameS4 = (key: string): string => {
  const name = renameLayer(key);
  return name === "D" ? "skip" : renameSsm(name);
};

/** Names of a layer and of the kernel inside. */
export function renameS4With(args: Arguments): (key: string) => string | undefined {
  if (isDiagonal(args)) return renameS4;
  return (key) => {
    const name = renameLayer(key);
    return name.startsWith("kernel.") ? renameDplr(name) : renameS4(key);
  };
}

function s4Layer(
  request: ParityRequest,
  outputActivation: string | null,
  time: number,
  inside = "",
  rate = 1,
): S4 {
  const { args } = request;
  const length = args["l_max"];
  const options: S4Options = {
    key: random.key(0),
    dim: required(args, "d_model"),
    channels: numberOr(args, "channels", 1),
    bidirectional: booleanOr(args, "bidirectional", false),
    channelOrder: booleanOr(args, "swap_channels", false) ? "channel-major" : "set-major",
    compat: "set-major-steps",
    activation: activationOr(args, "activation", "gelu"),
    productActivation: activationOr(args, "mult_act", "identity"),
    gateActivation: activationOr(args, "gate_act", "identity"),
    ...(args["gate"] == null ? {} : { gate: required(args, "gate") }),
    ...(args["bottleneck"] == null ? {} : { bottleneck: required(args, "bottleneck") }),
    outputActivation,
    ...(typeof length === "number" ? { kernelLength: length } : {}),
    ssm: ssmSettings(args, "legs"),
  };
  if (isDiagonal(args)) return new S4(options);
  // Layers ask for no more than the limit, unlike those who call the kernel.
  const asked = typeof length === "number" ? Math.min(time, roundHalfEven(length / rate)) : time;
  const suited = truncatedLength(request, `${inside}kernel.l_kernel`, asked, [rate]);
  const truncated = suited === undefined ? {} : { truncatedLength: suited };
  return new S4(options, (shape) => new DplrSsm({ ...dplrSettings(args), ...shape, ...truncated }));
}

/** All positions one step at a time from an empty state: outputs `[B, T, D]` and the last state. */
function stepThrough(module: S4, x: Tensor): { y: Tensor; state: Tensor } {
  const empty = zeros([x.shape[0]!, module.inner, module.kernel.modes], { device: x.device, dtype: x.dtype });
  let state: MixerState = { re: empty, im: empty };
  const outputs: Tensor[] = [];
  for (let t = 0; t < x.shape[1]!; t++) {
    const next = module.step(slice(x, [null, t]), state);
    outputs.push(next.y);
    state = next.state;
  }
  return { y: stack(outputs, 1), state: stack([state["re"]!, state["im"]!], -1) };
}

/** Runs `fn` while a truncated kernel stores its read-out itself, which spares every step from recovering it. */
function withReadOut<T>(module: S4, fn: () => T): T {
  const { kernel } = module;
  if (!(kernel instanceof DplrSsm)) return fn();
  const [stored, length] = [kernel.diagonal.c.value, kernel.truncatedLength];
  kernel.untruncate();
  const result = fn();
  kernel.diagonal.c.value = stored;
  kernel.truncatedLength = length;
  return result;
}

/** States `[B, H, M, 2]` followed by their conjugates. */
function withConjugates(state: Tensor): Tensor {
  const [re, im] = [narrow(state, 3, 0, 1), narrow(state, 3, 1, 2)];
  return concat([state, concat([re, neg(im)], 3)], 2);
}

function s4Block(request: ParityRequest): ParityModule {
  const { args, json, shapes } = request;
  checkArguments(args, {
    used: [...LAYER_ARGUMENTS.used, "bottleneck", "gate", "gate_act", "final_act", "postact", "mult_act"],
    // The block takes weight_norm and drops it.
    withoutEffect: [...LAYER_ARGUMENTS.withoutEffect, "initializer", "weight_norm"],
  });
  const { lengths, rate } = callNumbers(json);
  // The older name wins where it is given.
  const final =
    args["final_act"] === null && args["postact"] == null
      ? null
      : stringOr(args, "postact", stringOr(args, "final_act", "glu"));
  const transposed = booleanOr(args, "transposed", true);
  const module = s4Layer(request, final, shapes.get("in.x")![transposed ? 2 : 1]!, "layer.", rate);
  return {
    module,
    rename: renameS4With(args),
    float32Inside: roundsKernel(args),
    call: ({ x }) => {
      const rows = transposed ? transpose(x!) : x!;
      const y = module.forward(rows, lengths ? { mask: prefixMask(lengths, rows) } : {}, rate);
      const time = rows.shape[1]!;
      const out: Record<string, Tensor> = {
        y: transposed ? transpose(y) : y,
        kernel: module.kernel.kernel(time),
      };
      // The original's step modes are ways to compute one function; ours is the linear one.
      const modes = [...shapes.keys()].filter((name) => name.startsWith("out.y_step"));
      if (modes.length === 0) return out;
      const steps = withReadOut(module, () => stepThrough(module, rows));
      for (const name of modes) out[name.slice("out.".length)] = steps.y;
      const width = shapes.get("out.state_final")?.[2];
      out["state_final"] = width === 2 * module.kernel.modes ? withConjugates(steps.state) : steps.state;
      return out;
    },
  };
}

/** The convolution alone, whole and in two halves with the state carried. */
function s4Convolution(request: ParityRequest): ParityModule {
  const { args, shapes } = request;
  checkArguments(args, LAYER_ARGUMENTS);
  const transposed = booleanOr(args, "transposed", true);
  const module = s4Layer(request, null, shapes.get("in.x")![transposed ? 2 : 1]!);
  const apply = between(transposed, (x) => module.forward(x));
  return {
    module,
    rename: renameS4With(args),
    float32Inside: roundsKernel(args),
    call: ({ x }) => {
      const whole: Record<string, Tensor> = { y: apply(x!) };
      if (!shapes.has("out.y_chunk1")) return whole;
      const rows = transposed ? transpose(x!) : x!;
      const [batch, time] = rows.shape as [number, number];
      const cut = shapes.get("out.y_chunk1")![transposed ? 2 : 1]!;
      const none = zeros([batch, module.dim, module.kernel.modes], {
        device: rows.device,
        dtype: rows.dtype,
      });
      const first = module.chunk(narrow(rows, 1, 0, cut), { re: none, im: none });
      const second = module.chunk(narrow(rows, 1, cut, time), first.state);
      const turn = (t: Tensor): Tensor => (transposed ? transpose(t) : t);
      const stateOf = (s: MixerState): Tensor => stack([s["re"]!, s["im"]!], -1);
      return {
        ...whole,
        y_chunk1: turn(first.y),
        state1: stateOf(first.state),
        y_chunk2: turn(second.y),
        state2: stateOf(second.state),
      };
    },
  };
}

function minimalS4d({ args }: ParityRequest): ParityModule {
  checkArguments(args, {
    used: ["d_model", "d_state", "transposed", "dt_min", "dt_max"],
    withoutEffect: ["dropout", "lr"],
  });
  const module = new S4({
    key: random.key(0),
    dim: required(args, "d_model"),
    layout: "minimal",
    ssm: {
      stateSize: numberOr(args, "d_state", 64),
      minStep: numberOr(args, "dt_min", 1e-3),
      maxStep: numberOr(args, "dt_max", 0.1),
    },
  });
  const transposed = booleanOr(args, "transposed", true);
  const apply = between(transposed, (x) => module.forward(x));
  // The original's output map is a convolution of width 1.
  const outer = {
    skip: module.skip,
    kernel: module.kernel,
    outputLinear: new PointwiseConv(module),
  };
  return {
    module: outer,
    rename: renameS4,
    call: ({ x }) => {
      module.outputLinear!.weight.value = reshape(
        outer.outputLinear.weight.value,
        module.outputLinear!.weight.shape,
      );
      const y = apply(x!);
      const time = x!.shape[transposed ? 2 : 1]!;
      return { y, kernel: reshape(module.kernel.kernel(time), [module.dim, time]) };
    },
  };
}

/** The weight of a linear map under the shape of a convolution's. */
class PointwiseConv {
  readonly weight: Variable;
  readonly bias: Variable;
  constructor(module: S4) {
    const { weight, bias } = module.outputLinear!;
    this.weight = parameter(zeros([...weight.shape, 1]));
    this.bias = bias!;
  }
}

export const stateSpaceModules: ParityModules = {
  "models.s4.s4.SSMKernelDiag": diagonalKernel,
  "models.s4.s4.SSMKernelDPLR": dplrKernel,
  "models.s4.s4.S4Block": s4Block,
  "models.s4.s4.FFTConv": s4Convolution,
  "models.s4.s4d.S4D": minimalS4d,
};
