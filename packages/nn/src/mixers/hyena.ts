// The Hyena operator (Poli et al. 2023): projections, a short convolution, and a recurrence of gates and long implicit
// convolutions. Covers the variants of safari, its standalone file, hyena-dna and mad-lab.

import {
  ConfigError,
  ShapeError,
  broadcastTo,
  checkOptions,
  checkSizes,
  concat,
  einsum,
  iota,
  less,
  mul,
  narrow,
  random,
  reshape,
  split,
  sum,
  tile,
  unsqueeze,
  where,
  zeros,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { isMixed, packedHyena } from "@everlong/kernels";
import type { LongFilter, LongFilterLayer } from "../distillation/distill.ts";
import { modalBytes, type ModalRecurrence } from "../distillation/modal-recurrence.ts";
import { gaussian } from "../initial.ts";
import { parameter, type ForwardOptions } from "../layer.ts";
import { activate, activationName, type ActivationName } from "../layers/activation.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Linear } from "../layers/linear.ts";
import { ShortConv } from "../layers/short-conv.ts";
import { BlockConvs } from "../filters/block-convs.ts";
import { CarriedConvs } from "../filters/carried-convs.ts";
import { OnlineConvs } from "../filters/online-convs.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { pack, packing, unpack } from "./attention-padding.ts";
import { lastReal } from "./padding.ts";
import { convolve, type HyenaConvolution, type HyenaTaps } from "./hyena-convolution.ts";
import { BlockFft } from "../filters/block-fft.ts";
import { HyenaFilter } from "./hyena-filter.ts";
import { HYENA_COMPAT, HYENA_OPTIONS, type HyenaCompat, type HyenaOptions } from "./hyena-options.ts";

/** The output, projections before the short convolution, and the inputs of every long convolution. */
interface HyenaRun {
  readonly y: Tensor;
  readonly raw: Tensor;
  readonly inputs: readonly Tensor[];
}

/**
 * With projections `x_0 .. x_{N-1}, v` of the input: `v <- h_o * (v x_{N-1-o}) + d_o v x_{N-1-o}` for o = 0 .. N-2, then
 * `out(act(v x_0))`; N is the order, `*` a convolution over time. Names in the state are safari's.
 */
export class Hyena implements Mixer, LongFilterLayer {
  /** Recurrences in place of the filters during generation; see {@link distill}. */
  modal: readonly ModalRecurrence[] | undefined;
  readonly inProj: Linear;
  readonly shortFilter: ShortConv;
  readonly filterFn: HyenaFilter;
  /** `[order, H, H]`; the last slice is unused, as in the original. */
  readonly ordProjW: Variable | undefined;
  readonly outProj: Linear;
  readonly causal: boolean;
  readonly dim: number;
  readonly inner: number;
  readonly maxLength: number;
  readonly order: number;
  readonly heads: number;
  readonly blocks: number;
  readonly activation: ActivationName;
  readonly dropout: number;
  readonly bidirectional: boolean;
  readonly transform: BlockFft | undefined;
  /** How often the channels of the projection are repeated. */
  readonly groups: number;
  readonly outerMixing: boolean;
  readonly #orderMajor: boolean;
  readonly #compat: ReadonlySet<HyenaCompat>;
  readonly #form: HyenaConvolution;

  constructor(options: HyenaOptions) {
    checkOptions("Hyena", options, HYENA_OPTIONS);
    const {
      key,
      dim,
      maxLength,
      order = 2,
      heads = 1,
      innerFactor = 1,
      projectionGroups = 1,
      blocks = 1,
    } = options;
    const { postOrderMixing = false, shortFilterOrder = 3, bidirectional = false, compat = [] } = options;
    const inner = dim * innerFactor;
    if (!Number.isInteger(order) || order < 2)
      throw new ConfigError("Hyena", "order must be an integer from 2", { got: `${order}` });
    checkSizes("Hyena", { dim, maxLength, heads, innerFactor, projectionGroups, blocks });
    const divides = (what: string, n: number, by: number): void => {
      if (n % by !== 0) throw new ConfigError("Hyena", `${what}: ${by} does not divide ${n}`);
    };
    divides("heads and inner width", inner, heads);
    divides("blocks and maxLength", maxLength, blocks);
    divides("projectionGroups and inner channels", inner * (order + 1), projectionGroups);
    for (const name of compat) {
      if (!HYENA_COMPAT.includes(name))
        throw new ConfigError("Hyena", `unknown compat "${name}"`, {
          expected: HYENA_COMPAT.join(", "),
        });
    }
    [this.dim, this.inner, this.maxLength, this.order, this.heads, this.blocks] = [
      dim,
      inner,
      maxLength,
      order,
      heads,
      blocks,
    ];
    this.activation = activationName(options.activation ?? "identity");
    this.dropout = checkRate("Hyena", options.dropout ?? 0);
    this.groups = projectionGroups;
    this.outerMixing = options.outerMixing ?? false;
    this.#orderMajor = options.packing === "order-major";
    this.#compat = new Set(compat);
    this.bidirectional = bidirectional;
    const wraps = blocks > 1 && this.#compat.has("wrapped-blocks");
    const { firstBackwardLag } = options;
    if (firstBackwardLag !== undefined && (!bidirectional || this.#compat.has("aliased-two-sided"))) {
      throw new ConfigError("Hyena", "firstBackwardLag needs a two-sided filter", {
        got: `${firstBackwardLag}`,
      });
    }
    if (options.blockFft) {
      if (blocks > 1 || compat.length > 0)
        throw new ConfigError("Hyena", "blockFft excludes blocks and compat");
      this.transform = new BlockFft({ ...options.blockFft, key: random.foldIn(key, 7) });
    }
    this.#form = {
      firstBackwardLag: firstBackwardLag ?? -1,
      block: blocks > 1 && !wraps ? maxLength / blocks : undefined,
      aliased: bidirectional && this.#compat.has("aliased-two-sided"),
      wrapped: wraps ? blocks : undefined,
      transform: this.transform,
    };
    // nothing ties learned matrices to the past
    this.causal = !bidirectional && !wraps && !this.transform?.learned;
    const keys = random.splitKey(key, 5) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const width = inner * (order + 1);
    const headDim = inner / heads;
    this.inProj = new Linear({ key: keys[0], inputs: dim, outputs: width / projectionGroups });
    this.shortFilter = new ShortConv({ key: keys[1], channels: width, width: shortFilterOrder });
    const sides = bidirectional && !this.#compat.has("aliased-two-sided") ? 2 : 1;
    this.filterFn = new HyenaFilter({
      ...options.filter,
      key: keys[2],
      channels: headDim * (order - 1) * sides,
      maxLength,
    });
    if (postOrderMixing)
      this.ordProjW = parameter(gaussian(keys[3], [order, heads, heads], 1 / Math.sqrt(headDim)));
    this.outProj = new Linear({ key: keys[4], inputs: inner, outputs: dim });
  }

  /** @param x `[B, T, D]` */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#runAligned(x, options).y;
  }

  /** @throws ConfigError for filters that read the future */
  prefill(x: Tensor, options: PrefillOptions): { readonly y: Tensor; readonly state: MixerState } {
    this.#needCausal();
    const { capacity } = options;
    const { y, raw, inputs, mask, lengths } = this.#runAligned(x, options);
    const time = raw.shape[1]!;
    if (this.blocks > 1) {
      const block = this.maxLength / this.blocks;
      const filters = this.#filters(block);
      const convs = inputs.map((u, o) => ({ inputs: u, taps: filters[o]!.ahead, skip: filters[o]!.skip }));
      const tail = lastReal(raw, this.shortFilter.width - 1, mask);
      const limits = { block, capacity, longest: this.maxLength, lengths };
      return { y, state: { tail, ...BlockConvs.start("Hyena", convs, limits) } };
    }
    const filters = this.#filters(Math.max(time, Math.min(capacity, this.maxLength)));
    const convs = inputs.map((u, o) => ({
      inputs: lastReal(u, time, mask),
      taps: filters[o]!.ahead,
      skip: filters[o]!.skip,
    }));
    const tail = lastReal(raw, this.shortFilter.width - 1, mask);
    return {
      y,
      state: {
        tail,
        ...OnlineConvs.start("Hyena", convs, { capacity, longest: this.maxLength, modal: this.modal }),
      },
    };
  }

  /** @param x `[B, D]` */
  step(x: Tensor, state: MixerState): { readonly y: Tensor; readonly state: MixerState } {
    this.#needCausal();
    const { y: now, tail } = this.shortFilter.step(
      repeatChannels(this.inProj.forward(x), this.groups),
      state["tail"]!,
    );
    const parts = split(now, this.order + 1, -1);
    const convs = this.blocks > 1 ? new BlockConvs(state) : new OnlineConvs(state, this.modal);
    let v = parts[this.order]!;
    for (let o = 0; o < this.order - 1; o++) {
      v = convs.next(mul(v, this.#gate(parts[this.order - 1 - o]!)));
      if (this.ordProjW) v = this.#mixHeads(v, o);
    }
    const y = this.outProj.forward(activate(this.activation, mul(v, parts[0]!)));
    return { y, state: { tail, ...convs.state } };
  }

  /**
   * A part of a longer input, with what came before as `state`: forward over parts equals forward over the whole. All parts
   * together may be longer than `maxLength`, beyond which nothing is remembered.
   * @param x `[B, T, D]`
   * @throws ConfigError for blocks and for filters that read the future
   */
  chunk(x: Tensor, state?: MixerState): { readonly y: Tensor; readonly state: MixerState } {
    this.#needOneFilter();
    const raw = repeatChannels(this.inProj.forward(x), this.groups);
    const [batch, time, width] = raw.shape as [number, number, number];
    const before = this.shortFilter.width - 1;
    const on = { dtype: raw.dtype, device: raw.device };
    const window = concat([state?.["tail"] ?? zeros([batch, before, width], on), raw], 1);
    const now = narrow(this.shortFilter.forward(window), 1, before, before + time);
    const parts = split(now, this.order + 1, -1);
    const filters = this.#filters(this.maxLength);
    const convs = new CarriedConvs(state);
    let v = parts[this.order]!;
    for (let o = 0; o < this.order - 1; o++) {
      const { ahead, skip } = filters[o]!;
      v = convs.next(mul(v, this.#gate(parts[this.order - 1 - o]!)), ahead, skip);
      if (this.ordProjW) v = this.#mixHeads(v, o);
    }
    const y = this.outProj.forward(activate(this.activation, mul(v, parts[0]!)));
    return { y, state: { tail: narrow(window, 1, time, time + before), ...convs.state } };
  }

  /** @throws ConfigError for blocks and for filters that read the future */
  longFilters(length: number): readonly LongFilter[] {
    this.#needOneFilter();
    return this.#filters(length).map(({ ahead, skip }) => ({ taps: ahead, skip }));
  }

  #needCausal(): void {
    if (this.causal) return;
    throw new ConfigError("Hyena", "this layer cannot be run one position at a time", {
      got: this.transform?.learned
        ? "learned matrices"
        : this.bidirectional
          ? "two-sided filters"
          : "wrapped blocks",
      hint: "Use forward.",
    });
  }

  /** One filter over all positions, none of it in the future. */
  #needOneFilter(): void {
    this.#needCausal();
    if (this.blocks === 1) return;
    throw new ConfigError("Hyena", "blocks have no filter over all positions", {
      got: `${this.blocks} blocks`,
      hint: "Use forward, or prefill and step.",
    });
  }

  /** A run with blocks that begin at the first real position, wherever that stands; then `y` alone is where `x` was. */
  #runAligned(
    x: Tensor,
    options: ForwardOptions,
  ): HyenaRun & { readonly mask?: Tensor | undefined; readonly lengths?: Tensor } {
    const how = this.blocks > 1 ? packing(options.mask) : undefined;
    if (!how) return { ...this.#run(x, options), mask: options.mask };
    const { lengths } = how;
    const mask = less(iota(options.mask!.shape, 1, { device: x.device }), unsqueeze(lengths, -1));
    const result = this.#run(pack(x, how), { ...options, mask });
    return { ...result, y: unpack(result.y, how), mask, lengths };
  }

  #run(x: Tensor, options: ForwardOptions): HyenaRun {
    const time = x.shape[1]!;
    if (x.rank !== 3 || x.shape[2] !== this.dim) {
      throw new ShapeError("Hyena", "expected [B, T, D]", {
        expected: `[B, T, ${this.dim}]`,
        got: `[${x.shape.join(", ")}]`,
      });
    }
    if (time > this.maxLength) {
      if (!this.#compat.has("truncate")) {
        throw new ShapeError("Hyena", "longer than maxLength", {
          expected: `at most ${this.maxLength} positions`,
          got: `${time}`,
          hint: "Build the layer with the longest length you will use.",
        });
      }
      const cut = options.mask ? { ...options, mask: narrow(options.mask, -1, 0, this.maxLength) } : options;
      return this.#run(narrow(x, 1, 0, this.maxLength), cut);
    }
    const { mask, key } = options;
    const real = mask && unsqueeze(mask, -1);
    const masked = (t: Tensor): Tensor => (real ? where(real, t, 0) : t);
    const raw = masked(repeatChannels(this.inProj.forward(x), this.groups));
    const joint = masked(this.shortFilter.forward(raw));
    const filters = this.#filters(time);
    // Generation wants the inputs of the convolutions.
    const packed = "capacity" in options ? undefined : this.#packed(joint, filters[0]!, key);
    if (packed) return { y: this.outProj.forward(activate(this.activation, packed)), raw, inputs: [] };
    const parts = split(joint, this.order + 1, -1);
    const inputs: Tensor[] = [];
    let v = parts[this.order]!;
    for (let o = 0; o < this.order - 1; o++) {
      const last = o === this.order - 2;
      let gate: Tensor | undefined = this.#gate(parts[this.order - 1 - o]!);
      if (key && this.dropout > 0) {
        v = dropout(mul(v, gate), this.dropout, key, o);
        gate = undefined;
      }
      inputs.push(gate ? mul(v, gate) : v);
      // The output gate joins the last convolution unless heads are mixed in between.
      v = convolve(v, filters[o]!, gate, last && !this.ordProjW ? parts[0] : undefined, this.#form);
      if (this.ordProjW) v = this.#mixHeads(v, o);
    }
    if (this.ordProjW) v = mul(v, parts[0]!);
    return { y: this.outProj.forward(activate(this.activation, v)), raw, inputs };
  }

  /** The recurrence in one call, under mixed precision and where it is no more than a gated convolution. */
  #packed(joint: Tensor, { ahead, behind, skip }: HyenaTaps, key: Tensor | undefined): Tensor | undefined {
    const { block, aliased, wrapped, transform } = this.#form;
    const plain = block === undefined && wrapped === undefined && !aliased && !transform && !behind;
    const gated = this.order === 2 && !this.ordProjW && !this.outerMixing && !(key && this.dropout > 0);
    return isMixed() && plain && gated ? packedHyena(joint, ahead, skip) : undefined;
  }

  /** Bytes of the slots of every long convolution, and of the short one's inputs. */
  stateBytes(time: number): number {
    const held = this.blocks > 1 ? this.maxLength / this.blocks : Math.min(time, this.maxLength);
    const slots = 4 * held * this.inner * (this.order - 1);
    const long = this.modal?.reduce((n, filter) => n + modalBytes(filter), 0) ?? slots;
    return long + 4 * this.inner * (this.order + 1) * (this.shortFilter.width - 1);
  }

  flops(time: number): number {
    const width = this.inner * (this.order + 1);
    const projections = 2 * time * (this.dim * (width / this.groups) + this.inner * this.dim);
    const short = 2 * time * width * this.shortFilter.width;
    const transform = 2.5 * 2 * time * Math.log2(2 * time);
    const long = (this.order - 1) * this.inner * (3 * transform + 14 * time);
    return projections + short + long + this.filterFn.flops(time);
  }

  /** Taps `[T, H hd]` and skip of every convolution; heads share theirs. */
  #filters(time: number): HyenaTaps[] {
    const taps = this.filterFn.forward(time);
    const skips = this.filterFn.skip();
    const count = this.order - 1;
    const headDim = this.inner / this.heads;
    const sides = this.filterFn.channels / (headDim * count);
    const unpack = (t: Tensor, side: number): Tensor[] => {
      const one = narrow(t, -1, side * headDim * count, (side + 1) * headDim * count);
      const lead = one.shape.slice(0, -1);
      const wide = reshape(one, [...lead, ...(this.#orderMajor ? [count, headDim] : [headDim, count])]);
      return Array.from({ length: count }, (_, o) => {
        const channels = reshape(narrow(wide, this.#orderMajor ? -2 : -1, o, o + 1), [...lead, headDim]);
        return tile(channels, this.heads, -1);
      });
    };
    const ahead = unpack(taps, 0);
    const behind = sides === 2 ? unpack(taps, 1) : [];
    const skip = skips ? unpack(skips, 0) : [];
    return ahead.map((k, o) => ({ ahead: k, behind: behind[o], skip: skip[o] }));
  }

  #gate(x: Tensor): Tensor {
    if (!this.outerMixing) return x;
    const heads = [...x.shape.slice(0, -1), this.heads, this.inner / this.heads];
    return reshape(broadcastTo(sum(reshape(x, heads), -1, { keepDims: true }), heads), x.shape);
  }

  #mixHeads(v: Tensor, o: number): Tensor {
    const w = reshape(narrow(this.ordProjW!.value, 0, o, o + 1), [this.heads, this.heads]);
    const heads = reshape(v, [-1, this.heads, this.inner / this.heads]);
    return reshape(einsum("nhd,hg->ngd", heads, w), v.shape);
  }
}

/** The channels `count` times over; joining copies writes each once. */
const repeatChannels = (x: Tensor, count: number): Tensor =>
  concat(
    Array.from({ length: count }, () => x),
    -1,
  );
