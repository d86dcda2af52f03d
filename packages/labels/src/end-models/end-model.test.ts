import { describe, expect, it } from "vitest";
import { embeddings } from "../embeddings/embeddings.ts";
import { seededUniform } from "../evaluation/synthetic-votes.ts";
import { EndModel, nearestNeighbours, oneHotLabels } from "./end-model.ts";

const uniform = seededUniform(Date.now() % 1e9);
// a ring around a disc: no line separates them
const points = Array.from({ length: 160 }, (_, i) => {
  const angle = uniform() * 2 * Math.PI;
  const radius = (i % 2 === 0 ? 0 : 2) + uniform();
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
});
const x = embeddings(points.flat(), [160, 2]);
const labels = points.map((_, i) => i % 2);
const right = (p: Float64Array): number =>
  labels.filter((y, i) => (p[i * 2 + 1]! > 0.5 ? 1 : 0) === y).length / 160;

describe("EndModel", () => {
  it("bends with a hidden layer and not without", async () => {
    const train = async (kind: "linear" | "mlp"): Promise<number> => {
      const model = await new EndModel({ kind, hidden: 16, steps: 120 }).fit(x, oneHotLabels(labels));
      return right(await model.predictProba(x));
    };
    expect(await train("mlp")).toBeGreaterThan(0.95);
    expect(await train("linear")).toBeLessThan(0.8);
  });

  it("learns probabilities, not only classes", async () => {
    const soft = Float64Array.from(labels.flatMap((y) => (y === 1 ? [0.3, 0.7] : [0.6, 0.4])));
    const model = await new EndModel({ hidden: 16, steps: 150 }).fit(x, soft);
    const p = await model.predictProba(x);
    const mean = labels.reduce((sum, y, i) => sum + (y === 1 ? p[i * 2 + 1]! / 80 : 0), 0);
    expect(mean).toBeGreaterThan(0.64);
    expect(mean).toBeLessThan(0.76);
  });

  it("says what is wrong with its labels", async () => {
    await expect(new EndModel().fit(x, oneHotLabels(labels.map(() => 1)))).rejects.toThrow(/same class/);
    await expect(new EndModel().fit(x, new Float64Array(7))).rejects.toThrow(/do not fit/);
    await expect(new EndModel().predictProba(x)).rejects.toThrow(/not fitted/);
  });
});

describe("nearestNeighbours", () => {
  it("weighs labels by similarity", () => {
    const support = embeddings([1, 0, 0, 1], [2, 2]);
    const p = nearestNeighbours(support, Float64Array.of(1, 0, 0, 1), embeddings([2, 1], [1, 2]), 2);
    expect(p[0]).toBeCloseTo(2 / 3, 6);
  });
});
