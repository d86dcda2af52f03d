// State spaces as sequence mixers: S4D and S4 (Gu et al. 2022), computed as a long convolution or step by step. Covers
// state-spaces/s4's block and its minimal file.

import {
  Complex,
  ConfigError,
  ShapeError,
  add,
  checkOptions,
  mul,
  narrow,
  ones,
  permute,
  random,
  reshape,
  tile,
  unsqueeze,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import { gaussian } from "../initial.ts";
import { parameter, type ForwardOptions } from "../layer.ts";
import { activate, activationName, isGated, type ActivationName } from "../layers/activation.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Linear } from "../layers/linear.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { chunkedSsm } from "../ssm/chunked-ssm.ts";
import { DiagonalSsm } from "../ssm/diagonal-ssm.ts";
import type { SsmLayout, SsmSettings } from "../ssm/settings.ts";
import { roundHalfEven } from "../ssm/rounding.ts";
import type { SsmKernel } from "../ssm/ssm-kernel.ts";
import { lastReal, zeroPadding } from "./padding.ts";

export interface S4Options {
  readonly key: Tensor;
  /** Width D. */
  readonly dim: number;
  /** Outputs of each channel's state space, C. Default 1. */
  readonly channels?: number;
  /** A second set of kernels acts on the future. Default false. */
  readonly bidirectional?: boolean;
  /** Where tap 0 of the second set acts: lag -1, as in the original (default), or lag 0. */
  readonly firstBackwardLag?: 0 | -1;
  /**
   * Order of a position's C D values: all channels of an output after another (default), or all outputs of a channel, the
   * original's `swap_channels`.
   */
  readonly channelOrder?: "set-major" | "channel-major";
  /** After the state space; `glu` doubles its outputs and halves them again. Default gelu. */
  readonly activation?: string;
  /**
   * A branch of width `gate * D` from the input multiplies the state space's outputs, mapped to that width where theirs
   * differs (gated state spaces, Mehta et al. 2022, arXiv 2206.13947). Default: none.
   */
  readonly gate?: number;
  /** Of that branch. Default identity. */
  readonly gateActivation?: string;
  /** A linear map takes the input to width `D / bottleneck`, where the state spaces act. Default: none. */
  readonly bottleneck?: number;
  /** After that one and the gate's product. Default identity. */
  readonly productActivation?: string;
  /** After the output map; null leaves the map out (the width becomes C D, or the gate's). Default glu. */
  readonly outputActivation?: string | null;
  /** Rate of dropout of the state space's outputs and of the activations. Default 0. */
  readonly dropout?: number;
  /** The same channels are dropped at all positions. Default false. */
  readonly tieDropout?: boolean;
  /** Rate at which taps are dropped. Default 0. */
  readonly kernelDropout?: number;
  /**
   * Positions convolved at a time, the state passing between them: less memory for long inputs. Needs a recurrence, and
   * leaves `kernelLength` and `kernelDropout` out. Default: all at once.
   */
  readonly chunkLength?: number;
  /** Longest kernel, at rate 1; steps know no such limit, so beyond it they differ. Default: none. */
  readonly kernelLength?: number;
  readonly ssm?: SsmSettings;
  readonly layout?: Extract<SsmLayout, "s4" | "minimal">;
  /** The original's steps keep sets major whatever `channelOrder` says. */
  readonly compat?: "set-major-steps";
}

const OPTIONS = [
  "key",
  "dim",
  "channels",
  "bidirectional",
  "firstBackwardLag",
  "channelOrder",
  "activation",
  "gate",
  "gateActivation",
  "bottleneck",
  "productActivation",
  "outputActivation",
  "dropout",
  "tieDropout",
  "kernelDropout",
  "chunkLength",
  "kernelLength",
  "ssm",
  "layout",
  "compat",
] as const satisfies readonly (keyof S4Options)[];

/** How a layer makes its state spaces. */
export type MakeSsm = (options: {
  readonly key: Tensor;
  readonly channels: number;
  readonly outputs: number;
}) => SsmKernel;

/**
 * `y = out(act(k_c * x + d_c x))`: every channel h drives its own state space `s' = A s + B x`, sampled at steps dt, and C
 * outputs read it; `k` is their impulse response. `[B, T, D]` to `[B, T, D]`. With a bottleneck and a gate,
 * `y = out(W_y act(k_c * z + d_c z) * gate(W_v x))`, `z = W_z x`.
 */
export class S4 implements Mixer {
  /** `[C, D]` (`[D]` in the minimal layout), D that of the state spaces: weight of the input itself. */
  readonly skip: Variable;
  readonly kernel: SsmKernel;
  /** To the width of the state spaces. */
  readonly inputLinear: Linear | undefined;
  readonly inputGate: Linear | undefined;
  /** To the width of the gate, where the state spaces' differs. */
  readonly outputGate: Linear | undefined;
  readonly outputLinear: Linear | undefined;
  readonly causal: boolean;
  readonly dim: number;
  /** Channels of the state spaces: D, or D / bottleneck. */
  readonly inner: number;
  /** Outputs of each channel, doubled for `glu`. */
  readonly channels: number;
  readonly bidirectional: boolean;
  readonly activation: ActivationName;
  readonly gateActivation: ActivationName;
  readonly productActivation: ActivationName;
  readonly outputActivation: ActivationName;
  readonly dropout: number;
  readonly kernelDropout: number;
  readonly kernelLength: number | undefined;
  readonly chunkLength: number | undefined;
  readonly #tie: boolean;
  readonly #channelMajor: boolean;
  readonly #swapsSteps: boolean;
  readonly #firstBackwardLag: 0 | -1;

  /** @param make default: diagonal state spaces */
  constructor(options: S4Options, make?: MakeSsm) {
    checkOptions("S4", options, OPTIONS);
    const { key, dim, channels = 1, bidirectional = false, outputActivation = "glu" } = options;
    const { layout = "s4", kernelLength, gate, bottleneck } = options;
    const inner = dim / (bottleneck ?? 1);
    for (const [name, n] of Object.entries({
      dim,
      channels,
      gate: gate ?? 1,
      bottleneck: bottleneck ?? 1,
      "dim / bottleneck": inner,
    })) {
      if (!Number.isInteger(n) || n < 1)
        throw new ConfigError("S4", `${name} must be a positive integer`, { got: `${n}` });
    }
    this.activation = activationName(options.activation ?? "gelu");
    this.gateActivation = activationName(options.gateActivation ?? "identity");
    this.productActivation = activationName(options.productActivation ?? "identity");
    this.outputActivation = activationName(outputActivation ?? "identity");
    const { channelOrder = "set-major" } = options;
    if (channelOrder !== "set-major" && channelOrder !== "channel-major")
      throw new ConfigError("S4", "unknown channelOrder", {
        expected: "set-major or channel-major",
        got: String(channelOrder),
      });
    this.#channelMajor = channelOrder === "channel-major";
    this.#swapsSteps = this.#channelMajor && options.compat !== "set-major-steps";
    this.dropout = checkRate("S4", options.dropout ?? 0);
    this.kernelDropout = checkRate("S4", options.kernelDropout ?? 0);
    this.#tie = options.tieDropout ?? false;
    this.#firstBackwardLag = options.firstBackwardLag ?? -1;
    const outputs = isGated(this.activation) ? 2 * channels : channels;
    [this.dim, this.inner, this.channels, this.kernelLength] = [dim, inner, outputs, kernelLength];
    [this.bidirectional, this.causal] = [bidirectional, !bidirectional];
    const [skipKey, kernelKey, outKey] = random.splitKey(key, 3) as [Tensor, Tensor, Tensor];
    this.skip = parameter(gaussian(skipKey, layout === "minimal" ? [inner] : [outputs, inner], 1));
    const shape = { key: kernelKey, channels: inner, outputs: outputs * (bidirectional ? 2 : 1) };
    this.kernel = make ? make(shape) : new DiagonalSsm({ ...options.ssm, ...shape, layout });
    this.chunkLength = options.chunkLength;
    if (this.chunkLength !== undefined) {
      this.#needSteps();
      if (kernelLength !== undefined || this.kernelDropout > 0)
        throw new ConfigError("S4", "chunkLength goes without kernelLength and kernelDropout");
    }
    const [inKey, gateKey, mapKey] = random.splitKey(random.foldIn(key, 1), 3) as [Tensor, Tensor, Tensor];
    if (bottleneck !== undefined) this.inputLinear = new Linear({ key: inKey, inputs: dim, outputs: inner });
    let width = channels * inner;
    if (gate !== undefined) {
      const branch = isGated(this.gateActivation) ? 2 * gate * dim : gate * dim;
      this.inputGate = new Linear({ key: gateKey, inputs: dim, outputs: branch });
      if (width !== gate * dim)
        this.outputGate = new Linear({ key: mapKey, inputs: width, outputs: gate * dim });
      width = gate * dim;
    }
    if (outputActivation === null) return;
    const wide = isGated(this.outputActivation) ? 2 * dim : dim;
    this.outputLinear = new Linear({ key: outKey, inputs: width, outputs: wide });
  }

  /** @param x `[B, T, D]`, any T. @param rate sampling rate over that of training, inverted: 2 means half as many samples */
  forward(x: Tensor, options: ForwardOptions = {}, rate = 1): Tensor {
    this.#check(x);
    const real = zeroPadding(x, options.mask);
    return this.#finish(real, this.#convolve(this.#narrowed(real), rate, options.key), options.key);
  }

  /**
   * A part of a longer input, with what came before as `state`: forward over parts equals forward over the whole.
   * @param x `[B, T, D]`
   */
  chunk(x: Tensor, state?: MixerState): { readonly y: Tensor; readonly state: MixerState } {
    this.#check(x);
    this.#needSteps();
    const { y, state: after } = this.#inChunks(
      this.#narrowed(x),
      state && new Complex(state["re"]!, state["im"]!),
    );
    return { y: this.#finish(x, y), state: { re: after.re, im: after.im } };
  }

  prefill(x: Tensor, options: PrefillOptions): { readonly y: Tensor; readonly state: MixerState } {
    this.#needSteps();
    const real = this.#narrowed(lastReal(x, x.shape[1]!, options.mask));
    const state = this.kernel.advance(permute(real, [0, 2, 1]));
    return { y: this.forward(x, options), state: { re: state.re, im: state.im } };
  }

  /** @param x `[B, D]` */
  step(x: Tensor, state: MixerState): { readonly y: Tensor; readonly state: MixerState } {
    this.#needSteps();
    const z = this.#narrowed(x);
    const next = this.kernel.step(z, new Complex(state["re"]!, state["im"]!));
    const skip = reshape(this.skip.value, [this.channels, this.inner]);
    const y = add(next.y, mul(unsqueeze(z, 1), skip));
    const rows = reshape(y, [x.shape[0]!, this.channels * this.inner]);
    const finished = this.#finish(x, rows, undefined, this.#swapsSteps);
    return { y: finished, state: { re: next.state.re, im: next.state.im } };
  }

  /** Bytes of the states, whatever the length; of the inputs where the future is read. */
  stateBytes(time: number): number {
    return this.bidirectional ? 4 * time * this.inner : 8 * this.inner * this.kernel.modes;
  }

  flops(time: number): number {
    const rows = this.inner * this.channels;
    const transform = 2.5 * 2 * time * Math.log2(2 * time);
    const maps = [this.inputLinear, this.inputGate, this.outputGate, this.outputLinear];
    const weights = maps.reduce((n, map) => n + (map ? map.weight.value.size : 0), 0);
    return rows * (3 * transform + 14 * time) + 2 * time * weights + this.kernel.flops(time);
  }

  /** `[.., D]` to the width of the state spaces. */
  #narrowed(x: Tensor): Tensor {
    return this.inputLinear ? this.inputLinear.forward(x) : x;
  }

  #check(x: Tensor): void {
    if (x.rank !== 3 || x.shape[2] !== this.dim) {
      throw new ShapeError("S4", "expected [B, T, D]", {
        expected: `[B, T, ${this.dim}]`,
        got: `[${x.shape.join(", ")}]`,
      });
    }
  }

  #needSteps(): void {
    if (this.bidirectional || !this.kernel.steps)
      throw new ConfigError("S4", "this layer has no recurrence", {
        got: this.bidirectional ? "two-sided kernels" : "DSS",
        hint: "Use forward.",
      });
  }

  /** A part of an input in chunks, from a state; skip included. */
  #inChunks(x: Tensor, before?: Complex): { readonly y: Tensor; readonly state: Complex } {
    const { y, state } = chunkedSsm(this.kernel, x, {
      ...(before ? { state: before } : {}),
      ...(this.chunkLength === undefined ? {} : { chunk: this.chunkLength }),
    });
    const wide = this.channels === 1 ? x : tile(x, this.channels, 2);
    return { y: add(y, mul(wide, reshape(this.skip.value, [-1]))), state };
  }

  /** `[B, T, D]` to `[B, T, C D]`, skip included. */
  #convolve(x: Tensor, rate: number, key?: Tensor): Tensor {
    const time = x.shape[1]!;
    if (this.chunkLength !== undefined && rate === 1) return this.#inChunks(x).y;
    const limit = this.kernelLength;
    const length = limit === undefined ? time : Math.min(time, roundHalfEven(limit / rate));
    const site = key && random.foldIn(key, 1);
    const kernel = dropout(this.kernel.kernel(length, rate), this.kernelDropout, site, 0);
    const rows = this.channels * this.inner;
    const side = (from: number): Tensor =>
      permute(reshape(narrow(kernel, 0, from, from + this.channels), [rows, length]), [1, 0]);
    return fftConv(this.channels === 1 ? x : tile(x, this.channels, 2), side(0), {
      layout: "bld",
      skip: reshape(this.skip.value, [rows]),
      ...(this.bidirectional
        ? {
            mode: "two-sided",
            backward: side(this.channels),
            firstBackwardLag: this.#firstBackwardLag,
          }
        : {}),
    });
  }

  /** `[.., C D]` to `[.., D C]`. */
  #swapped(y: Tensor): Tensor {
    const lead = y.shape.slice(0, -1);
    const parts = reshape(y, [...lead, this.channels, this.inner]);
    return reshape(permute(parts, [...lead.keys(), lead.length + 1, lead.length]), y.shape);
  }

  #drop(y: Tensor, key: Tensor | undefined, site: number): Tensor {
    if (!key || this.dropout === 0) return y;
    if (!this.#tie || y.rank < 3) return dropout(y, this.dropout, key, site);
    const mask = ones([y.shape[0]!, 1, y.shape[2]!], { dtype: y.dtype, device: y.device });
    return mul(y, dropout(mask, this.dropout, key, site));
  }

  /** `x * branch(input)`, `x` mapped to the branch's width. */
  #gated(x: Tensor, input: Tensor): Tensor {
    if (!this.inputGate) return x;
    const y = this.outputGate ? this.outputGate.forward(x) : x;
    return mul(y, activate(this.gateActivation, this.inputGate.forward(input)));
  }

  /** @param x the layer's input, @param rows what the state spaces made of it, `[.., C D]` */
  #finish(x: Tensor, rows: Tensor, key?: Tensor, swaps = this.#channelMajor): Tensor {
    const y = swaps ? this.#swapped(rows) : rows;
    const active = this.#gated(activate(this.activation, this.#drop(y, key, 0)), x);
    const z = this.#drop(activate(this.productActivation, active), key, 2);
    return this.outputLinear ? activate(this.outputActivation, this.outputLinear.forward(z)) : z;
  }
}
