// Iso-state normalisation: fixed-state architectures are compared at one total state, 4,096 numbers in the paper
// (Poli et al. 2024, section 3.2), so that memory does not decide. Our count is what generation really carries, the windows
// of short convolutions included; mad-lab's own configurations come to 2,048 to 4,096 by the paper's count.

import { ConfigError, random } from "@everlong/core";
import { isSequenceMixer, type LayerEntry, type OptionValue } from "@everlong/nn";
import type { Architecture } from "../train/architecture.ts";
import { resolveLayers, shorthandOf, type ResolvedLayer } from "./architecture-name.ts";

/** The paper's total. */
export const ISO_STATE = 4096;

export interface IsoStateOptions {
  /** Numbers of state in all fixed-state layers together. Default {@link ISO_STATE}. */
  readonly target?: number;
  readonly dim?: number;
  /** Longest sequence that layers are made for. Default 128. */
  readonly maxLength?: number;
  /** Layers beside the registered ones. */
  readonly more?: readonly LayerEntry[];
}

/** What became of one layer. */
export interface IsoStateLayer {
  readonly layer: string;
  /** `grows`: its state is the sequence, and no option bounds it; `none`: it mixes no positions. */
  readonly kind: "fixed" | "grows" | "none";
  readonly before: number;
  readonly after: number;
  /** `stateSize 4 -> 16`; absent where nothing was changed. */
  readonly change?: string;
}

export interface IsoStateReport {
  readonly architecture: Architecture;
  readonly layers: readonly IsoStateLayer[];
  readonly target: number;
  /** Of all fixed-state layers. */
  readonly before: number;
  readonly after: number;
}

/** Options that set the size of a state, in the order in which they are tried. */
const KNOBS = ["stateSize", "heads", "headDim", "headSize", "expandV", "expandK", "featureDim"];
const CANDIDATES = [
  ...Array.from({ length: 16 }, (_, i) => i + 1),
  20,
  24,
  28,
  32,
  48,
  64,
  96,
  128,
  192,
  256,
];

/** State numbers of a layer after `time` positions; undefined where its options do not fit the width. */
function stateOf(layer: ResolvedLayer, dim: number, time: number): number | undefined {
  try {
    const built = layer.entry.build({ key: random.key(0), dim, maxLength: 2 * time }, layer.options);
    return isSequenceMixer(built) ? built.stateBytes(time) / 4 : 0;
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

/**
 * Sets the state options of an architecture's fixed-state layers so that together they come closest to the target. Layers
 * whose state grows with the sequence (attention, long convolutions) stay as they are.
 */
export function isoState(architecture: Architecture, options: IsoStateOptions = {}): IsoStateReport {
  const { target = ISO_STATE, dim = 128, maxLength = 128, more = [] } = options;
  const layers = resolveLayers(architecture, more);
  const facts = layers.map((layer) => {
    const before = stateOf(layer, dim, maxLength) ?? 0;
    const twice = stateOf(layer, dim, 2 * maxLength) ?? 0;
    const kind = before === 0 ? "none" : before === twice ? "fixed" : "grows";
    return { layer, before, kind } as const;
  });
  const share = target / Math.max(1, facts.filter((f) => f.kind === "fixed").length);
  const settled = facts.map(({ layer, before, kind }): { layer: ResolvedLayer; report: IsoStateLayer } => {
    const same: IsoStateLayer = { layer: layer.entry.name, kind, before, after: before };
    if (kind !== "fixed") return { layer, report: same };
    let best = { layer, state: before, change: "" };
    for (const knob of KNOBS) {
      const spec = layer.entry.options[knob];
      if (typeof spec?.default !== "number") continue;
      const current: OptionValue = layer.options[knob] ?? spec.default;
      for (const value of CANDIDATES) {
        const tried = { entry: layer.entry, options: { ...layer.options, [knob]: value } };
        const state = stateOf(tried, dim, maxLength);
        if (state === undefined || Math.abs(state - share) >= Math.abs(best.state - share)) continue;
        best = { layer: tried, state, change: `${knob} ${String(current)} -> ${value}` };
      }
      // The first option that a layer has is its own; others would change more than the state.
      break;
    }
    const change = best.change === "" ? {} : { change: best.change };
    return { layer: best.layer, report: { ...same, after: best.state, ...change } };
  });
  const total = (of: "before" | "after"): number =>
    settled.reduce((sum, { report }) => sum + (report.kind === "fixed" ? report[of] : 0), 0);
  const resolved = settled.map((s) => s.layer);
  return {
    architecture: {
      name: architecture.name === "" ? shorthandOf(resolved) : `${architecture.name}, iso-state`,
      layers: resolved.map(({ entry, options: o }) => ({ layer: entry.name, options: o })),
    },
    layers: settled.map((s) => s.report),
    target,
    before: total("before"),
    after: total("after"),
  };
}
