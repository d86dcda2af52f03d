// Long convolutions with free filters as safari and its standalone file construct them.

import {
  ConfigError,
  ShapeError,
  add,
  flip,
  mul,
  narrow,
  pad,
  random,
  reshape,
  transpose,
  type Tensor,
} from "@everlong/core";
import type { LongKernelSettings } from "../filters/long-kernel.ts";
import { activate, activationName, isGated } from "../layers/activation.ts";
import { Linear } from "../layers/linear.ts";
import { H3Conv } from "../mixers/h3-conv.ts";
import { LongConv } from "../mixers/long-conv.ts";
import { zeroPadding } from "../mixers/padding.ts";
import type { ParityModule, ParityModules, ParityRequest } from "../parity-entry.ts";
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
import { roundHalfEven } from "../ssm/rounding.ts";
import { OriginalBlockFft, truncatedInverse } from "./block-fft.ts";
import { prefixMask } from "./prefix-mask.ts";
import { ScalarNorm } from "./scalar-norm.ts";
import { WeightNormed } from "./weight-normed.ts";

const KERNEL_ARGUMENTS = [
  "lam",
  "causal",
  "kernel_dropout",
  "weight_init",
  "use_ma_smoothing",
  "ma_window_len",
  "smooth_freq",
  "learning_rate",
];

const filterSettings = (args: Arguments): LongKernelSettings => ({
  start: stringOr(args, "weight_init", "random") === "double_exp" ? "double-exponential" : "random",
  squash: numberOr(args, "lam", 0.1),
  smoothing: !booleanOr(args, "use_ma_smoothing", false)
    ? "none"
    : booleanOr(args, "smooth_freq", false)
      ? "frequency"
      : "time",
  window: numberOr(args, "ma_window_len", 7),
  dropout: numberOr(args, "kernel_dropout", 0),
  ...(typeof args["learning_rate"] === "number" ? { learningRate: args["learning_rate"] } : {}),
  compat: true,
});

/** An operator between `[B, D, T]` inputs and outputs where the original transposes. */
const transposedIf =
  (transposed: boolean, fn: (x: Tensor) => Tensor) =>
  (u: Tensor): Tensor =>
    transposed ? transpose(fn(transpose(u))) : fn(u);

function rename(key: string): string | undefined {
  if (key === "D") return "skip";
  // The original stores its small matrices twice.
  if (key.includes(".dft_matrices.")) return undefined;
  return key
    .replace(/\.mat_(\d+)$/, (_, rows: string) => `.matrices.${Math.log2(Number(rows)) - 1}`)
    .replace("output_linear.0.", "output_linear.")
    .replace("output_linear.1.", "output_norm.");
}

const outputMap = (inputs: number, dim: number, activation: string): Linear =>
  new Linear({ key: random.key(0), inputs, outputs: isGated(activationName(activation)) ? 2 * dim : dim });

/** The two transforms of a convolution through block FFTs. */
interface BlockFfts {
  readonly blockFftU: OriginalBlockFft;
  readonly blockFftK: OriginalBlockFft;
}

function blockFfts(args: Arguments): BlockFfts | undefined {
  if (!booleanOr(args, "block_fft_conv", false)) return undefined;
  const own = (args["block_fft_conv_args"] ?? {}) as Arguments;
  return { blockFftU: new OriginalBlockFft(own), blockFftK: new OriginalBlockFft(own) };
}

/** `[B, T, D]` to `[B, T, C D]`: the layer's filters, not its activation and map, through block FFTs of a period. */
function throughBlocks(x: Tensor, layer: LongConv, ffts: BlockFfts, period: number): Tensor {
  const [batch, time, dim] = x.shape as [number, number, number];
  const u = transpose(x);
  const { channels } = layer;
  let k = layer.kernel.forward();
  if (layer.sides === "two-sided") {
    const [ahead, behind] = [narrow(k, 0, 0, channels), flip(narrow(k, 0, channels, 2 * channels), 2)];
    k = add(pad(ahead, [[0, time]]), pad(behind, [[time, 0]]));
  }
  const y = truncatedInverse(
    ffts.blockFftU.spectrum(u, period),
    ffts.blockFftK.spectrum(k, period),
    period,
    time,
  );
  const skip = mul(reshape(u, [batch, 1, dim, time]), reshape(layer.skip.value, [1, channels, dim, 1]));
  return transpose(add(y, reshape(skip, y.shape)));
}

