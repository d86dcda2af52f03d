import { EverlongError } from "@everlong/core";
import { RandomStream, type Seed } from "../random/random-stream.ts";
import type {
  Action,
  BoxSpace,
  DiscreteSpace,
  Environment,
  RenderMode,
  ResetResult,
  StepResult,
} from "./environment.ts";
import type { EnvironmentEntry } from "./registry.ts";

const TILT_LIMIT = (12 * 2 * Math.PI) / 360;
const TRACK_LIMIT = 2.4;
const STEP_SECONDS = 0.02;

/** Physics of the cart and pole in SI units; the defaults are CartPole-v1's. */
export interface CartPoleOptions {
  readonly gravity: number;
  readonly cartMass: number;
  readonly poleMass: number;
  /** Half the pole's length. */
  readonly poleHalfLength: number;
  readonly force: number;
  /** Probability that an action is replaced by the other one. */
  readonly slip: number;
  /** 1 swaps left and right. */
  readonly mirrored: number;
  readonly maxSteps: number;
}

/**
 * Cart and pole (Barto, Sutton and Anderson 1983) with the equations of Florian 2005 and Gymnasium's CartPole-v1
 * constants: explicit Euler steps of 0.02 s, reward 1 a step, end at 12 degrees or 2.4 m.
 *
 * Observation `[4]`: position, velocity, angle, angular velocity. Actions: 0 push left, 1 push right.
 */
export class CartPole implements Environment {
  readonly observationSpace: BoxSpace = {
    kind: "box",
    shape: [4],
    dtype: "f32",
    low: [-2 * TRACK_LIMIT, -Infinity, -2 * TILT_LIMIT, -Infinity],
    high: [2 * TRACK_LIMIT, Infinity, 2 * TILT_LIMIT, Infinity],
  };
  readonly actionSpace: DiscreteSpace = { kind: "discrete", n: 2 };
  readonly #options: CartPoleOptions;
  #random: RandomStream = new RandomStream(0);
  #state: readonly [number, number, number, number] | null = null;
  #steps = 0;

  constructor(options: CartPoleOptions) {
    this.#options = options;
  }

  reset({ seed }: { readonly seed?: Seed } = {}): ResetResult {
    if (seed !== undefined) this.#random = new RandomStream(seed);
    const draw = (): number => -0.05 + 0.1 * this.#random.uniform();
    this.#state = [draw(), draw(), draw(), draw()];
    this.#steps = 0;
    return { observation: Float32Array.from(this.#state) };
  }

  step(action: Action): StepResult {
    if (this.#state === null) throw new EverlongError("CartPole", "step before reset");
    if (action !== 0 && action !== 1) {
      throw new EverlongError("CartPole", "action is outside the space", {
        expected: "0 or 1",
        got: String(action),
      });
    }
    const { gravity, cartMass, poleMass, poleHalfLength, slip, mirrored, maxSteps } = this.#options;
    const slipped = slip > 0 && this.#random.uniform() < slip;
    const right = ((action === 1) !== (mirrored === 1)) !== slipped;
    const force = right ? this.#options.force : -this.#options.force;

    const [x, v, angle, spin] = this.#state;
    const mass = cartMass + poleMass;
    const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
    const push = (force + poleMass * poleHalfLength * spin ** 2 * sin) / mass;
    const turn = (gravity * sin - cos * push) / (poleHalfLength * (4 / 3 - (poleMass * cos ** 2) / mass));
    const acceleration = push - (poleMass * poleHalfLength * turn * cos) / mass;
    this.#state = [
      x + STEP_SECONDS * v,
      v + STEP_SECONDS * acceleration,
      angle + STEP_SECONDS * spin,
      spin + STEP_SECONDS * turn,
    ];
    this.#steps++;
    const terminated = Math.abs(this.#state[0]) > TRACK_LIMIT || Math.abs(this.#state[2]) > TILT_LIMIT;
    return {
      observation: Float32Array.from(this.#state),
      reward: 1,
      terminated,
      truncated: !terminated && this.#steps >= maxSteps,
    };
  }

  render(mode: RenderMode): string {
    const [x, , angle] = this.#state ?? [0, 0, 0, 0];
    return mode === "ansi" ? drawText(x, angle) : drawSvg(x, angle, this.#options.poleHalfLength);
  }
}

function drawText(x: number, angle: number): string {
  const width = 49;
  const column = Math.round(((x + TRACK_LIMIT) / (2 * TRACK_LIMIT)) * (width - 1));
  const rows = Array.from({ length: 5 }, (_, i) => {
    const at = Math.round(column + Math.tan(angle) * (5 - i) * 4);
    return `${" ".repeat(Math.max(0, Math.min(width - 1, at)))}\u001b[33m|\u001b[0m`;
  });
  const cart = `${" ".repeat(Math.max(0, column - 2))}\u001b[36m[===]\u001b[0m`;
  return [...rows, cart, "-".repeat(width)].join("\n");
}

function drawSvg(x: number, angle: number, half: number): string {
  const scale = 600 / (2 * TRACK_LIMIT);
  const cx = 300 + x * scale;
  const tip = { x: cx + Math.sin(angle) * 2 * half * scale, y: 300 - Math.cos(angle) * 2 * half * scale };
  return (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 400" width="600" height="400">' +
    '<rect width="600" height="400" fill="#fff"/><line x1="0" y1="300" x2="600" y2="300" stroke="#333"/>' +
    `<rect x="${(cx - 25).toFixed(1)}" y="285" width="50" height="30" rx="4" fill="#30506e"/>` +
    `<line x1="${cx.toFixed(1)}" y1="300" x2="${tip.x.toFixed(1)}" y2="${tip.y.toFixed(1)}" stroke="#c8893c" stroke-width="10" stroke-linecap="round"/>` +
    `<circle cx="${cx.toFixed(1)}" cy="300" r="5" fill="#8384c4"/></svg>`
  );
}

export const CARTPOLE: EnvironmentEntry = {
  name: "CartPole",
  about: "Balance a pole on a cart; reward 1 a step (Gymnasium's CartPole-v1).",
  parameters: {
    gravity: { default: 9.8, min: 0, about: "m/s2" },
    cartMass: { default: 1, min: 0.01, about: "kg" },
    poleMass: { default: 0.1, min: 0.001, about: "kg" },
    poleHalfLength: { default: 0.5, min: 0.01, about: "m" },
    force: { default: 10, min: 0, about: "N" },
    slip: { default: 0, min: 0, max: 1, about: "probability that the other action is taken" },
    mirrored: { default: 0, min: 0, max: 1, integer: true, about: "1 swaps the actions" },
    maxSteps: { default: 500, min: 1, integer: true, about: "step limit; v0 has 200" },
  },
  variants: {
    V1: {},
    V0: { maxSteps: 200 },
    Mirrored: { mirrored: 1 },
    LongPole: { poleHalfLength: 1 },
    Weak: { force: 5 },
  },
  make: (p) => new CartPole(p as unknown as CartPoleOptions),
};
