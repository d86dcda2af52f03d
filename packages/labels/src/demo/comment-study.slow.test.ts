import "@everlong/device-cpu";
import { describe, expect, it } from "vitest";
import { labelReportPage } from "../report/page.ts";
import { studyComments } from "./comment-study.ts";
import { studyReport, studyTable } from "./study-report.ts";

describe("the study on YouTube comments", () => {
  it.each([1, 2])(
    "beats the published baseline by at least 5 points with the interval above 0 (seed %i)",
    async (seed) => {
      const study = await studyComments({ seed });
      const epoxy = study.rows.find((r) => r.system.startsWith("Epoxy,"))!;
      expect(study.baseline.scores.f1.toFixed(4)).toBe("0.8161");
      expect(epoxy.gain.value).toBeGreaterThanOrEqual(0.05);
      expect(epoxy.gain.low).toBeGreaterThan(0);
      const lines = studyTable(study).split("\n");
      expect(lines).toHaveLength(1 + new Set(study.rows.map((r) => r.group)).size + study.rows.length);
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
      expect(labelReportPage(studyReport(study))).toContain("Smoothness of the space");
    },
  );
});
