import { ShapeError } from "@everlong/core";
import type { Votes } from "../votes/votes.ts";
import type { LabelModel } from "./label-model.ts";

/**
 * Several yes/no labels per item: one label model for each label, fitted on that label's votes.
 * Dependent labels (frames of a video, parts of a taxonomy) are better served by {@link import("./flyingsquid/flyingsquid.ts").FlyingSquid}
 * with `targets` and `targetEdges`.
 */
export class MultiLabelModel {
  readonly models: readonly LabelModel[];

  constructor(labels: number, create: (label: number) => LabelModel) {
    this.models = Array.from({ length: labels }, (_, l) => create(l));
  }

  /** @param votes one binary `[N, M_l]` matrix per label. @param balances P(label), one per label. */
  fit(votes: readonly Votes[], balances?: ArrayLike<number>): this {
    this.#check(votes);
    for (const [l, model] of this.models.entries())
      model.fit(votes[l]!, balances ? { classBalance: [1 - balances[l]!, balances[l]!] } : {});
    return this;
  }

  /** P(label l holds), `[N, L]`. */
  predictProba(votes: readonly Votes[]): Float64Array {
    this.#check(votes);
    const n = votes[0]!.items;
    const out = new Float64Array(n * votes.length);
    for (const [l, model] of this.models.entries()) {
      const p = model.predictProba(votes[l]!);
      for (let i = 0; i < n; i++) out[i * votes.length + l] = p[i * 2 + 1]!;
    }
    return out;
  }

  #check(votes: readonly Votes[]): void {
    if (votes.length !== this.models.length)
      throw new ShapeError("multi-label", "there must be one vote matrix per label", {
        expected: `${this.models.length}`,
        got: `${votes.length}`,
      });
    for (const [l, v] of votes.entries())
      if (v.items !== votes[0]!.items || v.classes !== 2)
        throw new ShapeError("multi-label", `the votes of label ${l} do not fit`, {
          expected: `2 classes on ${votes[0]!.items} items`,
          got: `${v.classes} classes on ${v.items} items`,
        });
  }
}
