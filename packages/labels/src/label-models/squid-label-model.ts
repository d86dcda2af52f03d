import { checkOptions } from "@everlong/core";
import type { Votes } from "../votes/votes.ts";
import { balanceOrUniform, requireOverlap, requireVotes } from "./class-balance.ts";
import { FlyingSquid } from "./flyingsquid/flyingsquid.ts";
import type { SquidFitOptions } from "./flyingsquid/flyingsquid.ts";
import type { LabelModel, LabelModelFit, ModelState } from "./label-model.ts";
import { stateNumbers } from "./label-model.ts";

/** Options of {@link SquidLabelModel}. */
export interface SquidLabelModelOptions extends Pick<SquidFitOptions, "solve" | "negative" | "signs"> {
  /** Pairs of functions that copy from each other. */
  readonly functionEdges?: readonly (readonly [number, number])[];
  /** The original's prior exponent and other quirks; see {@link FlyingSquid}. */
  readonly compat?: "flyingsquid";
}

/**
 * {@link FlyingSquid} behind the common contract: two classes directly, more classes one against the rest, the K posteriors normalised.
 * Default `solve: "median"`: a mean of ratios has no finite variance when a moment is near 0.
 */
export class SquidLabelModel implements LabelModel {
  readonly #options: SquidLabelModelOptions;
  #models: FlyingSquid[] = [];
  #accuracies: Float64Array = new Float64Array(0);

  constructor(options: SquidLabelModelOptions = {}) {
    checkOptions("flyingsquid", options, ["solve", "negative", "signs", "functionEdges", "compat"]);
    this.#options = options;
  }

  fit(votes: Votes, options: LabelModelFit = {}): this {
    requireVotes("flyingsquid", votes);
    requireOverlap("flyingsquid", votes);
    const { functionEdges = [], compat, solve = "median", negative, signs } = this.#options;
    const { classes: k, functions: m } = votes;
    const balance = balanceOrUniform("flyingsquid", k, options.classBalance);
    const positives = k === 2 ? [1] : Array.from({ length: k }, (_, c) => c);
    this.#models = positives.map((c) =>
      new FlyingSquid({ functions: m, functionEdges, ...(compat ? { compat } : {}) }).fit(votes.toSigned(c), {
        solve,
        classBalance: [1 - balance[c]!, balance[c]!],
        ...(negative ? { negative } : {}),
        ...(signs ? { signs } : {}),
      }),
    );
    this.#accuracies = new Float64Array(m);
    for (const model of this.#models)
      for (const [j, a] of model.accuracies().entries())
        this.#accuracies[j] = this.#accuracies[j]! + a / this.#models.length;
    return this;
  }

  predictProba(votes: Votes): Float64Array {
    const { classes: k, items: n } = votes;
    const out = new Float64Array(n * k);
    if (k === 2) {
      const positive = this.#models[0]!.predictMarginals(votes.toSigned());
      for (let i = 0; i < n; i++) {
        out[i * 2] = 1 - positive[i]!;
        out[i * 2 + 1] = positive[i]!;
      }
      return out;
    }
    for (const [c, model] of this.#models.entries()) {
      const p = model.predictMarginals(votes.toSigned(c));
      for (let i = 0; i < n; i++) out[i * k + c] = p[i]!;
    }
    for (let i = 0; i < n; i++) {
      let sum = 0;
      for (let c = 0; c < k; c++) sum += out[i * k + c]!;
      for (let c = 0; c < k; c++) out[i * k + c] = sum > 0 ? out[i * k + c]! / sum : 1 / k;
    }
    return out;
  }

  state(): ModelState {
    return {
      accuracies: [...this.#accuracies],
      models: this.#models.map((model) => ({
        functions: model.tree.functions,
        balance: [...model.classBalance()],
        tables: model.tables().flatMap(({ table }) => [...table]),
      })),
    };
  }

  restore(state: ModelState): this {
    this.#accuracies = stateNumbers(state, "accuracies");
    const { functionEdges = [], compat } = this.#options;
    this.#models = (state["models"] as readonly ModelState[]).map((one) =>
      new FlyingSquid({
        functions: Number(one["functions"]),
        functionEdges,
        ...(compat ? { compat } : {}),
      }).restore(stateNumbers(one, "tables"), stateNumbers(one, "balance")),
    );
    return this;
  }

  accuracies(): Float64Array {
    return this.#accuracies;
  }
}
