// mad-lab's recurrent layers and experts: how each is built from its original arguments, and how its state names map.

import {
  ConfigError,
  broadcastTo,
  concat,
  exp,
  flip,
  gradients,
  mul,
  narrow,
  neg,
  random,
  reshape,
  split,
  squeeze,
  stack,
  sum,
  transpose,
  type Tensor,
} from "@everlong/core";
import { gatedLinearAttention as gatedLinearAttentionCore } from "@everlong/kernels";
import {
  GatedLinearAttention,
  HYENA_EXPERTS_COMPAT,
  HyenaExperts,
  LINEAR_ATTENTION_COMPAT,
  LinearAttention,
  MOE_COMPAT,
  MULTI_HEAD_HYENA_COMPAT,
  Mamba,
  MoeMlp,
  MultiHeadHyena,
  RtfFilter,
  Rwkv5ChannelMixer,
  Rwkv5TimeMixer,
  Rwkv6ChannelMixer,
  Rwkv6TimeMixer,
  lastReal,
  wkv,
  type HyenaFilterSettings,
  type Layer,
  type ParityModule,
  type ParityModules,
  type ParityRequest,
  type RwkvChannelMixerOptions,
  type RwkvTimeMixerOptions,
} from "@everlong/nn";
import { bf16TimeMixer } from "./parity-bf16.ts";
import {
  activation,
  checkNames,
  flag,
  hyenaFilter,
  number,
  record,
  type Arguments,
  type OriginalLayer,
} from "./original-arguments.ts";

const same = (key: string): string => key;

function linearAttention(args: Arguments): OriginalLayer {
  return {
    build: ({ key, dim }) =>
      new LinearAttention({
        key,
        dim,
        heads: number(args, "num_heads", 16),
        featureMap: String(args["feature_map"]),
        expandK: number(args, "expand_k", 1),
        expandV: number(args, "expand_v", 1),
        tieFeatureMaps: flag(args, "tie_feature_map_qk", false),
        normQ: flag(args, "norm_q", false),
        normK: flag(args, "norm_k", false),
        eps: number(args, "eps", 1e-12),
        compat: LINEAR_ATTENTION_COMPAT,
      }),
    rename: same,
  };
}

/** `mode` and `fuse_norm` choose kernels of one function; the fused norm has a name of its own. */
function gatedLinearAttention(args: Arguments): OriginalLayer {
  const least = args["clamp_min"];
  return {
    build: ({ key, dim }) =>
      new GatedLinearAttention({
        key,
        dim,
        heads: number(args, "num_heads", 4),
        expandK: number(args, "expand_k", 1),
        expandV: number(args, "expand_v", 2),
        gate: (args["gate_fn"] as string | undefined) ?? "swish",
        gateNormalizer: number(args, "gate_logit_normalizer", 16),
        gateRank: number(args, "gate_low_rank_dim", 16),
        eps: number(args, "layernorm_eps", 1e-5),
        ...(typeof least === "number" ? { minLogDecay: least } : {}),
      }),
    rename: (key) => key.replace(/^g_norm_swish_gate\./, "g_norm."),
  };
}

function mamba(args: Arguments): OriginalLayer {
  const rank = args["dt_rank"];
  return {
    build: ({ key, dim }) =>
      new Mamba({
        key,
        dim,
        stateSize: number(args, "d_state", 16),
        convWidth: number(args, "d_conv", 4),
        expand: number(args, "expand", 2),
        stepRank: typeof rank === "number" ? rank : 0,
        convBias: flag(args, "conv_bias", true),
        bias: flag(args, "bias", false),
      }),
    rename: (key) => key.replace(/^A_log$/, "a_log").replace(/^D$/, "d"),
  };
}

/** The implicit filter and its skip weight from `long_conv_cfg`. */
function longConvolution(cls: string, args: Arguments): HyenaFilterSettings {
  const conv = record(args, "long_conv_cfg");
  const filter = conv["filter_cls"] ?? "rtf";
  if (filter !== "implicit") {
    throw new ConfigError(cls, `filter ${JSON.stringify(filter)} is not available`, {
      expected: '"implicit"',
    });
  }
  if (number(args, "order", 2) !== 2 && cls !== "HyenaExpertsOperator") {
    throw new ConfigError(cls, "mad-lab's operator runs with order 2 only");
  }
  return hyenaFilter(record(conv, "filter_cfg"), flag(conv, "bias", true));
}

const hyenaNames = (key: string): string =>
  key.replace(/^long_conv\.filter\./, "filter_fn.").replace(/^long_conv\.bias$/, "filter_fn.bias");

