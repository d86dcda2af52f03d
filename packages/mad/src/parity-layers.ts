// mad-lab's recurrent layers and experts: how each is built from its original arguments, and how its state names map.

import { narrow, random, squeeze, stack, transpose, type Tensor } from "@everlong/core";
import { gatedLinearAttention as gatedLinearAttentionCore } from "@everlong/kernels";
import {
  GatedLinearAttention,
  LINEAR_ATTENTION_COMPAT,
  LinearAttention,
  Mamba,
  lastReal,
  type ParityModule,
  type ParityModules,
  type ParityRequest,
} from "@everlong/nn";
import { flag, number, type Arguments, type OriginalLayer } from "./original-arguments.ts";

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
        gate: String(args["gate_fn"] ?? "swish"),
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

/** By class name of the original. */
export const recurrentLayers: Readonly<Record<string, (args: Arguments) => OriginalLayer>> = {
  LinearAttention: linearAttention,
  GatedLinearAttention: gatedLinearAttention,
  Mamba: mamba,
};

/** The layer's own outputs, and those of stepping through the input: what the original's generation gives. */
function mambaCase(request: ParityRequest): ParityModule {
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

/** Cases of parts and of more than a forward pass, by whole class name. */
export const partCases: ParityModules = {
  "mad.model.layers.Mamba": mambaCase,
  "mad.model.layers.ops.gla.fused_recurrent_gla": gatedLinearAttentionOp,
};
