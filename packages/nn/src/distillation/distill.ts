// Distillation of a trained model's long filters to recurrences (Massaroli et al. 2023, "Laughing Hyena Distillery",
// arXiv 2310.18780): approximate generation in constant time and memory, with the error that it costs.

import { Complex, ConfigError, add, checkOptions, permute, tensor, type Tensor } from "@everlong/core";
import type { Module } from "../layer.ts";
import { visit } from "../layer.ts";
import { fitModes, type ModalFit } from "./modal-fit.ts";
import type { ModalRecurrence } from "./modal-recurrence.ts";

/** A long filter of a layer. */
export interface LongFilter {
  /** `[length, C]`. */
  readonly taps: Tensor;
  /** `[C]`: weight of the input itself. */
  readonly skip: Tensor | undefined;
}

/** A layer whose steps convolve with long filters, or run recurrences in their place. */
export interface LongFilterLayer {
  readonly maxLength: number;
  /** The first `length` taps of every filter, in the order in which a step uses them. */
  longFilters(length: number): readonly LongFilter[];
  /** Recurrences for `prefill` and `step`; set by {@link distill}, undefined for exact generation. */
  modal: readonly ModalRecurrence[] | undefined;
}

export interface DistillOptions {
  /** Complex numbers that the state holds for each channel of a filter. */
  readonly modes: number;
  /** Taps that are fitted. Default: the layer's longest input. */
  readonly length?: number;
  /** Most steps of refinement. Default 20. */
  readonly refine?: number;
}

/** How well one filter of a layer was fitted. */
export interface DistilledFilter {
  /** Number of the layer among those with long filters, in field order, and its class. */
  readonly layer: number;
  readonly kind: string;
  readonly filter: number;
  /** `|k - fit| / |k|` of every channel. */
  readonly errors: Float64Array;
  readonly worst: number;
  /** Root mean square over channels. */
  readonly typical: number;
}

const isLongFilterLayer = (part: object): part is LongFilterLayer => "longFilters" in part;

/**
 * Fits every long filter of a layer or model by a sum of `modes` damped oscillations. From then on `prefill` and `step` of
 * those layers carry a state of fixed size and go on beyond any length; `forward` stays exact. Setting a layer's `modal` to
 * undefined brings exact generation back. Weights changed later are not followed.
 * @returns the errors, filter by filter
 * @throws ConfigError when nothing in the module has a long filter
 */
export async function distill(module: Module, options: DistillOptions): Promise<readonly DistilledFilter[]> {
  checkOptions("distill", options, ["modes", "length", "refine"]);
  const layers: LongFilterLayer[] = [];
  visit(module, Object, (part) => void (isLongFilterLayer(part) && layers.push(part)));
  if (layers.length === 0)
    throw new ConfigError("distill", "there is no layer with a long filter", {
      hint: "State spaces and attention have states of their own.",
    });
  const report: DistilledFilter[] = [];
  for (const [at, layer] of layers.entries()) {
    const filters = layer.longFilters(options.length ?? layer.maxLength);
    const modal: ModalRecurrence[] = [];
    for (const [o, { taps, skip }] of filters.entries()) {
      const fits = await fitAll(taps, options);
      const filter = asFilter(fits, taps, skip);
      modal.push(filter);
      const { errors } = filter;
      report.push({
        layer: at,
        kind: layer.constructor.name,
        filter: o,
        errors,
        worst: Math.max(...errors),
        typical: Math.sqrt(errors.reduce((n, e) => n + e * e, 0) / errors.length),
      });
    }
    layer.modal = modal;
  }
  return report;
}

/** A fit for each channel of `[J, C]`; equal channels (heads that share filters) are fitted once. */
async function fitAll(taps: Tensor, options: DistillOptions): Promise<ModalFit[]> {
  const [length, channels] = taps.shape as [number, number];
  const values = Float64Array.from(await permute(taps, [1, 0]).data(), Number);
  const made = new Map<string, ModalFit>();
  return Array.from({ length: channels }, (_, c) => {
    const own = values.slice(c * length, (c + 1) * length);
    const name = own.join();
    const fit = made.get(name) ?? fitModes(own, options);
    made.set(name, fit);
    return fit;
  });
}

function asFilter(fits: readonly ModalFit[], like: Tensor, skip: Tensor | undefined): ModalRecurrence {
  const on = { dtype: like.dtype, device: like.device };
  const rows = (part: (fit: ModalFit) => Float64Array): Tensor =>
    tensor(
      fits.map((fit) => Array.from(part(fit))),
      on,
    );
  const first = tensor(
    fits.map((fit) => fit.first),
    on,
  );
  return {
    first: skip ? add(first, skip) : first,
    z: new Complex(
      rows((f) => f.decay),
      rows((f) => f.angle),
    ),
    weights: new Complex(
      rows((f) => f.weightRe),
      rows((f) => f.weightIm),
    ),
    errors: Float64Array.from(fits, (f) => f.error),
  };
}
