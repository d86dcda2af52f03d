import type { Observation } from "../environments/environment.ts";
import type { Sfc32 } from "../random/sfc32.ts";

/** A transition with the windows that the network sees before and after it. */
export interface Experience {
  /** `[T, raw]`. */
  readonly before: Observation;
  readonly after: Observation;
  readonly action: number;
  readonly reward: number;
  readonly terminated: boolean;
  readonly task: number;
}

/** A ring of transitions in typed arrays. */
export class Ring {
  readonly capacity: number;
  readonly before: Observation;
  readonly after: Observation;
  readonly action: Uint8Array;
  readonly reward: Float32Array;
  readonly terminated: Uint8Array;
  readonly task: Uint8Array;
  size = 0;
  next = 0;
  readonly #width: number;

  /** @param make an array for so many windows */
  constructor(capacity: number, make: (windows: number) => Observation) {
    this.capacity = capacity;
    this.before = make(capacity);
    this.after = make(capacity);
    this.#width = this.before.length / capacity;
    this.action = new Uint8Array(capacity);
    this.reward = new Float32Array(capacity);
    this.terminated = new Uint8Array(capacity);
    this.task = new Uint8Array(capacity);
  }

  /** Adds a transition in place of the oldest. */
  add(experience: Experience): void {
    this.put(this.next, experience);
    this.next = (this.next + 1) % this.capacity;
    this.size = Math.min(this.size + 1, this.capacity);
  }

  /** Overwrites a row. */
  put(row: number, e: Experience): void {
    this.before.set(e.before, row * this.#width);
    this.after.set(e.after, row * this.#width);
    this.action[row] = e.action;
    this.reward[row] = e.reward;
    this.terminated[row] = Number(e.terminated);
    this.task[row] = e.task;
  }

  /** The transition in a row; windows are views. */
  get(row: number): Experience {
    const at = row * this.#width;
    return {
      before: this.before.subarray(at, at + this.#width),
      after: this.after.subarray(at, at + this.#width),
      action: this.action[row]!,
      reward: this.reward[row]!,
      terminated: this.terminated[row] === 1,
      task: this.task[row]!,
    };
  }

  clear(): void {
    this.size = 0;
    this.next = 0;
  }
}

/** What happens to old tasks' transitions: forgotten, kept until they fall out, or archived task by task. */
export const REPLAY_MODES = ["clear", "fifo", "tasks"] as const;
export type ReplayMode = (typeof REPLAY_MODES)[number];

/**
 * Replay memory of an agent that meets tasks in turn. With `tasks`, a sample of each task is archived when the next
 * one begins, and batches draw a share from the archive, all its tasks alike.
 */
export class ReplayMemory {
  readonly mode: ReplayMode;
  readonly current: Ring;
  /** By task number. */
  readonly archive: Map<number, Ring> = new Map();
  readonly #perTask: number;
  readonly #share: number;
  readonly #make: (windows: number) => Observation;

  /**
   * @param perTask transitions archived of each task
   * @param share share of a batch that comes from the archive
   */
  constructor(
    mode: ReplayMode,
    capacity: number,
    perTask: number,
    share: number,
    make: (windows: number) => Observation,
  ) {
    this.mode = mode;
    this.current = new Ring(capacity, make);
    this.#perTask = perTask;
    this.#share = share;
    this.#make = make;
  }

  /** Archive of a task, made if absent. */
  archived(task: number): Ring {
    let ring = this.archive.get(task);
    if (ring === undefined) this.archive.set(task, (ring = new Ring(this.#perTask, this.#make)));
    return ring;
  }

  /** A task ends: archive or drop what the mode says. */
  endTask(task: number, random: Sfc32): void {
    if (this.mode === "fifo") return;
    if (this.mode === "tasks" && this.current.size > 0) {
      const ring = this.archived(task);
      for (let i = 0; i < this.#perTask; i++) ring.add(this.current.get(random.below(this.current.size)));
    }
    this.current.clear();
  }

  /** Draws one transition for a batch; `task` is being trained. */
  draw(task: number, random: Sfc32): Experience {
    const others = [...this.archive].filter(([t]) => t !== task);
    if (others.length > 0 && random.uniform() < this.#share) {
      const [, ring] = others[random.below(others.length)]!;
      return ring.get(random.below(ring.size));
    }
    return this.current.get(random.below(this.current.size));
  }
}
