import { describe, expect, test } from "vitest";
import { Random, SEED, valuesOf, weightedLoss } from "@everlong/testing";
import { gradients } from "../autodiff.ts";
import type { Program, Step } from "../device.ts";
import { DTYPES, readElement, type DType } from "../dtype.ts";
import { isRealised, topologicalOrder } from "../graph.ts";
import { fromHost, tensor } from "../ops/creation.ts";
import { add, cast, mul, sin } from "../ops/elementwise.ts";

import { matmul } from "../ops/linalg.ts";
import { broadcastTo, flip, permute, slice } from "../ops/movement.ts";
import { cumsum, sort, sum } from "../ops/reduction.ts";
import { record } from "../record.ts";
import { realize } from "../realize.ts";
import { prepareLoop } from "../reference/loop.ts";
import { operandsOf, prepareStep, toFloat64 } from "../reference/program.ts";
import { device } from "../settings.ts";

import { Tensor } from "../tensor.ts";
import { randomGraph } from "./random-graph.ts";
import { schedule } from "./schedule.ts";

const reference = device("reference");

/** The same graph, one node at a time: no fusion, no plan. */
async function oneByOne(outputs: readonly Tensor[]): Promise<Float64Array[]> {
  const made = new Map<string, Tensor>();
  const find = (t: Tensor): Tensor => made.get(`${t.node.id}.${t.index}`) ?? t;
  for (const node of topologicalOrder(outputs, isRealised)) {
    if (isRealised(new Tensor(node, 0))) continue;
    const { name, params } = node.operation;
    const results = record(name, params as never, node.inputs.map(find), reference);
    realize(results);
    results.forEach((t, i) => made.set(`${node.id}.${i}`, t));
  }
  const values: Float64Array[] = [];
  for (const t of outputs) values.push(await valuesOf(find(t)));
  return values;
}

/** Realised tensors that the outputs read. */
function sourcesOf(outputs: readonly Tensor[]): Tensor[] {
  const found = new Map<string, Tensor>();
  const note = (t: Tensor): void => void (isRealised(t) && found.set(`${t.node.id}.${t.index}`, t));
  outputs.forEach(note);
  for (const node of topologicalOrder(outputs, isRealised)) node.inputs.forEach(note);
  return [...found.values()];
}

/**
 * Runs a program in the arena that its plan lays out, every buffer poisoned when it comes to life; a slot per byte, so
 * that dtypes of any width can be told apart. Donated inputs are overwritten by their outputs.
 */
function runInArena(program: Program, inputs: readonly Float64Array[]): Float64Array[] {
  const arena = new Float64Array(program.arenaBytes).fill(NaN);
  const length = (b: number): number => program.buffers[b]!.bytes / DTYPES[program.buffers[b]!.dtype].bytes;
  const args = inputs.map((x) => x.slice());
  const outputs: Float64Array[] = [];
  const storage = program.buffers.map(({ role, dtype }, b) => {
    switch (role.kind) {
      case "input":
        return args[role.index]!;
      case "output": {
        const donor = program.donated[role.index];
        return (outputs[role.index] =
          donor === undefined ? new Float64Array(length(b)).fill(NaN) : args[donor]!);
      }
      case "temp":
        return arena.subarray(role.offset, role.offset + length(b));
      case "constant":
        return toFloat64(role.data, dtype, length(b));
    }
  });
  const born = new Set<number>();
  for (const step of program.steps) {
    const { reads, writes } = operandsOf(step);
    for (const { buffer } of writes) {
      const { role, bytes } = program.buffers[buffer]!;
      if (role.kind !== "temp" || born.has(buffer)) continue;
      born.add(buffer);
      const inPlace = reads.some(({ buffer: other }) => {
        const o = program.buffers[other]!;
        return o.role.kind === "temp" && o.role.offset === role.offset && o.bytes === bytes;
      });
      if (!inPlace) arena.fill(NaN, role.offset, role.offset + bytes);
    }
    // Few elements at a time, so that a loop which overwrites what it still needs is found out.
    (step.kind === "loop" ? prepareLoop(step, 2) : prepareStep(step))(storage);
  }
  return outputs;
}

/** Bodies of scans, at any depth. */
const bodiesOf = (program: Program): Program[] =>
  program.steps.flatMap((s: Step) => (s.kind === "scan" ? [s.body, ...bodiesOf(s.body)] : []));

/** Temporaries that live at the same time never share bytes. */
function checkPlan(program: Program): void {
  const lives = new Map<number, [number, number]>();
  program.steps.forEach((step, s) => {
    const { reads, writes } = operandsOf(step);
    for (const { buffer } of [...reads, ...writes]) {
      if (program.buffers[buffer]!.role.kind !== "temp") continue;
      lives.set(buffer, [lives.get(buffer)?.[0] ?? s, s]);
    }
  });
  const list = [...lives].map(([b, [from, to]]) => {
    const { role, bytes } = program.buffers[b]!;
    return { b, from, to, at: (role as { offset: number }).offset, bytes };
  });
  for (const x of list) {
    expect(x.at + x.bytes).toBeLessThanOrEqual(program.arenaBytes);
    for (const y of list) {
      if (x.b >= y.b || x.at + x.bytes <= y.at || y.at + y.bytes <= x.at) continue;
      // Touching at one step is writing in place.
      expect(x.to <= y.from || y.to <= x.from, `buffers ${x.b} and ${y.b} overlap in time and place`).toBe(
        true,
      );
    }
  }
}

