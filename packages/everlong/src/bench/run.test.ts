import { ConfigError, defaultDevice, tensor } from "@everlong/core";
import { expect, test, vi } from "vitest";
import { runSuite, type BenchReport } from "./run.ts";
import type { BenchCase, Suite } from "./suite.ts";

// Measures the machine for seconds.
vi.mock("./calibrate.ts", () => ({ calibrate: async () => ({ cores: 1 }) }));

const benchCase = (name: string, run: () => void, error = 0): BenchCase => ({
  name,
  unit: "ms",
  prepare: async () => ({ run, error: async () => error }),
  tolerance: 1e-6,
  peers: [],
  repeats: 1,
  warm: 1,
});

async function reports(suite: Partial<Suite> & Pick<Suite, "cases">): Promise<BenchReport[]> {
  const found: BenchReport[] = [];
  await runSuite({ name: "some", describe: "", ...suite }, {}, (r) => void found.push(r));
  return found;
}

test("a suite runs on its own device, whatever the one in force", async () => {
  const seen: string[] = [];
  const cases = () => [benchCase("where", () => void seen.push(tensor([1]).device.name))];
  const before = defaultDevice().name;
  await reports({ cases, device: "reference" });
  await reports({ cases });
  expect(new Set(seen)).toEqual(new Set(["reference", before]));
  expect(defaultDevice().name).toBe(before);
});

test("a case that cannot run or is wrong has no figure, and the next one runs", async () => {
  const found = await reports({
    cases: () => [
      benchCase("fails", () => {
        throw new ConfigError("some op", "is not made for this");
      }),
      benchCase("wrong", () => {}, 1e-3),
      benchCase("runs", () => {}),
    ],
  });
  expect(found.map((r) => r.ours === null)).toEqual([true, true, false]);
  expect(found.map((r) => r.failed)).toEqual([
    expect.stringContaining("is not made for this"),
    undefined,
    undefined,
  ]);
});
