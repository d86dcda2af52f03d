import { DataError, ShapeError } from "@everlong/core";
import { describe, expect, test } from "vitest";
import { TaskMeter } from "./metrics.ts";
import { IGNORE_INDEX } from "./tasks/task.ts";

const add = (meter: TaskMeter, targets: number[], predictions: number[], rows?: number) =>
  meter.add({ predictions, targets, negLogLikelihood: 0, ...(rows === undefined ? {} : { rows }) });

describe("accuracy", () => {
  test("the example in torchmetrics' documentation", () => {
    const scores = add(new TaskMeter(3), [2, 1, 0, 0], [2, 1, 0, 1]);
    expect(scores.macroAccuracy).toBeCloseTo(5 / 6, 15);
    expect(scores.tokenAccuracy).toBe(0.75);
  });

  test("a class predicted but never wanted counts as 0, one that is neither does not count", () => {
    expect(add(new TaskMeter(9), [0, 0, 1], [0, 5, 1]).macroAccuracy).toBeCloseTo((0.5 + 1 + 0) / 3, 15);
  });

  test("ignored targets take their predictions with them", () => {
    expect(add(new TaskMeter(9), [0, IGNORE_INDEX], [0, 7]).macroAccuracy).toBe(1);
    expect(add(new TaskMeter(9), [IGNORE_INDEX], [7]).macroAccuracy).toBe(0);
  });

  test("the mean of batches is not the figure of the epoch", () => {
    const meter = new TaskMeter(4);
    add(meter, [0, 0, 0, 1], [0, 0, 0, 0], 3);
    add(meter, [1, 1], [1, 1], 1);
    expect(meter.scores().macroAccuracy).toBeCloseTo((1 + 2 / 3) / 2, 15);
    expect(meter.scores().tokenAccuracy).toBeCloseTo(5 / 6, 15);
    expect(meter.batchMeans().macroAccuracy).toBeCloseTo((3 * 0.5 + 1 * 1) / 4, 15);
  });
});

describe("perplexity", () => {
  const logits = [0, Math.log(3), 5, 5, Math.log(9), 0];

  test("per batch and over the epoch", () => {
    const meter = new TaskMeter(2);
    const first = meter.addLogits(logits.slice(0, 4), [0, IGNORE_INDEX]);
    expect(first.perplexity).toBeCloseTo(4, 12);
    const second = meter.addLogits(logits.slice(4), [0]);
    expect(second.perplexity).toBeCloseTo(10 / 9, 12);
    expect(meter.scores().loss).toBeCloseTo((Math.log(4) + Math.log(10 / 9)) / 2, 12);
    expect(meter.scores().perplexity).toBeCloseTo(Math.sqrt(40 / 9), 12);
    expect(meter.batchMeans().perplexity).toBeCloseTo((4 + 10 / 9) / 2, 12);
  });

  test("large logits neither overflow nor vanish", () => {
    expect(new TaskMeter(2).addLogits([1e4, 1e4 - 1], [1]).loss).toBeCloseTo(
      Math.log1p(Math.exp(-1)) + 1,
      12,
    );
  });

  test("of equal logits the first is the prediction; NaN logits show in the loss", () => {
    expect(new TaskMeter(3).addLogits([1, 2, 2], [1]).tokenAccuracy).toBe(1);
    expect(new TaskMeter(3).addLogits([Number.NaN, 2, 2], [1]).loss).toBeNaN();
  });
});

test("sizes that disagree and targets that are no class", () => {
  expect(() => new TaskMeter(3).addLogits([1, 2], [0])).toThrow(ShapeError);
  expect(() => add(new TaskMeter(3), [0, 1], [0])).toThrow(ShapeError);
  expect(() => add(new TaskMeter(3), [3], [0])).toThrow(DataError);
  expect(() => add(new TaskMeter(3), [-1], [0])).toThrow(/target -1/);
  expect(() => new TaskMeter(3).addLogits([0, 0, 0], [3])).toThrow(DataError);
});
