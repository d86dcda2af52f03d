import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { environmentEntry, makeEnvironment } from "./registry.ts";

const fixture = (name: string): unknown =>
  JSON.parse(readFileSync(join(import.meta.dirname, "../../fixtures/environments", name), "utf8"));

interface GridTrace {
  readonly task: string;
  readonly variant: string;
  readonly seed: number;
  readonly actions: readonly number[];
  readonly events: readonly (readonly [number, number, number])[];
  readonly marks: readonly number[];
}

function hash(start: number, bytes: Uint8Array): number {
  let h = start;
  for (const byte of bytes) h = Math.imul(h ^ byte, 16_777_619) >>> 0;
  return h;
}

describe("MiniGrid tasks of the M21 set step as the original's", () => {
  test.each(fixture("minigrid.json") as GridTrace[])("$task $variant, seed $seed", (trace) => {
    const env = makeEnvironment(trace.task, environmentEntry(trace.task).variants[trace.variant]!);
    let h = hash(2_166_136_261, env.reset({ seed: trace.seed }).observation as Uint8Array);
    let s = (trace.seed % 65_536) + 1;
    const events: [number, number, number][] = [];
    const marks: number[] = [];
    for (let t = 0; t < 600; t++) {
      s = (s * 75 + 74) % 65_537;
      const step = env.step(trace.actions[s % trace.actions.length]!);
      h = hash(h, step.observation as Uint8Array);
      const done = step.terminated || step.truncated;
      if (step.reward !== 0 || done) events.push([t, step.reward, Number(done)]);
      if (done) h = hash(h, env.reset().observation as Uint8Array);
      if (t % 100 === 99) marks.push(h);
    }
    expect(events).toEqual(trace.events);
    expect(marks).toEqual(trace.marks);
  });
});

interface PoleTrace {
  readonly seed: number;
  readonly states: readonly (readonly number[])[];
  readonly lengths: readonly number[];
  readonly last: readonly number[];
}

test.each(fixture("cartpole.json") as PoleTrace[])(
  "CartPole steps as the original's, seed $seed",
  (trace) => {
    const env = makeEnvironment("CartPole", { maxSteps: 200 });
    const states = [env.reset({ seed: trace.seed }).observation];
    let s = (trace.seed % 65_536) + 1;
    const lengths: number[] = [];
    let last = states[0]!;
    let n = 0;
    for (let t = 0; t < 400; t++) {
      s = (s * 75 + 74) % 65_537;
      const step = env.step(s % 2);
      n++;
      last = step.observation;
      if (t < 25) states.push(last);
      if (!step.terminated && !step.truncated) continue;
      lengths.push(n);
      n = 0;
      last = env.reset().observation;
    }
    expect(lengths).toEqual(trace.lengths);
    // observations are the float64 states rounded to float32
    expect(states.map((state) => [...state])).toEqual(
      trace.states.map((state) => [...Float32Array.from(state)]),
    );
    expect([...last]).toEqual([...Float32Array.from(trace.last)]);
  },
);