function longConv({ args, json }: ParityRequest): ParityModule {
  checkArguments(args, {
    used: [
      "d_model",
      "l_max",
      "channels",
      "bidirectional",
      "activation",
      "postact",
      "transposed",
      "weight_norm",
      "block_fft_conv",
      "block_fft_conv_args",
      ...KERNEL_ARGUMENTS,
    ],
    withoutEffect: ["initializer", "dropout", "tie_dropout", "verbose"],
  });
  const activation = activationOr(args, "activation", "gelu");
  const outputActivation = args["postact"] === null ? null : stringOr(args, "postact", "glu");
  const transposed = booleanOr(args, "transposed", true);
  // The original halves whichever axis comes last, and its output map fits only where that is time.
  const halvesTime = activation === "glu" && transposed;
  if (activation.startsWith("glu") && !halvesTime && !(activation === "glu" && outputActivation === null))
    throw new ConfigError("parity", `unsupported: argument "activation" ${activation}`, {
      hint: "The output map fits halved times only: transposed true, or postact null.",
    });
  const { lengths, rate } = callNumbers(json);
  const twoSided = booleanOr(args, "bidirectional", false);
  const folded = !booleanOr(args, "causal", true);
  // Either side of filters that are neither causal nor one-sided is twice as long; the period stays.
  const stretch = twoSided && folded ? 2 : 1;
  const [dim, channels] = [required(args, "d_model"), numberOr(args, "channels", 1)];
  const taps = numberOr(args, "l_max", 1024);
  const ffts = blockFfts(args);
  // What the layer itself does not have is put around its bare convolution.
  const axis = transposed ? 2 : 1;
  const [norm, outputNorm] = [activation, outputActivation].map((name) =>
    name === "ln" ? new ScalarNorm(axis) : undefined,
  );
  const bare = halvesTime || ffts !== undefined || norm !== undefined || outputNorm !== undefined;
  const module = new LongConv({
    key: random.key(0),
    dim,
    maxLength: stretch * taps,
    channels,
    sides: twoSided ? "two-sided" : folded ? "folded" : "causal",
    activation: bare ? "identity" : activation,
    outputActivation: bare ? null : outputActivation,
    filter: filterSettings(args),
    compat: "short-period",
  });
  const outputLinear =
    bare && outputActivation !== null
      ? outputMap(channels * dim, dim, outputNorm ? "identity" : outputActivation)
      : module.outputLinear;
  const convolved = (x: Tensor): Tensor => {
    const mask = lengths && prefixMask(lengths, x);
    if (!ffts) return module.forward(x, mask ? { mask } : {}, stretch * rate);
    const time = x.shape[1]!;
    return throughBlocks(
      zeroPadding(x, mask),
      module,
      ffts,
      Math.min(time, roundHalfEven(taps / rate)) + time,
    );
  };
  const activated = (y: Tensor): Tensor => {
    if (halvesTime && y.shape[1]! % 2 !== 0)
      throw new ShapeError("parity", "a gate over time needs an even length", { got: `${y.shape[1]}` });
    const z = norm
      ? norm.forward(y)
      : transposedIf(halvesTime, (t) => activate(activationName(activation), t))(y);
    if (!outputLinear) return z;
    const out = outputLinear.forward(z);
    return outputNorm ? outputNorm.forward(out) : activate(activationName(outputActivation!), out);
  };
  const apply = transposedIf(transposed, (x) => (bare ? activated(convolved(x)) : convolved(x)));
  const normed =
    booleanOr(args, "weight_norm", false) && outputLinear ? new WeightNormed(outputLinear) : undefined;
  const map = normed ?? outputLinear;
  return {
    module: {
      skip: module.skip,
      kernel: module.kernel,
      ...ffts,
      ...(norm ? { activation: norm } : {}),
      ...(map ? { outputLinear: map } : {}),
      ...(outputNorm ? { outputNorm } : {}),
    },
    rename,
    ...(ffts ? { float32Inside: true } : {}),
    call: ({ u }) => {
      normed?.apply();
      return { y: apply(u!), kernel: module.kernel.forward() };
    },
  };
}

function standaloneLongConv({ args }: ParityRequest): ParityModule {
  checkArguments(args, {
    used: ["H", "L", "channels", "kernel_lam"],
    withoutEffect: ["dropout", "kernel_dropout", "kernel_learning_rate"],
  });
  const module = new LongConv({
    key: random.key(0),
    dim: required(args, "H"),
    maxLength: required(args, "L"),
    channels: numberOr(args, "channels", 2),
    sides: "folded",
    filter: { start: "random", squash: numberOr(args, "kernel_lam", 0.1) },
    compat: "double-period",
  });
  const apply = transposedIf(true, (x) => module.forward(x));
  return {
    module,
    rename: (key) => (key === "kernel" ? "kernel.kernel" : rename(key)),
    call: ({ u }) => ({ y: apply(u!), kernel: module.kernel.forward() }),
  };
}

function h3Conv({ args }: ParityRequest): ParityModule {
  checkArguments(args, {
    used: ["d_model", "l_max", "head_dim", ...KERNEL_ARGUMENTS],
    withoutEffect: ["use_fast_fftconv", "dropout", "layer_idx", "device", "dtype"],
  });
  const module = new H3Conv({
    key: random.key(0),
    dim: required(args, "d_model"),
    // Filters that are not causal are twice as long and circular, as all of the original's are.
    maxLength: required(args, "l_max") * (booleanOr(args, "causal", true) ? 1 : 2),
    headDim: numberOr(args, "head_dim", 1),
    filter: filterSettings(args),
    compat: true,
  });
  return {
    module,
    rename: (key) => ({ D: "skip", k_D: "key_skip" })[key] ?? key,
    call: ({ u }) => ({ y: module.forward(u!) }),
  };
}

export const longConvModules: ParityModules = {
  "src.models.sequence.long_conv.LongConv": longConv,
  "standalone_long_convs.LongConv": standaloneLongConv,
  "src.models.sequence.h3_conv.H3Conv": h3Conv,
};
