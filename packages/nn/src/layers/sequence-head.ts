// From a sequence to outputs: some of its positions, or running means or sums, through a linear map.

import {
  ConfigError,
  argsort,
  broadcastTo,
  cast,
  checkOptions,
  cumsum,
  div,
  iota,
  maximum,
  narrow,
  not,
  reshape,
  squeeze,
  takeAlong,
  unsqueeze,
  add,
  type Tensor,
} from "@everlong/core";
import { lastReal, zeroPadding } from "../mixers/padding.ts";
import { Linear } from "./linear.ts";

export const READOUTS = ["last", "first", "mean", "sum"] as const;
/** Positions as they are, from the end or the start, or means or sums of everything up to a position, from the end. */
export type Readout = (typeof READOUTS)[number];

export interface SequenceHeadOptions {
  readonly key: Tensor;
  /** Width D. */
  readonly dim: number;
  /** Number N of outputs of the linear map; default none: features pass as they are. */
  readonly outputs?: number;
  /** Default "last". */
  readonly readout?: Readout;
  /** Positions read: a number M, "one" (drops their axis, default), or "all". */
  readonly positions?: number | "one" | "all";
}

/** `[B, T, D]` to `[B, N]`, `[B, M, N]` or `[B, T, N]`. Padding counts in no mean and is never the last position. */
export class SequenceHead {
  readonly outputTransform: Linear | undefined;
  readonly readout: Readout;
  readonly positions: number | "one" | "all";

  constructor(options: SequenceHeadOptions) {
    checkOptions("SequenceHead", options, ["key", "dim", "outputs", "readout", "positions"]);
    const { key, dim, outputs, readout = "last", positions = "one" } = options;
    if (!READOUTS.includes(readout)) {
      throw new ConfigError("SequenceHead", `unknown readout "${readout}"`, {
        expected: READOUTS.join(", "),
      });
    }
    if (typeof positions === "number" && !(Number.isInteger(positions) && positions > 0)) {
      throw new ConfigError("SequenceHead", "positions must be a positive integer", { got: `${positions}` });
    }
    [this.readout, this.positions] = [readout, positions];
    if (outputs !== undefined) this.outputTransform = new Linear({ key, inputs: dim, outputs });
  }

  /** @param options.mask `[B, T]` bool: real positions. */
  forward(x: Tensor, options: { readonly mask?: Tensor } = {}): Tensor {
    const read = this.#read(x, options.mask);
    return this.outputTransform ? this.outputTransform.forward(read) : read;
  }

  #read(x: Tensor, mask: Tensor | undefined): Tensor {
    const [batch, time] = x.shape as [number, number, number];
    let values = x;
    if (this.readout === "mean" || this.readout === "sum") {
      values = cumsum(zeroPadding(x, mask), 1);
      if (this.readout === "mean") {
        const on = { device: x.device };
        const count = mask ? maximum(cumsum(cast(mask, "i32"), 1), 1) : add(iota([batch, time], 1, on), 1);
        values = div(values, unsqueeze(cast(count, x.dtype), -1));
      }
    }
    if (this.positions === "all") return values;
    const count = this.positions === "one" ? 1 : this.positions;
    if (count > time)
      throw new ConfigError("SequenceHead", "more positions than the input has", {
        expected: `at most ${time}`,
        got: `${count}`,
      });
    const taken = this.readout === "first" ? firstReal(values, count, mask) : lastReal(values, count, mask);
    return this.positions === "one" ? squeeze(taken, 1) : taken;
  }
}

/** The first `count` real positions of `x` `[B, T, D]`. */
function firstReal(x: Tensor, count: number, mask: Tensor | undefined): Tensor {
  if (!mask) return narrow(x, 1, 0, count);
  // A stable sort puts the real positions first and keeps their order.
  const order = argsort(cast(not(mask), "i32"));
  const wide = broadcastTo(reshape(order, [...order.shape, 1]), x.shape);
  return narrow(takeAlong(zeroPadding(x, mask), wide, 1), 1, 0, count);
}
