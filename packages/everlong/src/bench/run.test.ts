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

test("a peer that fails has no figure, the others and ours have", async () => {
  let left = 3;
  const failing = async (): Promise<number> => {
    if (left-- === 0) throw new Error("it ended");
    return 40;
  };
  const peer = (name: string, run: () => Promise<number>) => ({
    name,
    prepare: async () => ({ run, close: () => {} }),
  });
  const peers = [peer("failing", failing), peer("other", async () => 40)];
  const [found] = await reports({ cases: () => [{ ...benchCase("runs", () => {}), repeats: 5, peers }] });
  expect(found!.ours).toBeGreaterThan(0);
  expect(found!.peers).toEqual({ failing: "it ended", other: 40 });
  expect(found!.most).toBeUndefined();
});

test("a peer that does less work says how much of it ours should be at most", async () => {
  const peer = { name: "a part", most: 2.5, prepare: async () => ({ run: async () => 40, close: () => {} }) };
  const [found] = await reports({ cases: () => [{ ...benchCase("runs", () => {}), peers: [peer] }] });
  expect(found!.most).toEqual({ "a part": 2.5 });
});

test("memory is let go of before peers are prepared and behind every case, and all is closed whatever fails", async () => {
  const told: string[] = [];
  const peer = {
    name: "peer",
    prepare: async () => {
      told.push("peer");
      return { run: async () => 1, close: async () => void told.push("peer closed") };
    },
  };
  const made = (name: string, run: () => void, error = 0): BenchCase => {
    const one = benchCase(name, run, error);
    const prepare = async () => ({ ...(await one.prepare()), close: () => void told.push("closed") });
    return { ...one, peers: [peer], prepare };
  };
  const fail = (): never => {
    throw new ConfigError("some op", "is not made for this");
  };
  const cases = () => [made("runs", () => {}), made("wrong", () => {}, 1), made("fails", fail)];
  await reports({ cases, begin: () => void told.push("begin"), letGo: () => void told.push("let go") });
  const whole = ["let go", "peer", "peer closed", "closed", "let go"];
  expect(told).toEqual(["begin", ...whole, "closed", "let go", ...whole]);
});

test("a name that no case has is answered with the kinds of cases, not with all of them", async () => {
  const names = ["copy [3, 4] f16", "copy [5, 6] f16", "scan with gradients f32, 3 x 4", "s4d and gradients"];
  const suite = { name: "some", describe: "", cases: () => names.map((n) => benchCase(n, () => {})) };
  const found = runSuite(suite, { only: "scan with gradient f16" }, () => {});
  await expect(found).rejects.toThrow(
    /"scan with gradient f16" in its name. Did you mean "scan with gradients.*"\? Names begin with copy; scan with gradients; s4d and gradients\.$/,
  );
});
