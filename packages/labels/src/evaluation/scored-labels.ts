import { decide } from "../label-models/label-model.ts";
import { pairedDifference } from "./bootstrap.ts";
import type { Interval } from "./bootstrap.ts";

/** Whether a label model is worth having: its labels against the majority vote's, on the same labelled items. */
export interface MajorityComparison {
  /** Accuracy of the model minus that of the majority vote, with its paired 95 % interval. */
  readonly difference: Interval;
  readonly verdict: "beats" | "no difference" | "loses";
  /** A sentence for the report. */
  readonly text: string;
}

/**
 * Label models do not always beat the majority vote (broad functions, few functions, wrong class balance); this says so.
 * @param model P(Y), `[N, K]` @param majority P(Y), `[N, K]`
 */
export function compareWithMajority(
  labels: ArrayLike<number>,
  model: Float64Array,
  majority: Float64Array,
  classes = 2,
): MajorityComparison {
  const difference = pairedDifference(labels, decide(model, classes), decide(majority, classes), "accuracy");
  const verdict = difference.low > 0 ? "beats" : difference.high < 0 ? "loses" : "no difference";
  const points = (difference.value * 100).toFixed(1);
  const interval = `95 % interval ${(difference.low * 100).toFixed(1)} to ${(difference.high * 100).toFixed(1)} on ${labels.length} items`;
  const text = {
    beats: `The label model beats the majority vote by ${points} points (${interval}).`,
    loses: `The label model LOSES to the majority vote by ${points} points (${interval}): use the majority vote, or check class balance and dependent functions.`,
    "no difference": `The label model does not beat the majority vote: ${points} points (${interval}).`,
  }[verdict];
  return { difference, verdict, text };
}
