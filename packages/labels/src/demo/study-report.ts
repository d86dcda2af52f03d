import { labelSmoothness, radiusCurve } from "../epoxy/diagnostics.ts";
import { radiusCandidates } from "../epoxy/radius-search.ts";
import { pairedDifference } from "../evaluation/bootstrap.ts";
import { calibration, positives } from "../evaluation/metrics.ts";
import { compareWithMajority } from "../evaluation/scored-labels.ts";
import { analyzeFunctions, conflictMatrix, formatTable } from "../functions/analysis.ts";
import { errorBuckets } from "../functions/slices.ts";
import type { LabelReport } from "../report/page.ts";
import { ABSTAIN } from "../votes/votes.ts";
import type { Votes } from "../votes/votes.ts";
import type { CommentStudy, StudyRow } from "./comment-study.ts";

const CLASSES = ["ham", "spam"];

/** The study as a text table of at most 80 columns: systems under the names of their groups. */
export function studyTable(study: CommentStudy): string {
  const share = (x: number): string => x.toFixed(3).replace(/^0/, "");
  const points = (x: number): string => (x * 100).toFixed(1);
  const groups = [...new Set(study.rows.map((r) => r.group))];
  const rows = groups.flatMap((group) => [
    [`${group}:`, "", "", "", "", ""],
    ...study.rows
      .filter((r) => r.group === group)
      .map(({ system, scores, gain }) => [
        system,
        ...[scores.accuracy, scores.precision, scores.recall, scores.f1].map(share),
        `${points(gain.value)} [${points(gain.low)}, ${points(gain.high)}]`,
      ]),
  ]);
  return formatTable([["system", "acc", "prec", "recall", "F1", "F1 gain [95 %]"], ...rows]);
}

/** What the study found, in sentences. */
export function studySummary(study: CommentStudy): string[] {
  const find = (start: string): StudyRow => study.rows.find((r) => r.system.startsWith(start))!;
  const epoxy = find("Epoxy,");
  const majority = study.rows.find((r) => r.group.includes("seven") && r.system === "majority vote")!;
  const model = study.rows.find((r) => r.group.includes("seven") && r.system === "FlyingSquid")!;
  const dev = study.labels.dev.length;
  return [
    `${study.labels.test.length} test comments; ${dev} labelled dev comments chose radii, label model (${study.chosenModel}) and parts (${study.liger.parts}); embeddings were fitted on ${study.train.votes.items} unlabelled comments.`,
    `Extended votes reach F1 ${epoxy.scores.f1.toFixed(4)} against ${study.baseline.scores.f1.toFixed(4)} of the published baseline: ${(epoxy.gain.value * 100).toFixed(1)} points, 95 % interval ${(epoxy.gain.low * 100).toFixed(1)} to ${(epoxy.gain.high * 100).toFixed(1)}.`,
    ...[
      ["Liger, then MLP", "weakly supervised adapter (MLP)"],
      ["Liger, then MLP", "MLP"],
      ["Epoxy,", "FlyingSquid"],
    ].map(([a, b]) =>
      compared(
        study,
        find(a!),
        study.rows.findLast((r) => r.system === b)!,
      ),
    ),
    `Epoxy with these radii takes ${(study.epoxySeconds * 1000).toFixed(0)} ms: search, extension, fit on ${study.train.votes.items} comments, prediction.`,
    `Without extension: ${compareWithMajority(study.labels.test, model.probabilities, majority.probabilities).text}`,
  ];
}

function compared(study: CommentStudy, a: StudyRow, b: StudyRow): string {
  const { value, low, high } = pairedDifference(
    study.labels.test,
    positives(a.probabilities),
    positives(b.probabilities),
  );
  const points = [value, low, high].map((x) => (x * 100).toFixed(1));
  return `${a.system} (${a.group}) against ${b.system} (${b.group}): ${points[0]} F1 points, 95 % interval ${points[1]} to ${points[2]}.`;
}

/** The study as a page. */
export function studyReport(study: CommentStudy): LabelReport {
  const { dev, test, labels, committee, embeddings, texts } = study;
  const extended = committee.extend(test);
  const epoxy = study.rows.find((r) => r.system.startsWith("Epoxy,"))!;
  const predictions = positives(epoxy.probabilities);
  const { bins, slope } = labelSmoothness(embeddings.dev, labels.dev);
  const shares = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];
  return {
    title: "Labels without labellers: YouTube comments",
    summary: [...studySummary(study), `Made in ${study.seconds.toFixed(1)} s.`],
    systems: study.rows.map((r) => ({ group: r.group, name: r.system, scores: r.scores, gain: r.gain })),
    gainUnit: "F1 points against the published baseline, 95 % paired bootstrap interval",
    analysis: analyzeFunctions(dev.votes, labels.dev),
    conflicts: conflictMatrix(dev.votes),
    extension: {
      before: analyzeFunctions(test.votes, labels.test),
      after: analyzeFunctions(extended, labels.test),
      radii: committee.radii(),
      curves: dev.votes.names.map((name, j) => ({
        name,
        points: radiusCurve(dev, labels.dev, j, radiusCandidates(dev, j, shares)),
      })),
    },
    smoothness: { bins, slope, metric: "cosine" },
    parts: study.liger.table,
    calibration: ["Epoxy,", "Epoxy, then MLP"].map((start) => {
      const row = study.rows.find((r) => r.system.startsWith(start))!;
      return { name: row.system, bins: calibration(labels.test, row.probabilities) };
    }),
    errors: [...errorBuckets(labels.test, predictions)]
      .map(([key, rows]) => ({ key, rows, pair: key.split(">").map(Number) }))
      .filter(({ pair }) => pair[0] !== pair[1])
      .map(({ rows, pair }) => ({
        bucket: `${CLASSES[pair[0]!]} labelled ${CLASSES[pair[1]!]}`,
        count: rows.length,
        examples: rows.slice(0, 8).map((i) => ({
          text: texts.test[i]!.slice(0, 240),
          probability: epoxy.probabilities[i * 2 + 1]!,
          votes: votesOf(extended, test.votes, i),
        })),
      })),
    classNames: CLASSES,
  };
}

/** The functions that vote on an item, extended ones marked. */
export function votesOf(extended: Votes, own: Votes, i: number): string {
  const said: string[] = [];
  for (let j = 0; j < extended.functions; j++) {
    const vote = extended.at(i, j);
    if (vote === ABSTAIN) continue;
    const mark = own.at(i, j) === ABSTAIN ? " (extended)" : "";
    said.push(`${extended.names[j]}: ${CLASSES[vote] ?? vote}${mark}`);
  }
  return said.join(", ") || "none";
}
