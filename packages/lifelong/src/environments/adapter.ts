import { EverlongError, ShapeError } from "@everlong/core";
import type { Seed } from "../random/random-stream.ts";
import type { BoxSpace, Environment, Observation, RenderMode } from "./environment.ts";

/** An environment of one's own in its simplest form: plain arrays in, plain arrays out. */
export interface SimpleEnvironment {
  /** Shape of an observation. */
  readonly shape: readonly number[];
  /** Number of actions. */
  readonly actions: number;
  /** Bytes instead of floats; default false. */
  readonly bytes?: boolean;
  /** For bytes that are codes; see {@link BoxSpace}. */
  readonly codes?: readonly number[];
  /** Bounds of entries; default unbounded, or 0 to 255 for bytes. */
  readonly low?: number;
  readonly high?: number;
  /** Steps after which an episode is cut; default never. */
  readonly maxSteps?: number;
  /** First observation of an episode; a seed restarts the random stream. */
  reset(seed?: Seed): ArrayLike<number>;
  /** `[observation, reward, ended, cut]`, Gymnasium's tuple; `cut` may be left out. */
  step(action: number): readonly [ArrayLike<number>, number, boolean, boolean?];
  render?(mode: RenderMode): string;
  close?(): void;
}

/** Makes an {@link Environment} of a {@link SimpleEnvironment}: copies observations, counts steps, names spaces. */
export function adaptEnvironment(simple: SimpleEnvironment): Environment {
  const { shape, actions, bytes = false, codes, maxSteps = Number.POSITIVE_INFINITY } = simple;
  const space: BoxSpace = {
    kind: "box",
    shape,
    dtype: bytes ? "u8" : "f32",
    low: simple.low ?? (bytes ? 0 : Number.NEGATIVE_INFINITY),
    high: simple.high ?? (bytes ? 255 : Number.POSITIVE_INFINITY),
    ...(codes === undefined ? {} : { codes }),
  };
  const size = shape.reduce((a, b) => a * b, 1);
  const copy = (values: ArrayLike<number>): Observation => {
    if (values.length !== size) {
      throw new ShapeError("environment", "an observation does not fit its space", {
        expected: `${size} entries for [${shape.join(", ")}]`,
        got: String(values.length),
      });
    }
    return bytes ? Uint8Array.from(values) : Float32Array.from(values);
  };
  let steps = 0;
  return {
    observationSpace: space,
    actionSpace: { kind: "discrete", n: actions },
    reset({ seed } = {}) {
      steps = 0;
      return { observation: copy(simple.reset(seed)) };
    },
    step(action) {
      if (!Number.isInteger(action) || action < 0 || action >= actions) {
        throw new EverlongError("environment", "action is outside the space", {
          expected: `0 to ${actions - 1}`,
          got: String(action),
        });
      }
      const [observation, reward, terminated, cut = false] = simple.step(action);
      steps++;
      const truncated = !terminated && (cut || steps >= maxSteps);
      return { observation: copy(observation), reward, terminated, truncated };
    },
    render: (mode) => simple.render?.(mode) ?? "",
    close: () => simple.close?.(),
  };
}
