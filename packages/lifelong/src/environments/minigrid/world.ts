import { EverlongError } from "@everlong/core";
import { RandomStream, type Seed } from "../../random/random-stream.ts";
import type {
  Action,
  BoxSpace,
  DiscreteSpace,
  Environment,
  RenderMode,
  ResetResult,
  StepResult,
} from "../environment.ts";
import { type Cell, COLORS, encodeCell, KINDS, passable, type Thing, transparent, wall } from "./cells.ts";
import { drawText, drawSvg } from "./drawing.ts";

/** Side of the square that the agent sees; it stands in the middle of its bottom row, looking up. */
export const VIEW = 7;

/** Actions of the M21 tasks; MiniGrid's seventh, "done", is not among them. */
export const ACTIONS = ["left", "right", "forward", "pickup", "drop", "toggle"] as const;

/** Unit vectors of the directions: right, down, left, up. */
export const DIRECTIONS: readonly (readonly [number, number])[] = [
  [1, 0],
  [0, 1],
  [-1, 0],
  [0, -1],
];

export type Position = readonly [number, number];

/** The state of one episode. */
export class World {
  readonly width: number;
  readonly height: number;
  readonly random: RandomStream;
  /** Null while a level is being laid out. */
  agent: Position | null = null;
  direction = 0;
  carrying: Thing | null = null;
  readonly #cells: Cell[];

  constructor(width: number, height: number, random: RandomStream) {
    this.width = width;
    this.height = height;
    this.random = random;
    this.#cells = Array.from({ length: width * height }, () => null);
  }

  get(x: number, y: number): Cell {
    return this.#cells[y * this.width + x]!;
  }

  set(x: number, y: number, cell: Cell): void {
    this.#cells[y * this.width + x] = cell;
  }

  /** Cell in front of the agent. */
  front(): Position {
    const [dx, dy] = DIRECTIONS[this.direction]!;
    return [this.agent![0] + dx, this.agent![1] + dy];
  }

  /** Walls around a rectangle. */
  room(x: number, y: number, width: number, height: number): void {
    for (let i = 0; i < width; i++) {
      this.set(x + i, y, wall());
      this.set(x + i, y + height - 1, wall());
    }
    this.column(x, y, height);
    this.column(x + width - 1, y, height);
  }

  /** A vertical wall. */
  column(x: number, y: number, height: number): void {
    for (let j = 0; j < height; j++) this.set(x, y + j, wall());
  }

  /**
   * Draws positions in a rectangle (x first, then y) until one is empty, not the agent's and not rejected, and puts
   * `cell` there. Null once more than `tries` draws failed.
   */
  place(
    cell: Cell,
    [left, top]: Position = [0, 0],
    [width, height]: Position = [this.width, this.height],
    tries: number = Number.POSITIVE_INFINITY,
    reject: (x: number, y: number) => boolean = () => false,
  ): Position | null {
    const x0 = Math.max(left, 0);
    const y0 = Math.max(top, 0);
    for (let n = 0; n <= tries; n++) {
      const x = this.random.integer(x0, Math.min(x0 + width, this.width));
      const y = this.random.integer(y0, Math.min(y0 + height, this.height));
      if (this.get(x, y) !== null || (this.agent?.[0] === x && this.agent[1] === y) || reject(x, y)) continue;
      this.set(x, y, cell);
      return [x, y];
    }
    return null;
  }

  /** Puts the agent on a random empty cell of a rectangle, looking in a random direction. */
  placeAgent(corner: Position = [0, 0], size: Position = [this.width, this.height]): void {
    this.agent = null;
    this.agent = this.place(null, corner, size);
    this.direction = this.random.integer(0, 4);
  }

  /**
   * The agent's view, `[7, 7, 3]` as column, row, code: zeros where it cannot see, walls beyond the edge, the carried
   * thing on the agent's own cell.
   */
  observe(throughWalls: boolean): Uint8Array {
    const [ax, ay] = this.agent!;
    const [fx, fy] = DIRECTIONS[this.direction]!;
    const [rx, ry] = [-fy, fx];
    const half = VIEW >> 1;
    const cells: Cell[] = [];
    for (let i = 0; i < VIEW; i++) {
      for (let j = 0; j < VIEW; j++) {
        const ahead = VIEW - 1 - j;
        const x = ax + fx * ahead + rx * (i - half);
        const y = ay + fy * ahead + ry * (i - half);
        const inside = x >= 0 && y >= 0 && x < this.width && y < this.height;
        cells.push(inside ? this.get(x, y) : EDGE);
      }
    }
    const seen = throughWalls ? null : visible(cells);
    cells[half * VIEW + VIEW - 1] = this.carrying;
    const out = new Uint8Array(VIEW * VIEW * 3);
    for (let c = 0; c < cells.length; c++) {
      if (seen === null || seen[c] === 1) out.set(encodeCell(cells[c]!), 3 * c);
    }
    return out;
  }

