import {
  add,
  argmax,
  compile,
  type Compiled,
  gradients,
  mul,
  NumericError,
  oneHot,
  random,
  stopGradient,
  sub,
  sum,
  tensor,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { parameters } from "@everlong/nn";
import { AdamW, huber, type StepFunction, trainStep } from "@everlong/train";
import type { Action, Observation } from "../environments/environment.ts";
import { Sfc32 } from "../random/sfc32.ts";
import type { Agent, AgentContext, AgentState, Transition } from "../run/agent.ts";
import { Consolidation } from "./consolidation.ts";
import { Features, Windows } from "./features.ts";
import { Network } from "./network.ts";
import { ReplayMemory, type ReplayMode } from "./replay.ts";
import { decodeState, encodeState } from "./state.ts";

/** Options of deep Q-learning; see `dqn-entries.ts` for what they mean and their defaults. */
export interface DqnOptions {
  readonly learningRate: number;
  readonly discount: number;
  readonly batch: number;
  readonly capacity: number;
  readonly warmup: number;
  readonly updatesPerStep: number;
  readonly targetEvery: number;
  readonly targetRate: number;
  readonly epsilonStart: number;
  readonly epsilonEnd: number;
  readonly epsilonSteps: number;
  readonly hidden: number;
  readonly layers: number;
  readonly memory: string;
  readonly history: number;
  readonly taskInputs: number;
  readonly replay: ReplayMode;
  readonly archive: number;
  readonly archiveShare: number;
  readonly consolidation: number;
  readonly fisherSamples: number;
  readonly clip: number;
}

/** A scalar loss is read this often: reading it every step would wait for it every step. */
const LOSS_EVERY = 200;

/**
 * Deep Q-learning (Mnih et al. 2015) with double targets (van Hasselt et al. 2016): epsilon-greedy actions, replay,
 * Huber loss, a target network. Across tasks it can keep an archive of old transitions or consolidate its weights.
 */
export class Dqn implements Agent {
  readonly name: string;
  readonly #options: DqnOptions;
  readonly #actions: number;
  readonly #features: Features;
  readonly #windows: Windows;
  readonly #memory: ReplayMemory;
  readonly #random: Sfc32;
  readonly #online: Network;
  readonly #target: Network;
  readonly #optimizer: AdamW;
  readonly #consolidation: Consolidation | undefined;
  readonly #act: Compiled<readonly [Tensor], Tensor>;
  readonly #step: StepFunction;
  readonly #follow: Compiled<readonly [], null>;
  readonly #observeFisher: Compiled<readonly [Tensor, Tensor], Tensor> | undefined;
  readonly #tasks: string[] = [];
  #learning = false;
  #task = -1;
  /** Task that was learned last: its end is when another one begins to be learned. */
  #learned = -1;
  #taskSteps = 0;
  #owed = 0;
  #updates = 0;
  #loss = Number.NaN;

  constructor(name: string, context: AgentContext, options: DqnOptions) {
    this.name = name;
    this.#options = options;
    this.#actions = context.actionSpace.n;
    const { hidden, layers, memory, history, taskInputs } = options;
    this.#features = new Features(context.observationSpace, taskInputs);
    this.#windows = new Windows(this.#features, context.environments, history);
    this.#random = new Sfc32(context.seed);
    this.#memory = new ReplayMemory(
      options.replay,
      options.capacity,
      options.archive,
      options.archiveShare,
      (n) => this.#features.raw(n * history),
    );
    const shape = { inputs: this.#features.size, outputs: this.#actions, hidden, layers, memory, history };
    const key = random.key(this.#random.bits() >>> 1);
    this.#online = new Network({ ...shape, key });
    this.#target = new Network({ ...shape, key });
    this.#optimizer = new AdamW(this.#online, { learningRate: options.learningRate });
    const trained = [...parameters(this.#online).values()];
    if (options.consolidation > 0) {
      this.#consolidation = new Consolidation(trained, options.consolidation);
      this.#observeFisher = this.#fisherFunction();
    }
    this.#act = compile((x: Tensor) => this.#online.forward(x), { name: `${name} act` });
    this.#follow = this.#followFunction(options.targetRate);
    this.#step = trainStep({
      name: `${name} update`,
      optimizer: this.#optimizer,
      clip: options.clip,
      loss: (batch) => this.#lossOf(batch as unknown as Batch),
    });
  }

  blockStart(kind: "learn" | "evaluate"): void {
    this.#learning = kind === "learn";
  }

  async variantStart(task: string, variant: string): Promise<void> {
    const label = `${task}_${variant}`;
    if (!this.#tasks.includes(label)) this.#tasks.push(label);
    this.#task = this.#tasks.indexOf(label);
    this.#windows.clear();
    if (!this.#learning) return;
    if (this.#learned >= 0 && this.#learned !== this.#task) await this.#leaveTask();
    if (this.#learned !== this.#task) this.#taskSteps = 0;
    this.#learned = this.#task;
  }

  async chooseActions(observations: readonly (Observation | null)[]): Promise<(Action | null)[]> {
    const explore = observations.map(
      (o) => o !== null && this.#learning && this.#random.uniform() < this.#epsilon(),
    );
    const actions = observations.map((o, i) =>
      o !== null && explore[i] ? this.#random.below(this.#actions) : null,
    );
    const greedy = observations.flatMap((o, i) => (o !== null && !explore[i] ? [i] : []));
    if (greedy.length === 0) return actions;
    // always all environments: another batch size would compile anew
    const count = observations.length;
    const windows = observations.map((o, i) => (o === null ? null : this.#windows.with(i, o)));
    const inputs = this.#inputs(
      count,
      (row) => windows[row]!,
      () => this.#task,
    );
    const values = this.#act(inputs);
    const q = await values.data();
    values[Symbol.dispose]();
    inputs[Symbol.dispose]();
    for (const i of greedy) actions[i] = largest(q, i * this.#actions, this.#actions);
    return actions;
  }

  async receiveTransitions(transitions: readonly (Transition | null)[]): Promise<void> {
    for (const [i, t] of transitions.entries()) {
      if (t === null) continue;
      if (this.#learning) {
        const before = this.#windows.with(i, t.observation);
        this.#windows.push(i, t.observation, false);
        const { action, terminated } = t;
        const after = this.#windows.with(i, t.nextObservation);
        this.#memory.current.add({ before, after, action, reward: t.reward!, terminated, task: this.#task });
        this.#taskSteps++;
        this.#owed += this.#options.updatesPerStep;
      } else {
        this.#windows.push(i, t.observation, false);
      }
      if (t.done) this.#windows.push(i, t.observation, true);
    }
    if (this.#memory.current.size < this.#options.warmup) this.#owed = 0;
    for (; this.#owed >= 1; this.#owed--) await this.#update();
  }

  status(): Record<string, number> {
    return { loss: this.#loss, epsilon: this.#learning ? this.#epsilon() : 0, updates: this.#updates };
  }

  async save(): Promise<AgentState> {
    const { current, archive } = this.#memory;
    return encodeState({
      variables: this.#variables(),
      rings: new Map([["current", current], ...[...archive].map(([t, r]) => [`task ${t}`, r] as const)]),
      facts: {
        tasks: this.#tasks,
        learned: this.#learned,
        taskSteps: this.#taskSteps,
        owed: this.#owed,
        updates: this.#updates,
        random: [...this.#random.state()],
      },
    });
  }

  load(state: AgentState): void {
    const facts = decodeState(state, {
      variables: this.#variables(),
      ring: (name) => {
        if (name === "current") return this.#memory.current;
        return this.#memory.archived(Number(name.replace("task ", "")));
      },
    }) as {
      tasks: string[];
      learned: number;
      taskSteps: number;
      owed: number;
      updates: number;
      random: number[];
    };
    this.#tasks.splice(0, this.#tasks.length, ...facts.tasks);
    [this.#learned, this.#taskSteps, this.#owed] = [facts.learned, facts.taskSteps, facts.owed];
    this.#updates = facts.updates;
    this.#random.restore(facts.random);
  }

  dispose(): void {
    this.#act.dispose();
    this.#follow.dispose();
    this.#step.run.dispose();
    this.#observeFisher?.dispose();
  }

  #epsilon(): number {
    const { epsilonStart, epsilonEnd, epsilonSteps } = this.#options;
    const done = Math.min(1, this.#taskSteps / epsilonSteps);
    return epsilonStart + (epsilonEnd - epsilonStart) * done;
  }

  /** Network inputs of `rows` windows: `[rows, T, F]`, or `[rows, F]` without memory; a null window stays zeros. */
  #inputs(rows: number, window: (row: number) => Observation | null, task: (row: number) => number): Tensor {
    const { history, memory } = this.#options;
    const out = new Float32Array(rows * history * this.#features.size);
    for (let row = 0; row < rows; row++) {
      const raw = window(row);
      if (raw === null) continue;
      for (let t = 0; t < history; t++) this.#features.write(raw, t, task(row), out, row * history + t);
    }
    return tensor(
      out,
      memory === "none" ? [rows, this.#features.size] : [rows, history, this.#features.size],
    );
  }

  #batch(rows: number): Batch {
    const drawn = Array.from({ length: rows }, () => this.#memory.draw(this.#task, this.#random));
    const chosen = new Float32Array(rows * this.#actions);
    for (const [row, { action }] of drawn.entries()) chosen[row * this.#actions + action] = 1;
    const { discount } = this.#options;
    const task = (row: number): number => drawn[row]!.task;
    return {
      before: this.#inputs(rows, (row) => drawn[row]!.before, task),
      after: this.#inputs(rows, (row) => drawn[row]!.after, task),
      chosen: tensor(chosen, [rows, this.#actions]),
      reward: tensor(Float32Array.from(drawn, (e) => e.reward)),
      follow: tensor(Float32Array.from(drawn, (e) => (e.terminated ? 0 : discount))),
    };
  }

  #lossOf({ before, after, chosen, reward, follow }: Batch): Tensor {
    const values = sum(mul(this.#online.forward(before), chosen), [1]);
    const best = oneHot(argmax(this.#online.forward(after), 1), this.#actions, chosen.dtype);
    const next = sum(mul(this.#target.forward(after), best), [1]);
    const loss = huber(values, stopGradient(add(reward, mul(follow, next))));
    return this.#consolidation === undefined ? loss : add(loss, this.#consolidation.penalty());
  }

  async #update(): Promise<void> {
    const batch = this.#batch(this.#options.batch);
    const result = this.#step.run(batch as unknown as Record<string, Tensor>);
    if (this.#updates % LOSS_EVERY === 0) {
      this.#loss = (await result.data())[0]!;
      if (!Number.isFinite(this.#loss)) {
        throw new NumericError(this.name, `the loss became ${this.#loss} after ${this.#updates} updates`, {
          hint: "Lower learningRate or clip.",
        });
      }
    }
    result[Symbol.dispose]();
    for (const part of Object.values(batch)) part[Symbol.dispose]();
    this.#updates++;
    if (this.#updates % this.#options.targetEvery === 0) this.#follow();
  }

  /** Moves the target network by the target rate towards the online one. */
  #followFunction(rate: number): Compiled<readonly [], null> {
    return compile(
      (): null => {
        const online = parameters(this.#online);
        for (const [name, target] of parameters(this.#target)) {
          const own = target.value;
          target.value = add(own, mul(sub(online.get(name)!.value, own), rate));
        }
        return null;
      },
      { name: `${this.name} target` },
    );
  }

  /** Another task begins to be learned: what the agent does about the one before. */
  async #leaveTask(): Promise<void> {
    if (this.#consolidation !== undefined && this.#memory.current.size > 0) {
      for (let n = 0; n < this.#options.fisherSamples; n++) {
        const { before, after, chosen, reward, follow } = this.#batch(1);
        const value = this.#observeFisher!(before, chosen);
        await value.data();
        for (const part of [value, before, after, chosen, reward, follow]) part[Symbol.dispose]();
      }
      this.#consolidation.anchorHere();
    }
    this.#memory.endTask(this.#learned, this.#random);
  }

  #fisherFunction(): Compiled<readonly [Tensor, Tensor], Tensor> {
    return compile(
      (before: Tensor, chosen: Tensor): Tensor => {
        const value = sum(mul(this.#online.forward(before), chosen));
        const slopes = gradients(
          value,
          this.#optimizer.parameters.map((p) => p.variable.value),
        );
        this.#consolidation!.accumulate(slopes, 1 / this.#options.fisherSamples);
        return value;
      },
      { name: `${this.name} fisher` },
    );
  }

  #variables(): Map<string, Variable> {
    const named = (prefix: string, of: Iterable<readonly [string, Variable]>): [string, Variable][] =>
      [...of].map(([name, variable]) => [`${prefix}.${name}`, variable]);
    const held = this.#consolidation;
    return new Map([
      ...named("online", parameters(this.#online)),
      ...named("target", parameters(this.#target)),
      ...named("optimizer", this.#optimizer.state),
      ...named(
        "fisher",
        (held?.fisher ?? []).map((v, i) => [String(i), v] as const),
      ),
      ...named(
        "anchor",
        (held?.anchor ?? []).map((v, i) => [String(i), v] as const),
      ),
    ]);
  }
}

/** Tensors of one update. */
interface Batch {
  /** `[B, T, F]`, or `[B, F]` without memory. */
  readonly before: Tensor;
  readonly after: Tensor;
  /** One-hot actions `[B, N]`. */
  readonly chosen: Tensor;
  /** `[B]`. */
  readonly reward: Tensor;
  /** Discount, 0 where the task ended, `[B]`. */
  readonly follow: Tensor;
}

function largest(values: ArrayLike<number>, start: number, count: number): number {
  let best = 0;
  for (let i = 1; i < count; i++) if (values[start + i]! > values[start + best]!) best = i;
  return best;
}
