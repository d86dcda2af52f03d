// The training loop.

import { checkOptions, ConfigError, isStrict, NumericError, setStrict, tensor } from "@everlong/core";
import type { Optimizer } from "./optimizer.ts";
import type { Precision } from "./precision.ts";
import { constant, type Schedule } from "./schedule.ts";
import { stepper } from "./stepper.ts";
import type { Batch, LossFunction, TrainStepOptions } from "./train-step.ts";
import type { Plateau } from "./watch.ts";

/** What a step reports. */
export interface StepReport {
  /** Counted from 1. */
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly learningRate: number;
  /** All scalars of the step by name, `loss` and `gradNorm` among them. */
  readonly scalars: Readonly<Record<string, number>>;
  /** Seconds since the loop began. */
  readonly seconds: number;
}

export interface FitOptions {
  readonly loss: LossFunction;
  readonly optimizer: Optimizer;
  /** Batches in order. */
  readonly batches: Iterable<Batch> | AsyncIterable<Batch>;
  /** Number of steps of the whole run; the loop ends earlier when batches run out. */
  readonly steps: number;
  /** Steps made before, when a run goes on; `batches` starts after theirs. Default 0. */
  readonly from?: number;
  /** Scaled by `schedule`. Default: what the optimiser was made with. */
  readonly learningRate?: number;
  /** Default: constant. */
  readonly schedule?: Schedule;
  /** Lowers the rate further when values observed by it stop improving. */
  readonly plateau?: Plateau;
  /** Limit of the global gradient norm. Default: none. */
  readonly clip?: number;
  /**
   * Batches of one step, whose gradients are averaged; scalars are means over them. When batches run out within a step, that
   * step is not made. Default 1.
   */
  readonly accumulate?: number;
  /** What products are computed in: `bf16` keeps float32 weights and sums, on CUDA. Default f32. See {@link Precision}. */
  readonly precision?: Precision;
  /** Decides the keys that the loss gets, dropout's for one. Default 0. */
  readonly seed?: number;
  /** Free the tensors of a batch after its step. Default true; false for tensors that come back. */
  readonly freeBatches?: boolean;
  /**
   * Refuse steps for which the device has no kernel instead of running them slowly in float64. Default true; without
   * effect on the reference device.
   */
  readonly strict?: boolean;
  /** Called after every step; return false to stop. */
  readonly onStep?: (report: StepReport) => void | boolean | Promise<void | boolean>;
  readonly signal?: AbortSignal;
}

const KNOWN = [
  "loss",
  "optimizer",
  "batches",
  "steps",
  "from",
  "learningRate",
  "schedule",
  "plateau",
  "clip",
  "accumulate",
  "precision",
  "seed",
  "freeBatches",
  "strict",
  "onStep",
  "signal",
] as const satisfies readonly (keyof FitOptions)[];

/** How a run ended. */
export interface FitResult {
  readonly steps: number;
  readonly stopped: "done" | "batches" | "callback" | "signal";
  readonly lastLoss: number;
}

const pick = ({ loss, optimizer, clip, seed, precision }: FitOptions): TrainStepOptions => ({
  loss,
  optimizer,
  ...(clip === undefined ? {} : { clip }),
  ...(seed === undefined ? {} : { seed }),
  ...(precision === undefined ? {} : { precision }),
});

/** Runs a synchronous `fn` in strict mode. */
function strictly<R>(fn: () => R): R {
  const before = isStrict();
  setStrict(true);
  try {
    return fn();
  } finally {
    setStrict(before);
  }
}

/** The event loop gets a turn at least this often, for timers, progress and the freeing of memory. */
const YIELD_MS = 30;
/** Browsers have no `setImmediate`. */
const later: (resume: () => void) => unknown = globalThis.setImmediate ?? setTimeout;

/**
 * Trains for `steps` steps. The step is compiled once; the learning rate is a Variable, so a schedule never retraces.
 * @throws NumericError when the loss is not finite, naming the step and the last finite loss.
 */
export async function fit(options: FitOptions): Promise<FitResult> {
  checkOptions("fit", options, KNOWN);
  const { optimizer, batches, steps, schedule = constant(), plateau, onStep, signal } = options;
  const learningRate = options.learningRate ?? optimizer.baseRate;
  if (!(learningRate > 0))
    throw new ConfigError("fit", "learning rate must be positive", { got: `${learningRate}` });
  const { device } = optimizer.step.current;
  const strict = (options.strict ?? true) && device.name !== "reference";
  const { feed, dispose } = stepper(pick(options), options.accumulate ?? 1, strict ? strictly : (fn) => fn());
  const began = performance.now();
  let turn = began;
  let step = options.from ?? 0;
  let lastLoss = Number.NaN;
  let lastRate = Number.NaN;
  const end = (stopped: FitResult["stopped"]): FitResult => {
    dispose();
    return { steps: step, stopped, lastLoss };
  };
  if (steps <= step) return end("done");
  for await (const batch of batches) {
    if (signal?.aborted) return end("signal");
    const rate = learningRate * schedule(step) * (plateau?.factor ?? 1);
    if (rate !== lastRate) optimizer.learningRate.value = tensor(rate, { device });
    lastRate = rate;
    const scalars = await feed(batch);
    if (options.freeBatches ?? true) for (const t of Object.values(batch)) t[Symbol.dispose]();
    if (!scalars) continue;
    step++;
    const loss = scalars["loss"]!;
    if (!Number.isFinite(loss)) {
      throw new NumericError("fit", `the loss became ${loss} at step ${step}`, {
        hint: `${step > 1 ? `The last good step was ${step - 1} with loss ${lastLoss}. ` : ""}Lower the learning rate, clip gradients, or set EVERLONG_DEBUG=nan to find the operation.`,
      });
    }
    lastLoss = loss;
    const report: StepReport = {
      step,
      steps,
      loss,
      learningRate: rate,
      scalars,
      seconds: (performance.now() - began) / 1000,
    };
    if ((await onStep?.(report)) === false) return end("callback");
    if (step === steps) return end("done");
    if (performance.now() - turn > YIELD_MS) {
      await new Promise<void>((resolve) => void later(resolve));
      turn = performance.now();
    }
  }
  return end("batches");
}
