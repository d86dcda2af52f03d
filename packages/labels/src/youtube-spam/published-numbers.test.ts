import { readFile } from "node:fs/promises";
import { parseNpy } from "@everlong/data";
import { describe, expect, it } from "vitest";
import { positives, score } from "../evaluation/metrics.ts";
import { applyFunctions } from "../functions/apply.ts";
import { FlyingSquid } from "../label-models/flyingsquid/flyingsquid.ts";
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
    const accuracy = (compat: object): string => {
      const model = new FlyingSquid({
        functions: 18,
        targets: 3,
        targetEdges: [
          [0, 1],
          [1, 2],
        ],
        voteEdges: Array.from({ length: 18 }, (_, i) => [i, Math.floor(i / 6)] as const),
        ...compat,
      });
      const whole = (votes: Int8Array): Int8Array => votes.subarray(0, votes.length - (votes.length % 18));
      const p = model.fit(whole(train!)).predictMarginals(whole(dev!));
      const right = [...p.keys()].filter((i) => (p[i]! > 0.5 ? 1 : -1) === labels![i]).length;
      return (right / p.length).toFixed(4);
    };
    expect(accuracy({ compat: "flyingsquid" })).toBe("0.8871");
    expect(accuracy({})).toBe("0.8858");
  });
});