/** `outer_mixing`, `post_order_ffn`, `num_blocks`, `activation` and `dropout` have no effect in the original. */
function multiHeadHyena(args: Arguments): OriginalLayer {
  const filter = longConvolution("MultiHeadHyenaOperator", args);
  return {
    build: ({ key, dim, maxLength }) =>
      new MultiHeadHyena({
        key,
        dim,
        maxLength,
        heads: number(args, "num_heads", 1),
        innerFactor: number(args, "inner_factor", 1),
        projectionGroups: number(args, "proj_groups", 4),
        shortFilterOrder: number(args, "short_filter_order", 3),
        filter,
        compat: MULTI_HEAD_HYENA_COMPAT,
      }),
    rename: hyenaNames,
  };
}

function hyenaExperts(args: Arguments): OriginalLayer {
  const filter = longConvolution("HyenaExpertsOperator", args);
  return {
    build: ({ key, dim, maxLength }) =>
      new HyenaExperts({
        key,
        dim,
        maxLength,
        order: number(args, "order", 2),
        experts: number(args, "num_experts", 8),
        active: number(args, "active_experts", 2),
        ...(typeof args["dim_inner"] === "number" ? { inner: args["dim_inner"] } : {}),
        shortFilterOrder: number(args, "short_filter_order", 3),
        activation: activation(args["activation"], "identity"),
        filter,
        compat: HYENA_EXPERTS_COMPAT,
      }),
    rename: hyenaNames,
  };
}

/** The original never uses its `gates`. */
function moeMlp(args: Arguments): OriginalLayer {
  return {
    build: ({ key, dim }) =>
      new MoeMlp({
        key,
        dim,
        ...(typeof args["dim_inner"] === "number" ? { inner: args["dim_inner"] } : {}),
        experts: number(args, "num_experts", 8),
        active: number(args, "active_experts", 2),
        activation: activation(args["act"], "gelu-tanh"),
        bias: flag(args, "bias", true),
        compat: MOE_COMPAT,
      }),
    rename: (key) => (key === "gates" ? undefined : key),
  };
}

const depthOf = (args: Arguments): { layer: number; layers: number } => ({
  layer: number(args, "layer_id", 0),
  layers: number(args, "n_layer", 1),
});

const rwkvTime =
  (make: (options: RwkvTimeMixerOptions) => Layer) =>
  (args: Arguments): OriginalLayer => ({
    build: ({ key, dim }) =>
      make({
        key,
        dim,
        width: number(args, "dim_att", 128),
        headSize: number(args, "head_dim", 16),
        divisor: number(args, "head_dim_divisor", 8),
        ...depthOf(args),
      }),
    rename: same,
  });

const rwkvChannel =
  (make: (options: RwkvChannelMixerOptions) => Layer) =>
  (args: Arguments): OriginalLayer => ({
    build: ({ key, dim }) => make({ key, dim, inner: number(args, "dim_inner", 512), ...depthOf(args) }),
    rename: same,
  });

/** By class name of the original. */
export const recurrentLayers: Readonly<Record<string, (args: Arguments) => OriginalLayer>> = {
  LinearAttention: linearAttention,
  GatedLinearAttention: gatedLinearAttention,
  Mamba: mamba,
  MultiHeadHyenaOperator: multiHeadHyena,
  HyenaExpertsOperator: hyenaExperts,
  MoeMlp: moeMlp,
  TimeMixer_RWKV5: rwkvTime((o) => new Rwkv5TimeMixer(o)),
  TimeMixer_RWKV6: rwkvTime((o) => new Rwkv6TimeMixer(o)),
  ChannelMixer_RWKV5: rwkvChannel((o) => new Rwkv5ChannelMixer(o)),
  ChannelMixer_RWKV6: rwkvChannel((o) => new Rwkv6ChannelMixer(o)),
};

/** A layer by itself. */
export const layerCase =
  (make: (args: Arguments) => OriginalLayer) =>
  ({ args }: ParityRequest): ParityModule => {
    checkNames("the layer", args);
    const { build, rename } = make(args);
    const dim = Number(args["dim"] ?? 128);
    const module = build({ key: random.key(0), dim, maxLength: Number(args["max_length"] ?? 0) });
    return { module, rename, call: ({ x }) => ({ y: module.forward(x!) }) };
  };

/** The time mixers in bf16, as the original runs them. */
const bf16Case =
  (cls: string) =>
  (request: ParityRequest): ParityModule => {
    const inner = layerCase(recurrentLayers[cls]!)(request);
    const divisor = cls === "TimeMixer_RWKV5" ? number(request.args, "head_dim_divisor", 8) : 1;
    return bf16TimeMixer(inner, inner.module as Rwkv5TimeMixer | Rwkv6TimeMixer, divisor);
  };

