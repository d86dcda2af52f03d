import { readFile } from "node:fs/promises";
import { parseNpy } from "@everlong/data";
import { describe, expect, it } from "vitest";
import { positives, score } from "../evaluation/metrics.ts";
import { applyFunctions } from "../functions/apply.ts";
import { Votes } from "../votes/votes.ts";
import { createLabelModel } from "../label-models/registry.ts";
import { commentFunctions, readComments } from "./comments.ts";

describe("YouTube comments", async () => {
  const train = await readComments("train");
  const valid = await readComments("valid");
  const test = await readComments("test");
  const scores = (name: string, options: object, balance?: number[]): number[] => {
    const model = createLabelModel(name, options).fit(train.votes!, balance ? { classBalance: balance } : {});
    const s = score(test.labels, positives(model.predictProba(test.votes!)));
    return [s.accuracy, s.precision, s.recall, s.f1].map((x) => Number(x.toFixed(4)));
  };

  it("holds the published split", () => {
    expect([train.rows.length, valid.rows.length, test.rows.length]).toEqual([1586, 100, 250]);
    expect([train.labels.length, valid.labels.length, test.labels.length]).toEqual([0, 100, 250]);
  });

  it("repeats Epoxy's published baseline in compat", () => {
    expect(scores("flyingsquid", { solve: "median", compat: "flyingsquid" }, [0.4, 0.6])).toEqual([
      0.836, 0.8667, 0.7712, 0.8161,
    ]);
  });

  it("uses the right exponent of the prior by default", () => {
    expect(scores("flyingsquid", {}, [0.4, 0.6])).toEqual([0.804, 0.8557, 0.7034, 0.7721]);
  });

  it("repeats the majority vote", () => {
    expect(scores("majority", {})).toEqual([0.776, 0.9844, 0.5339, 0.6923]);
  });

  it("recomputes the seven text functions' votes without a difference", async () => {
    for (const split of [train, test]) {
      const { votes, failures } = await applyFunctions(commentFunctions, split.rows);
      expect(failures).toEqual([]);
      expect(votes.data).toEqual(split.votes!.columns([0, 1, 2, 3, 4, 5, 6]).data);
    }
  });
});

describe("tennis rallies", () => {
  it("repeats the published accuracy with chains of three frames", async () => {
    const read = async (name: string): Promise<Int8Array> => {
      const file = new URL(`../../fixtures/tennis-rally/${name}.npy`, import.meta.url);
      return parseNpy(new Uint8Array(await readFile(file))).data as Int8Array;
    };
    const [train, dev, labels] = await Promise.all(["votes_train", "votes_dev", "labels_dev"].map(read));
    const matrix = (votes: Int8Array): Votes => Votes.fromSigned(votes, [votes.length / 6, 6]);
    const accuracy = (options: object): string => {
      const model = createLabelModel("chain", options).fit(matrix(train!));
      const predictions = positives(model.predictProba(matrix(dev!)));
      // the published figure leaves out the 2 frames that fill no window
      const right = [...predictions.keys()].filter(
        (i) => i < 744 && predictions[i] === (labels![i]! + 1) / 2,
      ).length;
      return (right / 744).toFixed(4);
    };
    expect(accuracy({ compat: "flyingsquid" })).toBe("0.8871");
    expect(accuracy({})).toBe("0.8858");
  });
});