  /** One of {@link ACTIONS}. True if the agent walked onto the goal, false onto lava, null otherwise. */
  act(action: Action): boolean | null {
    const [x, y] = this.front();
    const cell = this.get(x, y);
    switch (ACTIONS[action]) {
      case "left":
        this.direction = (this.direction + 3) % 4;
        return null;
      case "right":
        this.direction = (this.direction + 1) % 4;
        return null;
      case "forward":
        if (passable(cell)) this.agent = [x, y];
        return cell?.kind === "goal" ? true : cell?.kind === "lava" ? false : null;
      case "pickup":
        if (cell?.portable === true && this.carrying === null) {
          this.carrying = cell;
          this.set(x, y, null);
        }
        return null;
      case "drop":
        if (cell === null && this.carrying !== null) {
          this.set(x, y, this.carrying);
          this.carrying = null;
        }
        return null;
      case "toggle":
        this.#toggle(x, y, cell);
        return null;
      default:
        throw new EverlongError("MiniGrid", "action is outside the space", {
          expected: `0 to ${ACTIONS.length - 1}`,
          got: String(action),
        });
    }
  }

  #toggle(x: number, y: number, cell: Cell): void {
    if (cell?.kind === "box") {
      // boxes are empty here: an opened one is gone
      this.set(x, y, null);
    } else if (cell?.door === "locked") {
      if (this.carrying?.kind === "key" && this.carrying.color === cell.color) cell.door = "open";
    } else if (cell?.door !== undefined) {
      cell.door = cell.door === "open" ? "closed" : "open";
    }
  }
}

const EDGE: Cell = wall();

// Sight spreads from the agent row by row away from it: along each row to both sides, and from every seen cell that is
// not opaque to the neighbours ahead, straight and diagonal on the side it spreads to.
function visible(cells: readonly Cell[]): Uint8Array {
  const seen = new Uint8Array(VIEW * VIEW);
  const at = (i: number, j: number): number => i * VIEW + j;
  seen[at(VIEW >> 1, VIEW - 1)] = 1;
  for (let j = VIEW - 1; j >= 0; j--) {
    for (const side of [1, -1]) {
      const from = side === 1 ? 0 : VIEW - 1;
      for (let n = 0; n < VIEW - 1; n++) {
        const i = from + side * n;
        if (seen[at(i, j)] === 0 || !transparent(cells[at(i, j)]!)) continue;
        seen[at(i + side, j)] = 1;
        if (j === 0) continue;
        seen[at(i + side, j - 1)] = 1;
        seen[at(i, j - 1)] = 1;
      }
    }
  }
  return seen;
}

/** What distinguishes one MiniGrid task from another. */
export interface Level {
  readonly width: number;
  readonly height: number;
  readonly maxSteps: number;
  readonly throughWalls: boolean;
  /** Walking into lava costs 1 (the M21 penalty). */
  readonly lavaPenalty?: boolean;
  /** Lays out a world of the level's size; returns what {@link Level.before} and {@link Level.after} need. */
  layout(world: World): LevelRules | void;
}

/** Rules of one episode beyond the usual ones. */
export interface LevelRules {
  /** Runs before the agent acts; true: the action ends the episode with reward -1. */
  before?(action: Action): boolean;
  /** Runs after the agent acted; `success` gets the usual reward, `failure` none; both end the episode. */
  after?(action: Action): "success" | "failure" | null;
}

/**
 * A MiniGrid task. Reward on success is 1 - 0.9 (steps / step limit); observation `[7, 7, 3]` of codes; six actions.
 */
export class MiniGrid implements Environment {
  readonly observationSpace: BoxSpace = {
    kind: "box",
    shape: [VIEW, VIEW, 3],
    dtype: "u8",
    low: 0,
    high: 255,
    codes: [KINDS.length, COLORS.length, 3],
  };
  readonly actionSpace: DiscreteSpace = { kind: "discrete", n: ACTIONS.length };
  readonly level: Level;
  /** The running episode; null before the first reset. */
  world: World | null = null;
  #random: RandomStream = new RandomStream(0);
  #rules: LevelRules = {};
  #steps = 0;

  constructor(level: Level) {
    this.level = level;
  }

  reset({ seed }: { readonly seed?: Seed } = {}): ResetResult {
    if (seed !== undefined) this.#random = new RandomStream(seed);
    this.world = new World(this.level.width, this.level.height, this.#random);
    this.#rules = this.level.layout(this.world) ?? {};
    this.#steps = 0;
    return { observation: this.world.observe(this.level.throughWalls) };
  }

  step(action: Action): StepResult {
    const { world, level } = this;
    if (world === null) throw new EverlongError("MiniGrid", "step before reset");
    this.#steps++;
    const hit = this.#rules.before?.(action) ?? false;
    const arrived = world.act(action);
    const ended = this.#rules.after?.(action) ?? null;
    const success = arrived === true || ended === "success";
    const burnt = arrived === false && level.lavaPenalty === true;
    const terminated = hit || arrived !== null || ended !== null;
    return {
      observation: world.observe(level.throughWalls),
      reward: hit || burnt ? -1 : success ? 1 - 0.9 * (this.#steps / level.maxSteps) : 0,
      terminated,
      truncated: !terminated && this.#steps >= level.maxSteps,
    };
  }

  render(mode: RenderMode): string {
    if (this.world === null) throw new EverlongError("MiniGrid", "render before reset");
    return mode === "ansi" ? drawText(this.world) : drawSvg(this.world);
  }
}
