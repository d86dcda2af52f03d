import { expect, test } from "vitest";
import { Random } from "@everlong/testing";
import { planTensor, planTensorBackward, type TensorPlan } from "./cuda-tensor-plan.ts";

const target = (arch: number, sharedLimit: number) => ({
  arch,
  processors: 132,
  sharedLimit,
  cacheBytes: 50 * 1024 ** 2,
});
const TARGETS = [target(90, 232_448), target(100, 232_448), target(80, 166_912), target(86, 101_376)];
const LONGEST = 2 ** 22;

/** Lengths of every size, with those around powers of two. */
function lengths(): number[] {
  const random = new Random(5);
  const around = Array.from({ length: 23 }, (_, i) => [2 ** i - 1, 2 ** i, 2 ** i + 1]).flat();
  const between = Array.from({ length: 23 }, (_, i) => Math.floor(2 ** (i + random.uniform())));
  return [...around, ...between, 300, 1536, 6000, 12_000].filter((n) => n >= 1 && n <= LONGEST);
}

/** What is said of a plan for sequences of `length`, circular ones over as many points as they have. */
function check(plan: TensorPlan, length: number, circular: boolean, sharedLimit: number): void {
  const { factor, split, cluster, paired, points, residues } = plan;
  const about = `${length}${circular ? " circular" : ""}: ${JSON.stringify(plan)}`;
  // A twisted transform is modulo x^N - i: as many points as there are positions are enough, fewer wrap.
  expect(points, about).toBeGreaterThanOrEqual(length);
  expect(Number.isInteger(Math.log2(points)), about).toBe(true);
  expect(256 * factor * split, about).toBe(points);
  // A cyclic transform of other points than the period would wrap elsewhere.
  expect(paired, about).toBe(circular && points === length);
  expect(Number.isInteger(Math.log2(residues)), about).toBe(true);
  const part = (256 * factor) / residues;
  expect(part, about).toBeLessThanOrEqual(16_384);
  expect(8 * (part + part / 16) + 1024, about).toBeLessThanOrEqual(sharedLimit);
  if (cluster) expect(split, about).toBeLessThanOrEqual(8);
  else if (split > 1) expect([16, 32, 64, 128, 256], about).toContain(split);
}

test.each(TARGETS)("transforms have points for every position (sm_$arch, $sharedLimit bytes)", (gpu) => {
  let planned = 0;
  for (const length of lengths())
    for (const circular of [false, true])
      for (const plan of [planTensor(length, circular, gpu), planTensorBackward(length, circular, gpu)]) {
        if (typeof plan === "string") {
          // Only what does not fit is refused, which says so.
          expect(plan).toMatch(/needs .* bytes of shared memory, the GPU has/);
          continue;
        }
        planned++;
        check(plan, length, circular, gpu.sharedLimit);
        if (plan.cluster) expect(gpu.arch).toBe(90);
      }
  expect(planned).toBeGreaterThan(250);
});

test("no more points are taken than the next power of two, but for small GPUs and short sequences", () => {
  const [h100, , , small] = TARGETS as [...typeof TARGETS];
  for (const length of lengths())
    for (const plan of [planTensor(length, false, h100!), planTensorBackward(length, false, h100!)]) {
      expect(typeof plan).toBe("object");
      expect((plan as TensorPlan).points).toBe(Math.max(1024, 2 ** Math.ceil(Math.log2(length))));
    }
  // The gradient's blocks do not fit: rows of 2048 instead.
  expect(planTensorBackward(16_000, false, small!)).toMatchObject({ points: 32_768, split: 16, factor: 8 });
});

test("sequences longer than any transform are refused", () => {
  for (const gpu of TARGETS)
    for (const plan of [planTensor(LONGEST + 1, false, gpu), planTensorBackward(LONGEST + 1, false, gpu)])
      expect(plan).toBe("sequences of 4194305 are longer than 4194304");
});