describe("random graphs and their gradients", () => {
  const seeds = Array.from({ length: 60 }, (_, i) => SEED + i);
  test.each(seeds)("fused, planned and in place as node by node (seed %i)", async (seed) => {
    const { inputs, outputs } = randomGraph(6 + (seed % 12), {
      device: reference,
      dtype: "f64",
      smooth: false,
      source: new Random(seed),
    });
    const slopes = gradients(weightedLoss(outputs, seed), inputs);
    const all = [...outputs, ...slopes];
    const want = await oneByOne(all);

    const sources = sourcesOf(all);
    const program = schedule(sources, all);
    checkPlan(program);
    bodiesOf(program).forEach(checkPlan);
    const values: Float64Array[] = [];
    for (const t of sources) values.push(await valuesOf(t));
    const planned = runInArena(program, values);
    // Passing through f64 memory or not, the arithmetic is the same, bit for bit.
    all.forEach((_, i) => expect(planned[i], `output ${i} in the arena`).toEqual(want[i]));

    realize(all);
    for (const [i, t] of all.entries()) expect(await valuesOf(t), `output ${i}`).toEqual(want[i]);
  });
});

describe("programs", () => {
  const x = fromHost(Float64Array.of(1, 2, 3, 4, 5, 6), [2, 3], "f64", reference);
  const kinds = (p: Program): string[] =>
    p.steps.map((s) => (s.kind === "primitive" ? s.primitive.name : s.kind));

  test("a chain with shape changes is one loop; a reduction takes its producers in", () => {
    const y = mul(sin(permute(add(x, 1), [1, 0])), 2);
    expect(kinds(schedule([x], [y]))).toEqual(["loop"]);
    expect(kinds(schedule([x], [sum(mul(sin(x), x), 0)]))).toEqual(["reduce"]);
  });
  test("views of views reach the buffer as strides", () => {
    const y = slice(permute(flip(x, 1), [1, 0]), [{ start: 1 }, { step: -1 }]);
    const program = schedule([x], [add(y, 0)]);
    const step = program.steps[0] as Extract<Step, { kind: "loop" }>;
    expect(step.args.map((a) => a.view)).toEqual([{ shape: [2, 2], strides: [-1, -3], offset: 4 }]);
  });
  test("values that nobody reads are not computed", () => {
    const { indices } = sort(x);
    expect(kinds(schedule([x], [indices]))).toEqual(["sort"]);
    expect(schedule([x], [sum(x)]).steps).toHaveLength(1);
  });
  test("an output that is an input, a view of one, a constant, or twice the same", async () => {
    const one = tensor([1], { device: reference });
    const outputs = [x, permute(x, [1, 0]), broadcastTo(one, [3]), sin(x), sin(x), add(one, 0)];
    const program = schedule([x, one], outputs);
    const run = runInArena(program, [await valuesOf(x), await valuesOf(one)]);
    expect([...run[1]!]).toEqual([1, 4, 2, 5, 3, 6]);
    expect([...run[2]!]).toEqual([1, 1, 1]);
    expect(run[3]).toEqual(run[4]);
  });
  test("donation: in place when the last reader is the writer, not when somebody reads later", async () => {
    const y = add(x, 1);
    const inPlace = schedule([x], [y], { donate: [0] });
    expect(inPlace.donated).toEqual([0]);
    expect([...runInArena(inPlace, [await valuesOf(x)])[0]!]).toEqual([2, 3, 4, 5, 6, 7]);
    const flipped = schedule([x], [flip(add(x, 1), 1)], { donate: [0] });
    expect([...runInArena(flipped, [await valuesOf(x)])[0]!]).toEqual([4, 3, 2, 7, 6, 5]);
    const both = schedule([x], [add(x, 1), matmul(x, permute(x, [1, 0]))], { donate: [0] });
    expect([...runInArena(both, [await valuesOf(x)])[1]!]).toEqual([14, 32, 32, 77]);
  });
  test.each<DType>(["f32", "bf16", "i32", "bool"])("an arena with %s beside f64", async (dtype) => {
    const y = cast(cast(sin(x), dtype), "f64");
    const z = add(cumsum(cast(y, dtype === "bool" ? "i32" : dtype), 0), 0);
    const all = [add(y, x), z];
    const program = schedule([x], all);
    const run = runInArena(program, [await valuesOf(x)]);
    realize(all);
    for (const [i, t] of all.entries()) {
      const data = await t.data();
      expect([...run[i]!]).toEqual(Array.from(data, (_, k) => readElement(t.dtype, data, k)));
    }
  });
});
