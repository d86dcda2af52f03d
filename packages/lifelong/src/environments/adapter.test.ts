import { expect, test } from "vitest";
import { adaptEnvironment } from "./adapter.ts";

test("a simple environment gets spaces, copies, a step limit and checks", () => {
  const state = [0, 0];
  const env = adaptEnvironment({
    shape: [2],
    actions: 3,
    maxSteps: 3,
    reset(seed) {
      state[0] = Number(seed ?? 5);
      return state;
    },
    step(action) {
      state[1]! += action;
      return [action === 2 ? [1] : state, action, state[1]! > 90];
    },
  });
  expect(env.observationSpace).toMatchObject({ shape: [2], dtype: "f32", high: Infinity });
  const first = env.reset({ seed: 7n }).observation;
  expect([...first]).toEqual([7, 0]);
  const step = env.step(1);
  expect([...step.observation]).toEqual([7, 1]);
  expect([...first]).toEqual([7, 0]);
  expect(env.step(0)).toMatchObject({ reward: 0, terminated: false, truncated: false });
  expect(env.step(0).truncated).toBe(true);
  env.reset();
  expect(env.step(1).truncated).toBe(false);
  expect(() => env.step(3)).toThrow(/expected 0 to 2, got 3/);
  expect(() => env.step(2)).toThrow(/expected 2 entries for \[2\], got 1/);
  state[1] = 90;
  expect(env.step(1)).toMatchObject({ terminated: true, truncated: false });
});
