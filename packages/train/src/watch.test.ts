import { expect, test } from "vitest";
import { EarlyStop, Plateau } from "./watch.ts";

test("early stop waits for patience and forgives after an improvement", () => {
  const early = new EarlyStop({ patience: 2 });
  const seen = [5, 4, 4.5, 4.2, 3, 3.1, 3.2, 3.05].map((v) => early.observe(v));
  expect(seen).toEqual([false, false, false, false, false, false, false, true]);
});

test("an improvement below the threshold counts as none", () => {
  const early = new EarlyStop({ patience: 0, threshold: 0.1 });
  expect([10, 9.5].map((v) => early.observe(v))).toEqual([false, true]);
});

test("a target stops at once, in both directions", () => {
  expect(new EarlyStop({ mode: "max", target: 0.999 }).observe(0.9991)).toBe(true);
  expect(new EarlyStop({ mode: "max", target: 0.999 }).observe(0.9)).toBe(false);
  expect(new EarlyStop({ target: 0.1 }).observe(0.05)).toBe(true);
});

test("a plateau lowers the rate, cools down, and stops at the least factor", () => {
  // torch.optim.lr_scheduler.ReduceLROnPlateau(factor=.5, patience=1, cooldown=2, min_lr=.2) at a base rate of 1
  const plateau = new Plateau({ factor: 0.5, patience: 1, cooldown: 2, minFactor: 0.2 });
  const factors = [4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4].map((v) => {
    plateau.observe(v);
    return plateau.factor;
  });
  expect(factors).toEqual([1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2]);
});

test("state goes through JSON", () => {
  const first = new Plateau({ patience: 1 });
  for (const v of [2, 2]) first.observe(v);
  const second = new Plateau({ patience: 1 });
  second.restore(JSON.parse(JSON.stringify(first.state)) as typeof first.state);
  expect([second.observe(2), second.factor]).toEqual([true, 0.1]);
});

test("bad options are named", () => {
  expect(() => new Plateau({ factor: 1 })).toThrow("0 < factor < 1");
  expect(() => new EarlyStop({ patience: -1 })).toThrow("whole number");
  expect(() => new EarlyStop({ mode: "most" as "max" })).toThrow('"min" or "max"');
  expect(() => new EarlyStop().observe(Number.NaN)).toThrow("NaN");
});
