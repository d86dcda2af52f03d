import {
  add,
  clamp,
  compile,
  type Compiled,
  ConfigError,
  exp,
  logSoftmax,
  mean,
  minimum,
  mul,
  narrow,
  neg,
  NumericError,
  random,
  square,
  sub,
  sum,
  tensor,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { parameters } from "@everlong/nn";
import { AdamW, type StepFunction, trainStep } from "@everlong/train";
import type { Action, Observation } from "../environments/environment.ts";
import { Sfc32 } from "../random/sfc32.ts";
import type { Agent, AgentContext, AgentState, Transition } from "../run/agent.ts";
import { Features, Windows } from "./features.ts";
import { Network } from "./network.ts";
import { decodeState, encodeState } from "./state.ts";

/** Options of proximal policy optimisation; see `ppo-entry.ts`. */
export interface PpoOptions {
  readonly learningRate: number;
  readonly discount: number;
  readonly lambda: number;
  readonly horizon: number;
  readonly epochs: number;
  readonly batch: number;
  readonly clipRatio: number;
  readonly entropy: number;
  readonly valueWeight: number;
  readonly hidden: number;
  readonly layers: number;
  readonly memory: string;
  readonly history: number;
  readonly taskInputs: number;
  readonly clip: number;
}

/** One step of an environment as the update needs it. */
interface Sample {
  readonly window: Observation;
  readonly task: number;
  readonly action: number;
  readonly logProbability: number;
  readonly value: number;
  readonly reward: number;
  readonly done: boolean;
  /** Value of what follows a cut episode; 0 after a real end, null inside an episode. */
  readonly follow: number | null;
}

/** What the policy said when an action was chosen. */
interface Choice {
  readonly logProbability: number;
  readonly value: number;
}

/**
 * Proximal policy optimisation (Schulman et al. 2017) with generalised advantages (Schulman et al. 2016): one network
 * gives action logits and value. It evaluates with the most probable action.
 */
export class Ppo implements Agent {
  readonly name: string;
  readonly #options: PpoOptions;
  readonly #actions: number;
  readonly #features: Features;
  readonly #windows: Windows;
  readonly #random: Sfc32;
  readonly #network: Network;
  readonly #optimizer: AdamW;
  readonly #act: Compiled<readonly [Tensor], Tensor>;
  readonly #step: StepFunction;
  readonly #tasks: string[] = [];
  /** Samples of each environment since the last update, in order. */
  readonly #rollout: Sample[][];
  #choices: (Choice | null)[] = [];
  #learning = false;
  #task = -1;
  #updates = 0;
  #loss = Number.NaN;

  constructor(name: string, context: AgentContext, options: PpoOptions) {
    this.name = name;
    this.#options = options;
    const steps = options.horizon * context.environments;
    if (steps < options.batch) {
      throw new ConfigError(name, "a rollout is smaller than a batch", {
        expected: `batch at most ${steps} (horizon x environments)`,
        got: String(options.batch),
      });
    }
    this.#actions = context.actionSpace.n;
    const { hidden, layers, memory, history, taskInputs } = options;
    this.#features = new Features(context.observationSpace, taskInputs);
    this.#windows = new Windows(this.#features, context.environments, history);
    this.#random = new Sfc32(context.seed);
    const outputs = this.#actions + 1;
    const key = random.key(this.#random.bits() >>> 1);
    this.#network = new Network({
      key,
      inputs: this.#features.size,
      outputs,
      hidden,
      layers,
      memory,
      history,
    });
    this.#optimizer = new AdamW(this.#network, { learningRate: options.learningRate });
    this.#rollout = Array.from({ length: context.environments }, () => []);
    this.#act = compile((x: Tensor) => this.#network.forward(x), { name: `${name} act` });
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

  variantStart(task: string, variant: string): void {
    const label = `${task}_${variant}`;
    if (!this.#tasks.includes(label)) this.#tasks.push(label);
    this.#task = this.#tasks.indexOf(label);
    this.#windows.clear();
    for (const samples of this.#rollout) samples.length = 0;
  }

  async chooseActions(observations: readonly (Observation | null)[]): Promise<(Action | null)[]> {
    const windows = observations.map((o, i) => (o === null ? null : this.#windows.with(i, o)));
    const outputs = await this.#evaluate(windows);
    this.#choices = [];
    return observations.map((o, i) => {
      this.#choices.push(null);
      if (o === null) return null;
      const at = i * (this.#actions + 1);
      const probabilities = softmax(outputs, at, this.#actions);
      const action = this.#learning
        ? this.#draw(probabilities)
        : probabilities.indexOf(Math.max(...probabilities));
      this.#choices[i] = {
        logProbability: Math.log(probabilities[action]!),
        value: outputs[at + this.#actions]!,
      };
      return action;
    });
  }

  async receiveTransitions(transitions: readonly (Transition | null)[]): Promise<void> {
    const cut = transitions.some((t) => t !== null && t.done && !t.terminated);
    const after = transitions.map((t, i) => {
      if (t === null) return null;
      const window = this.#windows.with(i, t.observation);
      this.#windows.push(i, t.observation, false);
      const next = this.#windows.with(i, t.nextObservation);
      if (t.done) this.#windows.push(i, t.observation, true);
      return { window, next };
    });
    if (!this.#learning) return;
    const full = this.#rollout.some((samples) => samples.length + 1 >= this.#options.horizon);
    const outputs = cut || full ? await this.#evaluate(after.map((a) => a?.next ?? null)) : null;
    for (const [i, t] of transitions.entries()) {
      if (t === null) continue;
      const value = outputs?.[i * (this.#actions + 1) + this.#actions] ?? 0;
      const follow = t.terminated ? 0 : t.done || full ? value : null;
      const { action, done } = t;
      const choice = this.#choices[i]!;
      this.#rollout[i]!.push({
        ...choice,
        window: after[i]!.window,
        task: this.#task,
        action,
        reward: t.reward!,
        done,
        follow,
      });
    }
    if (full) await this.#update();
  }

  status(): Record<string, number> {
    return { loss: this.#loss, updates: this.#updates };
  }

  save(): Promise<AgentState> {
    const facts = { tasks: this.#tasks, updates: this.#updates, random: [...this.#random.state()] };
    return encodeState({ variables: this.#variables(), rings: new Map(), facts });
  }

  load(state: AgentState): void {
    const facts = decodeState(state, { variables: this.#variables() }) as {
      tasks: string[];
      updates: number;
      random: number[];
    };
    this.#tasks.splice(0, this.#tasks.length, ...facts.tasks);
    this.#updates = facts.updates;
    this.#random.restore(facts.random);
  }

  dispose(): void {
    this.#act.dispose();
    this.#step.run.dispose();
  }

  #variables(): Map<string, Variable> {
    return new Map([
      ...[...parameters(this.#network)].map(([name, v]) => [`network.${name}`, v] as const),
      ...[...this.#optimizer.state].map(([name, v]) => [`optimizer.${name}`, v] as const),
    ]);
  }

  #draw(probabilities: readonly number[]): number {
    let rest = this.#random.uniform();
    for (const [action, p] of probabilities.entries()) {
      rest -= p;
      if (rest < 0) return action;
    }
    return probabilities.length - 1;
  }

  #inputs(windows: readonly (Observation | null)[], task: (row: number) => number): Tensor {
    const { history, memory } = this.#options;
    const { size } = this.#features;
    const out = new Float32Array(windows.length * history * size);
    for (const [row, raw] of windows.entries()) {
      if (raw === null) continue;
      for (let t = 0; t < history; t++) this.#features.write(raw, t, task(row), out, row * history + t);
    }
    return tensor(out, memory === "none" ? [windows.length, size] : [windows.length, history, size]);
  }

  /** Logits and value of each environment, `[E, N + 1]`. */
  async #evaluate(windows: readonly (Observation | null)[]): Promise<ArrayLike<number>> {
    const inputs = this.#inputs(windows, () => this.#task);
    const outputs = this.#act(inputs);
    const values = await outputs.data();
    outputs[Symbol.dispose]();
    inputs[Symbol.dispose]();
    return values;
  }

  async #update(): Promise<void> {
    const samples: (Sample & { readonly advantage: number })[] = [];
    for (const list of this.#rollout) {
      samples.push(...advantages(list, this.#options.discount, this.#options.lambda));
      list.length = 0;
    }
    const { epochs, batch } = this.#options;
    // a batch is never larger than a rollout: its size is part of the compiled step
    for (let epoch = 0; epoch < epochs; epoch++) {
      const order = this.#shuffled(samples.length);
      for (let start = 0; start + batch <= order.length; start += batch) {
        await this.#learn(order.slice(start, start + batch).map((i) => samples[i]!));
      }
    }
    this.#updates++;
  }

  async #learn(samples: readonly (Sample & { readonly advantage: number })[]): Promise<void> {
    const n = samples.length;
    const centre = samples.reduce((total, s) => total + s.advantage, 0) / n;
    const spread = Math.sqrt(samples.reduce((total, s) => total + (s.advantage - centre) ** 2, 0) / n);
    const chosen = new Float32Array(n * this.#actions);
    for (const [row, { action }] of samples.entries()) chosen[row * this.#actions + action] = 1;
    const column = (of: (s: (typeof samples)[number]) => number): Tensor =>
      tensor(Float32Array.from(samples, of));
    const batch: Batch = {
      inputs: this.#inputs(
        samples.map((s) => s.window),
        (row) => samples[row]!.task,
      ),
      chosen: tensor(chosen, [n, this.#actions]),
      logProbability: column((s) => s.logProbability),
      advantage: column((s) => (s.advantage - centre) / (spread + 1e-8)),
      target: column((s) => s.advantage + s.value),
    };
    const result = this.#step.run(batch as unknown as Record<string, Tensor>);
    this.#loss = (await result.data())[0]!;
    if (!Number.isFinite(this.#loss)) {
      throw new NumericError(this.name, `the loss became ${this.#loss}`, {
        hint: "Lower learningRate or clip.",
      });
    }
    result[Symbol.dispose]();
    for (const part of Object.values(batch)) part[Symbol.dispose]();
  }

  #lossOf({ inputs, chosen, logProbability, advantage, target }: Batch): Tensor {
    const { clipRatio, entropy, valueWeight } = this.#options;
    const outputs = this.#network.forward(inputs);
    const logs = logSoftmax(narrow(outputs, 1, 0, this.#actions), 1);
    const ratio = exp(sub(sum(mul(logs, chosen), [1]), logProbability));
    const bounded = clamp(ratio, 1 - clipRatio, 1 + clipRatio);
    const policy = neg(mean(minimum(mul(ratio, advantage), mul(bounded, advantage))));
    const value = narrow(outputs, 1, this.#actions, this.#actions + 1).reshape([chosen.shape[0]!]);
    const valueLoss = mean(square(sub(value, target)));
    const negativeEntropy = mean(sum(mul(exp(logs), logs), [1]));
    return add(add(policy, mul(valueLoss, valueWeight)), mul(negativeEntropy, entropy));
  }

  #shuffled(n: number): number[] {
    const order = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.#random.below(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }
}

/** Tensors of one update; `[B]` unless said otherwise. */
interface Batch {
  /** `[B, T, F]`, or `[B, F]` without memory. */
  readonly inputs: Tensor;
  /** One-hot actions `[B, N]`. */
  readonly chosen: Tensor;
  readonly logProbability: Tensor;
  readonly advantage: Tensor;
  readonly target: Tensor;
}

/** Generalised advantages of one environment's samples, which end with a `follow`. */
export function advantages<S extends Pick<Sample, "value" | "reward" | "done" | "follow">>(
  samples: readonly S[],
  discount: number,
  lambda: number,
): (S & { readonly advantage: number })[] {
  const out: (S & { readonly advantage: number })[] = [];
  let ahead = 0;
  for (let i = samples.length - 1; i >= 0; i--) {
    const s = samples[i]!;
    // where a value follows, this is the last sample of its episode or of the rollout
    if (s.follow !== null) ahead = 0;
    const next = s.follow ?? samples[i + 1]!.value;
    ahead = s.reward + discount * next - s.value + discount * lambda * ahead;
    out.unshift({ ...s, advantage: ahead });
  }
  return out;
}

function softmax(values: ArrayLike<number>, start: number, count: number): number[] {
  const logits = Array.from({ length: count }, (_, i) => values[start + i]!);
  const top = Math.max(...logits);
  const weights = logits.map((v) => Math.exp(v - top));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / total);
}
