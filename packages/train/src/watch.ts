// What acts on a validation score as training goes on: stopping early, and lowering the rate on a plateau. Both keep plain
// numbers, so that a checkpoint's info can hold them.

import { checkOptions, ConfigError } from "@everlong/core";

/** Best value so far, and how many observations ago it was. */
export interface WatchState {
  readonly best: number | null;
  readonly since: number;
}

export interface WatchOptions {
  /** Whether smaller (`min`, losses) or larger values (`max`, accuracies) are better. Default `min`. */
  readonly mode?: "min" | "max";
  /** Observations without improvement that are tolerated. Default 10. */
  readonly patience?: number;
  /** An improvement smaller than this share of the best value counts as none. Default 1e-4. */
  readonly threshold?: number;
}

const WATCH_OPTIONS = ["mode", "patience", "threshold"] as const satisfies readonly (keyof WatchOptions)[];

class Watch {
  readonly #op: string;
  readonly #sign: 1 | -1;
  readonly #patience: number;
  readonly #threshold: number;
  #best: number | null = null;
  #since = 0;

  constructor(op: string, options: WatchOptions) {
    const { mode = "min", patience = 10, threshold = 1e-4 } = options;
    if (mode !== "min" && mode !== "max")
      throw new ConfigError(op, "bad mode", { expected: '"min" or "max"', got: `"${String(mode)}"` });
    if (!Number.isInteger(patience) || patience < 0)
      throw new ConfigError(op, "bad patience", {
        expected: "a whole number, 0 or more",
        got: `${patience}`,
      });
    if (!(threshold >= 0 && threshold < 1))
      throw new ConfigError(op, "bad threshold", { expected: "0 <= threshold < 1", got: `${threshold}` });
    this.#op = op;
    this.#sign = mode === "min" ? 1 : -1;
    this.#patience = patience;
    this.#threshold = threshold;
  }

  /** Whether patience has run out with this value; it then starts anew. */
  observe(value: number): boolean {
    if (Number.isNaN(value)) throw new ConfigError(this.#op, "the watched value is NaN");
    const best = this.#best;
    const better = best === null || this.#sign * value < this.#sign * best - this.#threshold * Math.abs(best);
    if (better) {
      this.#best = value;
      this.#since = 0;
      return false;
    }
    this.#since++;
    return this.#since > this.#patience;
  }

  restart(): void {
    this.#since = 0;
  }

  get state(): WatchState {
    return { best: this.#best, since: this.#since };
  }

  restore({ best, since }: WatchState): void {
    this.#best = best;
    this.#since = since;
  }
}

export interface EarlyStopOptions extends WatchOptions {
  /** Also stop when the value is at least (`max`) or at most (`min`) this. Default: none. */
  readonly target?: number;
}

/** Says when to stop: `onStep: () => ... !early.observe(loss)`. */
export class EarlyStop {
  readonly #watch: Watch;
  readonly #reached: (value: number) => boolean;

  constructor(options: EarlyStopOptions = {}) {
    checkOptions("EarlyStop", options, [...WATCH_OPTIONS, "target"]);
    this.#watch = new Watch("EarlyStop", options);
    const { target, mode } = options;
    this.#reached =
      target === undefined
        ? (): boolean => false
        : (value): boolean => (mode === "max" ? value >= target : value <= target);
  }

  /** Takes a value; true when training should stop. */
  observe(value: number): boolean {
    return this.#watch.observe(value) || this.#reached(value);
  }

  get state(): WatchState {
    return this.#watch.state;
  }

  restore(state: WatchState): void {
    this.#watch.restore(state);
  }
}

export interface PlateauOptions extends WatchOptions {
  /** Factor on the rate each time. Default 0.1. */
  readonly factor?: number;
  /** Observations after a reduction that do not count. Default 0. */
  readonly cooldown?: number;
  /** The factor goes no lower. Default 0. */
  readonly minFactor?: number;
}

export interface PlateauState extends WatchState {
  readonly rate: number;
  readonly cooling: number;
}

/**
 * Lowers the learning rate when a value has stopped improving, with torch's `ReduceLROnPlateau` defaults. Give it to `fit`
 * as `plateau`, and values as they come: the next step uses the new factor.
 */
export class Plateau {
  readonly #watch: Watch;
  readonly #factor: number;
  readonly #cooldown: number;
  readonly #minFactor: number;
  #rate = 1;
  #cooling = 0;

  constructor(options: PlateauOptions = {}) {
    checkOptions("Plateau", options, [...WATCH_OPTIONS, "factor", "cooldown", "minFactor"]);
    const { factor = 0.1, cooldown = 0, minFactor = 0 } = options;
    if (!(factor > 0 && factor < 1))
      throw new ConfigError("Plateau", "bad factor", { expected: "0 < factor < 1", got: `${factor}` });
    this.#watch = new Watch("Plateau", options);
    this.#factor = factor;
    this.#cooldown = cooldown;
    this.#minFactor = minFactor;
  }

  /** Factor on the scheduled rate now. */
  get factor(): number {
    return this.#rate;
  }

  /** Takes a value; true when it lowered the rate. */
  observe(value: number): boolean {
    const spent = this.#watch.observe(value);
    if (this.#cooling > 0) {
      this.#cooling--;
      this.#watch.restart();
      return false;
    }
    if (!spent) return false;
    this.#watch.restart();
    this.#cooling = this.#cooldown;
    const next = Math.max(this.#minFactor, this.#rate * this.#factor);
    const lowered = next < this.#rate;
    this.#rate = next;
    return lowered;
  }

  get state(): PlateauState {
    return { ...this.#watch.state, rate: this.#rate, cooling: this.#cooling };
  }

  restore(state: PlateauState): void {
    this.#watch.restore(state);
    this.#rate = state.rate;
    this.#cooling = state.cooling;
  }
}
