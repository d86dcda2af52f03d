import { type BoxSpace, type Observation, spaceSize } from "../environments/environment.ts";

/** Turns observations into network inputs: floats as they are, codes as one-hots, the task as a one-hot if asked for. */
export class Features {
  /** Entries of one observation. */
  readonly rawSize: number;
  /** Inputs made of one observation. */
  readonly size: number;
  readonly #bytes: boolean;
  readonly #codes: readonly number[] | undefined;
  readonly #codeWidth: number;
  readonly #taskInputs: number;

  /** @param taskInputs one-hot inputs for the task's number; 0: the network is not told the task */
  constructor(space: BoxSpace, taskInputs: number) {
    this.rawSize = spaceSize(space);
    this.#bytes = space.dtype === "u8";
    this.#codes = space.codes;
    this.#codeWidth = space.codes?.reduce((a, b) => a + b, 0) ?? 0;
    const observed =
      space.codes === undefined ? this.rawSize : (this.rawSize / space.codes.length) * this.#codeWidth;
    this.#taskInputs = taskInputs;
    this.size = observed + taskInputs;
  }

  /** An empty array for `rows` raw observations. */
  raw(rows: number): Observation {
    return this.#bytes ? new Uint8Array(rows * this.rawSize) : new Float32Array(rows * this.rawSize);
  }

  /** Writes the inputs of the observation at row `from` of `raw` to row `to` of `out`, which starts as zeros. */
  write(raw: Observation, from: number, task: number, out: Float32Array, to: number): void {
    const start = from * this.rawSize;
    const base = to * this.size;
    if (this.#codes === undefined) {
      const scale = this.#bytes ? 1 / 255 : 1;
      for (let i = 0; i < this.rawSize; i++) out[base + i] = raw[start + i]! * scale;
    } else {
      const kinds = this.#codes;
      let at = base;
      for (let i = 0; i < this.rawSize; i += kinds.length) {
        for (let k = 0; k < kinds.length; k++) {
          out[at + raw[start + i + k]!] = 1;
          at += kinds[k]!;
        }
      }
    }
    if (this.#taskInputs > 0 && task >= 0) {
      out[base + this.size - this.#taskInputs + (task % this.#taskInputs)] = 1;
    }
  }
}

/** The last `length` observations of each environment's episode, oldest first; zeros before its start. */
export class Windows {
  readonly length: number;
  readonly #features: Features;
  readonly #windows: Observation[];

  constructor(features: Features, environments: number, length: number) {
    this.length = length;
    this.#features = features;
    this.#windows = Array.from({ length: environments }, () => features.raw(length));
  }

  /** Window of an environment with `observation` at its end; the window itself does not change. */
  with(environment: number, observation: Observation): Observation {
    if (this.length === 1) return observation;
    const { rawSize } = this.#features;
    const out = this.#features.raw(this.length);
    out.set(this.#windows[environment]!.subarray(rawSize));
    out.set(observation, (this.length - 1) * rawSize);
    return out;
  }

  /** Appends an observation; `done` clears the window for the next episode. */
  push(environment: number, observation: Observation, done: boolean): void {
    if (this.length === 1) return;
    if (done) this.#windows[environment]!.fill(0);
    else this.#windows[environment] = this.with(environment, observation);
  }

  clear(): void {
    for (const window of this.#windows) window.fill(0);
  }
}
