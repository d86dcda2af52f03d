// H3 and its language model as HazyResearch/H3 constructs them.

import { narrow, random, reshape, slice, stack, zeros, type Tensor } from "@everlong/core";
import { LanguageModel } from "../backbones/language-model.ts";
import type { LayerSpec } from "../backbones/block.ts";
import { Mlp } from "../channel/mlp.ts";
import { loadState, stateDict } from "../layer.ts";
import { H3 } from "../mixers/h3.ts";
import type { MixerState } from "../mixer.ts";
import type { ParityModule, ParityModules, ParityRequest } from "../parity-entry.ts";
import { booleanOr, checkArguments, numberOr, required, stringOr, type Arguments } from "./arguments.ts";
import { originalAttention } from "./attention.ts";
import { MODEL_ARGUMENTS, renameLanguageModel } from "./long-conv-model.ts";
import { roundsKernel, ssmSettings } from "./ssm-arguments.ts";
import { renameSsm } from "./state-spaces.ts";

function makeH3(args: Arguments, dim: number, key: Tensor, inside = ""): H3 {
  checkArguments(
    args,
    {
      used: [
        "d_model",
        "d_state",
        "l_max",
        "head_dim",
        "measure",
        "disc",
        "real_type",
        "dt_min",
        "dt_max",
        "deterministic",
        "rank",
        "n_ssm",
        "bandlimit",
        "force_real",
      ],
      withoutEffect: [
        "use_fast_fftconv",
        "dropout",
        "layer_idx",
        "lr",
        "verbose",
        "measure_args",
        "device",
        "dtype",
      ],
      only: { mode: ["diag"], channels: [1] },
    },
    inside,
  );
  const length = args["l_max"];
  const named = {
    ...args,
    real_transform: stringOr(args, "real_type", "exp"),
    disc: stringOr(args, "disc", "bilinear"),
  };
  const { stateSize, ...ssm } = ssmSettings(named, "diag-lin");
  return new H3({
    key,
    dim,
    headDim: numberOr(args, "head_dim", 1),
    stateSize: stateSize ?? 64,
    ssm: { ...ssm, ignoreFrequencies: booleanOr(args, "force_real", false) },
    ...(typeof length === "number" ? { kernelLength: length } : {}),
  });
}

/** A key inside the layer. */
function renameH3(key: string): string {
  if (key === "D") return "skip";
  if (key === "ssm_k_D") return "key_skip";
  return renameSsm(key.replace("ssm_k_kernel.kernel.", "shift.").replace("kernel.kernel.", "kernel."));
}

const diagonalState = (module: H3, state: MixerState): Tensor => {
  const z = stack([state["re"]!, state["im"]!], -1);
  const batch = z.shape[0]! * module.headDim ** 2;
  return reshape(z, [batch, module.heads, module.kernel.modes, 2]);
};

function h3({ args, shapes }: ParityRequest): ParityModule {
  const module = makeH3(args, required(args, "d_model"), random.key(0));
  // The original's steps know neither its band limit nor its forced real modes.
  const unlimited = { ...args, bandlimit: null, force_real: null };
  const stepping = (): H3 => {
    const other = makeH3(unlimited, module.dim, random.key(0));
    loadState(other, stateDict(module));
    return other;
  };
  return {
    module,
    rename: renameH3,
    float32Inside: roundsKernel(args),
    call: ({ u }) => {
      const [batch, time] = u!.shape as [number, number, number];
      const taps = Math.min(time, module.kernelLength ?? time);
      const out: Record<string, Tensor> = {
        y: module.forward(u!),
        kernel_shift: reshape(module.shift.kernel(taps), [1, module.dim, taps]),
        kernel_diag: module.kernel.kernel(taps),
      };
      const half = shapes.get("out.y_prefill")?.[1];
      const stepped = half === undefined && !shapes.has("out.y_step") ? undefined : stepping();
      if (half !== undefined) {
        out["y_prefill"] = module.forward(narrow(u!, 1, 0, half));
        const { state } = stepped!.prefill(narrow(u!, 1, 0, half), { capacity: time });
        out["state_shift_prefill"] = state["shift"]!;
        out["state_diag_prefill"] = diagonalState(module, state);
      }
      if (shapes.has("out.y_step")) {
        const on = { device: u!.device, dtype: u!.dtype };
        const modes = [batch, module.headDim ** 2, module.heads, module.kernel.modes];
        let state: MixerState = {
          shift: zeros([batch, module.dim, module.stateSize], on),
          re: zeros(modes, on),
          im: zeros(modes, on),
        };
        const steps: Tensor[] = [];
        for (let t = 0; t < time; t++) {
          const next = stepped!.step(slice(u!, [null, t]), state);
          steps.push(next.y);
          state = next.state;
        }
        out["y_step"] = stack(steps, 1);
        out["state_shift_final"] = state["shift"]!;
        out["state_diag_final"] = diagonalState(module, state);
      }
      return out;
    },
  };
}

/** The hybrid language model; every block of the original is two of ours. */
function h3LanguageModel({ args }: ParityRequest): ParityModule {
  checkArguments(args, { ...MODEL_ARGUMENTS, used: [...MODEL_ARGUMENTS.used, "ssm_cfg"] });
  const dim = required(args, "d_model");
  const ssm = (args["ssm_cfg"] ?? {}) as Arguments;
  const attention = originalAttention(args, dim, false);
  const layers = Array.from({ length: required(args, "n_layer") }, (_, i): LayerSpec[] => [
    ({ key }) => attention(i, key) ?? makeH3(ssm, dim, key, "ssm_cfg"),
    ({ key }) => new Mlp({ key, dim, inner: numberOr(args, "d_inner", 4 * dim) }),
  ]).flat();
  const positions = numberOr(args, "max_position_embeddings", 0);
  const multiple = numberOr(args, "pad_vocab_size_multiple", 1);
  const model = new LanguageModel({
    key: random.key(0),
    vocabSize: Math.ceil(required(args, "vocab_size") / multiple) * multiple,
    dim,
    maxLength: positions > 0 ? positions : 1 << 20,
    layers,
    norm: "layer",
    normEps: numberOr(args, "layer_norm_epsilon", 1e-5),
    positions: positions > 0 ? "learned" : "none",
    tied: true,
    ...(booleanOr(args, "residual_in_fp32", false) ? { residualDtype: "f32" } : {}),
  });
  return {
    module: model,
    rename: (key) => {
      const name = renameLanguageModel(key);
      const match = name === undefined ? null : /^(layers\.\d+\.mixer\.)(.*)$/.exec(name);
      return match ? match[1]! + renameH3(match[2]!) : name;
    },
    call: ({ input_ids }) => ({ logits: model.forward(input_ids!) }),
  };
}

export const h3Modules: ParityModules = {
  "src.models.ssm.h3.H3": h3,
  "src.models.ssm_seq.SSMLMHeadModel": h3LanguageModel,
};
