import { ConfigError, DataError, checkOptions } from "@everlong/core";
import { Votes } from "../votes/votes.ts";
import { balanceOrUniform, requireOverlap, requireVotes } from "./class-balance.ts";
import { FlyingSquid } from "./flyingsquid/flyingsquid.ts";
import type { SquidFitOptions } from "./flyingsquid/flyingsquid.ts";
import type { LabelModel, LabelModelFit, ModelState } from "./label-model.ts";
import { stateNumbers } from "./label-model.ts";

/** Options of {@link ChainLabelModel}. */
export interface ChainLabelModelOptions extends Pick<SquidFitOptions, "solve" | "negative" | "signs"> {
  /** T: frames that are labelled together, 2 to 12. Default 3. */
  readonly frames?: number;
  /** P(neighbouring frames have the same label), for the prior of the chain. Default 0.5: no preference, as in the original's tutorial. */
  readonly persistence?: number;
  readonly compat?: "flyingsquid";
}

/**
 * Frames of a video in order: windows of T frames are labelled together by a {@link FlyingSquid} whose targets form a chain. Items must be
 * consecutive frames, two classes. The last window overlaps the one before when T does not divide the number of frames.
 */
export class ChainLabelModel implements LabelModel {
  readonly #options: ChainLabelModelOptions;
  readonly #frames: number;
  #model: FlyingSquid | undefined;
  #functions = 0;

  constructor(options: ChainLabelModelOptions = {}) {
    checkOptions("chain", options, ["frames", "persistence", "solve", "negative", "signs", "compat"]);
    const { frames = 3, persistence = 0.5 } = options;
    if (!Number.isInteger(frames) || frames < 2 || frames > 12)
      throw new ConfigError("chain", "the length of the chain is out of range", {
        expected: "2..12 frames",
        got: `${frames}`,
      });
    if (!(persistence > 0 && persistence < 1))
      throw new ConfigError("chain", "persistence is a probability", {
        expected: "above 0 and below 1",
        got: `${persistence}`,
      });
    this.#options = options;
    this.#frames = frames;
  }

  fit(votes: Votes, options: LabelModelFit = {}): this {
    requireVotes("chain", votes);
    requireOverlap("chain", votes);
    this.#check(votes);
    const { solve = "mean", negative, signs } = this.#options;
    this.#functions = votes.functions;
    this.#model = this.#make();
    const t = this.#frames;
    const signed = votes.toSigned();
    const whole = Math.floor(votes.items / t) * t * votes.functions;
    this.#model.fit(signed.subarray(0, whole), {
      solve,
      classBalance: this.#prior(balanceOrUniform("chain", 2, options.classBalance)),
      ...(negative ? { negative } : {}),
      ...(signs ? { signs } : {}),
    });
    return this;
  }

  predictProba(votes: Votes): Float64Array {
    this.#check(votes);
    if (!this.#model) throw new ConfigError("chain", "the model is not fitted");
    const [n, m, t] = [votes.items, votes.functions, this.#frames];
    const signed = votes.toSigned();
    const out = new Float64Array(n * 2);
    const put = (from: number, p: Float64Array): void => {
      for (const [i, positive] of p.entries()) out.set([1 - positive, positive], (from + i) * 2);
    };
    const whole = Math.floor(n / t) * t;
    if (whole < n) put(n - t, this.#model.predictMarginals(signed.subarray((n - t) * m)));
    put(0, this.#model.predictMarginals(signed.subarray(0, whole * m)));
    return out;
  }

  /** Mean over the frames of the window, `[M]`. */
  accuracies(): Float64Array {
    const all = this.#model!.accuracies();
    return Float64Array.from({ length: this.#functions }, (_, j) => {
      let sum = 0;
      for (let t = 0; t < this.#frames; t++) sum += all[t * this.#functions + j]!;
      return sum / this.#frames;
    });
  }

  state(): ModelState {
    return {
      functions: this.#functions,
      balance: [...this.#model!.classBalance()],
      tables: this.#model!.tables().flatMap(({ table }) => [...table]),
    };
  }

  restore(state: ModelState): this {
    this.#functions = Number(state["functions"]);
    this.#model = this.#make().restore(stateNumbers(state, "tables"), stateNumbers(state, "balance"));
    return this;
  }

  #make(): FlyingSquid {
    const t = this.#frames;
    const { compat } = this.#options;
    return new FlyingSquid({
      functions: this.#functions * t,
      targets: t,
      targetEdges: Array.from({ length: t - 1 }, (_, i) => [i, i + 1] as const),
      voteEdges: Array.from(
        { length: this.#functions * t },
        (_, i) => [i, Math.floor(i / this.#functions)] as const,
      ),
      ...(compat ? { compat } : {}),
    });
  }

  // A Markov chain with the given balance: stay with probability `persistence`, otherwise draw the other class by its share.
  #prior(balance: Float64Array): Float64Array {
    const { persistence = 0.5 } = this.#options;
    const t = this.#frames;
    return Float64Array.from({ length: 2 ** t }, (_, s) => {
      const bit = (k: number): number => (s >> (t - 1 - k)) & 1;
      let p = balance[bit(0)]!;
      for (let k = 1; k < t; k++)
        p *= (bit(k) === bit(k - 1) ? persistence : 1 - persistence) * 2 * balance[bit(k)]!;
      return p;
    });
  }

  #check(votes: Votes): void {
    if (votes.classes !== 2)
      throw new DataError("chain", "a chain labels two classes", { got: `${votes.classes}` });
    if (votes.items < this.#frames)
      throw new DataError("chain", "there are fewer frames than one chain holds", {
        expected: `at least ${this.#frames}`,
        got: `${votes.items}`,
      });
  }
}