/** The layer's own outputs, and those of stepping through the input: what the original's generation gives. */
function mambaCase(request: ParityRequest): ParityModule {
  checkNames("Mamba", request.args);
  const { build, rename } = mamba(request.args);
  const module = build({ key: random.key(0), dim: Number(request.args["dim"]), maxLength: 0 }) as Mamba;
  return {
    module,
    rename,
    call: ({ x }) => {
      const time = x!.shape[1]!;
      const at = (t: number): Tensor => narrow(x!, 1, t, t + 1);
      let { y, state } = module.prefill(at(0), { capacity: time });
      const steps = [squeeze(y, 1)];
      for (let t = 1; t < time; t++) {
        ({ y, state } = module.step(squeeze(at(t), 1), state));
        steps.push(y);
      }
      // The original keeps one input more than a step needs.
      const u = narrow(module.inProj.forward(x!), -1, 0, module.inner);
      return {
        y: module.forward(x!),
        y_step: stack(steps, 1),
        ssm_state_final: state["ssm"]!,
        conv_state_final: transpose(lastReal(u, module.conv1d.width, undefined)),
      };
    },
  };
}

/** The core of gated linear attention, heads first. */
const gatedLinearAttentionOp = (): ParityModule => ({
  call: ({ q, k, v, g }) => {
    const swap = (t: Tensor): Tensor => transpose(t, 1, 2);
    const { y } = gatedLinearAttentionCore(swap(q!), swap(k!), swap(v!), { logDecay: swap(g!) });
    return { naive: swap(y), fused_recurrent: swap(y) };
  },
});

/** RWKV's recurrence as its kernels take it: heads side by side, `w` before the double exponential; and its gradients. */
const wkvKernel = ({ args }: ParityRequest): ParityModule => ({
  call: ({ r, k, v, w, u, gy }) => {
    const heads = (t: Tensor): Tensor => reshape(t, [t.shape[0]!, t.shape[1]!, Number(args["H"]), -1]);
    const decays = neg(exp(w!));
    const { y } = wkv(
      {
        r: heads(r!),
        k: heads(k!),
        v: heads(v!),
        logDecay: w!.rank === 2 ? broadcastTo(decays, heads(k!).shape) : heads(decays),
        bonus: u!,
      },
      "auto",
    );
    const flat = reshape(y, r!.shape);
    const names = ["r", "k", "v", "w", "u"] as const;
    const found = gradients(sum(mul(flat, gy!)), [r!, k!, v!, w!, u!]);
    const named = names.flatMap((name, i) => [
      [`grad_in.${name}`, found[i]!],
      [`grad_float32.${name}`, found[i]!],
    ]);
    return { y: flat, y_float32: flat, ...Object.fromEntries(named) };
  },
});

/** The rational filter's taps; both directions stand behind one another, the backward ones reversed. */
const rationalTaps = ({ args }: ParityRequest): ParityModule => {
  const sides = flag(args, "bidirectional", false) ? 2 : 1;
  const channels = number(args, "d_model", 1);
  const module = new RtfFilter({
    key: random.key(0),
    channels: sides * channels,
    maxLength: number(args, "trunc_len", 1),
    stateSize: number(args, "state_size", 1),
    denominators: sides * number(args, "num_a", channels),
  });
  return {
    module,
    rename: (key) => (key === "h_0" ? "h0" : key),
    call: ({ x }) => {
      const taps = transpose(module.forward(x?.shape[1] ?? module.maxLength));
      if (sides === 1) return { k: taps };
      const [ahead, behind] = split(taps, 2, 0) as [Tensor, Tensor];
      return { k: concat([ahead, flip(behind, -1)], -1) };
    },
  };
};

/** Cases of parts and of more than a forward pass, by whole class name. */
export const partCases: ParityModules = {
  "mad.model.layers.Mamba": mambaCase,
  "mad.model.layers.featurization.rtf.RTF.get_k": rationalTaps,
  "mad.model.layers.ops.gla.fused_recurrent_gla": gatedLinearAttentionOp,
  ...Object.fromEntries(
    ["5", "6"].flatMap((version) => {
      const [time, channel] = [`TimeMixer_RWKV${version}`, `ChannelMixer_RWKV${version}`];
      return [
        [`mad.model.layers.rwkv.rwkv${version}.${time}`, layerCase(recurrentLayers[time]!)],
        [`mad.model.layers.rwkv.rwkv${version}.${channel}`, layerCase(recurrentLayers[channel]!)],
        [`mad.model.layers.rwkv ${time}`, bf16Case(time)],
        [`mad/model/layers/rwkv/cuda/wkv${version}_cuda.cu`, wkvKernel],
      ];
    }),
  ),
};
