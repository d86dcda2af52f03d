// What a program's launches wait for, and which may run side by side: small kernels of one branch fill processors that another leaves idle.

import type { Program } from "@everlong/core";
import type { CudaStep } from "@everlong/kernels/cuda";
import { bytesTouched, footprintOf, footprintsConflict, type Footprint } from "./join-launches.ts";
import type { Lowered } from "./lowered.ts";
import { aligned } from "./runtime.ts";

/** Streams that a program's launches are spread over. */
const LANES = 4;
/** Programs of more units than this run in order: finding what depends on what takes time with the square of their number. */
const MOST_UNITS = 1500;

// What a launch takes, roughly: its start, its bytes and its arithmetic, in microseconds.
const START = 3;
const BYTES_PER_US = 2e6;
const FLOPS_PER_US = 1e8;

/** Temporaries up to this size lie apart, as long as they take little room beside all others. */
const MOST_APART = 2 * 1024 * 1024;
const ROOM = 32 * 1024 * 1024;

/**
 * The program with small temporaries at places of their own behind all others: gradients of weights that lay where an activation was could
 * not start before its last reader.
 */
export function withRoom(program: Program): Program {
  let arenaBytes = aligned(program.arenaBytes);
  const limit = arenaBytes + Math.max(ROOM, arenaBytes / 8);
  const buffers = program.buffers.map((b) => {
    if (b.role.kind !== "temp" || b.bytes > MOST_APART || arenaBytes + b.bytes > limit) return b;
    const offset = arenaBytes;
    arenaBytes += aligned(b.bytes);
    return { ...b, role: { kind: "temp" as const, offset } };
  });
  return { ...program, buffers, arenaBytes };
}

/** What runs as one, in order. */
export interface Unit {
  /** A step alone, or a group that is joined at the place of its last. */
  readonly steps: readonly number[];
  /** Which of the steps' launches; all of them when undefined. */
  readonly stage?: number;
}

/**
 * A step, or a group, as one unit for each of its launches, where what these hand to each other is small enough for a place of its own: sums
 * that nobody waits for leave the way of those who wait for the first launch.
 */
export function unitsOf(
  steps: readonly number[],
  lowerings: readonly (Lowered | string | undefined)[],
): Unit[] {
  const all = steps.map((i) => lowerings[i]);
  const [first] = all;
  if (typeof first !== "object") return [{ steps }];
  const bytes = all.reduce((sum, l) => sum + (l as Lowered).temps.reduce((a, b) => a + aligned(b), 0), 0);
  if (first.steps.length < 2 || bytes > MOST_APART || first.steps.some((s) => "library" in s))
    return first.steps.length === 0 ? [] : [{ steps }];
  return first.steps.map((_, stage) => ({ steps, stage }));
}

/** Where and when a unit runs. */
export interface Slot {
  readonly unit: Unit;
  readonly lane: number;
  /** Positions, in the order of the slots, of units of other lanes that must be over. */
  readonly waits: readonly number[];
}

interface Node {
  readonly unit: Unit;
  readonly footprint: Footprint;
  readonly cost: number;
  /** Whether it shares something with others of its kind that is not in its footprint: the library's workspace, or tables that it writes. */
  readonly chained: boolean;
  readonly needs: number[];
  readonly wantedBy: number[];
}

/** What the launches of a stage of a step touch, by their words: all but inputs may be written. */
function stageFootprint(program: Program, step: number, lowered: Lowered, stage: number): Footprint {
  const { args } = lowered.steps[stage] as CudaStep;
  const of = (which: "input" | "output" | "temp"): Set<number> =>
    new Set(
      args.flatMap((w) => {
        const at = typeof w === "object" && which in w ? (w as Record<string, unknown>)[which] : undefined;
        return typeof at === "number" ? [at] : [];
      }),
    );
  const [inputs, outputs] = [
    [...of("input")].map((i) => lowered.inputs[i]!),
    [...of("output")].map((i) => lowered.outputs[i]!),
  ];
  const { all, written } = footprintOf(program, [...inputs, ...outputs], outputs);
  const temps = [...of("temp")].map((i) => ({
    space: `temporary ${i} of ${step}`,
    from: 0,
    to: lowered.temps[i]!,
  }));
  return { all: [...all, ...temps], written: [...written, ...temps] };
}

function nodeOf(program: Program, unit: Unit, lowerings: readonly Lowered[]): Node {
  const { steps, stage } = unit;
  const parts = steps.map((i) => {
    const l = lowerings[i]!;
    if (stage !== undefined) return stageFootprint(program, i, l, stage);
    return footprintOf(program, [...l.inputs, ...l.outputs], l.outputs);
  });
  const footprint = { all: parts.flatMap((f) => f.all), written: parts.flatMap((f) => f.written) };
  const flops = stage ? 0 : steps.reduce((sum, i) => sum + lowerings[i]!.flops, 0);
  return {
    unit,
    footprint,
    cost: START + bytesTouched(footprint) / BYTES_PER_US + flops / FLOPS_PER_US,
    chained: steps.some((i) =>
      lowerings[i]!.steps.some((s) => "library" in s || (s.tables !== undefined && s.tables.length > 0)),
    ),
    needs: [],
    wantedBy: [],
  };
}

/**
 * An order of the units, and their lanes. Those that all others wait for follow each other in lane 0, with those that share the library's
 * workspace; of the rest, the unit that could start next goes where it starts first, by estimates of what launches take. What one writes and
 * another touches keeps its order.
 * @param units in the order of the program
 */
export function branches(program: Program, units: readonly Unit[], lowerings: readonly Lowered[]): Slot[] {
  if (units.length < 3 || units.length > MOST_UNITS)
    return units.map((unit) => ({ unit, lane: 0, waits: [] }));
  const nodes = units.map((unit) => nodeOf(program, unit, lowerings));
  nodes.forEach((node, i) => {
    for (let j = 0; j < i; j++)
      if (footprintsConflict(nodes[j]!.footprint, node.footprint)) {
        node.needs.push(j);
        nodes[j]!.wantedBy.push(i);
      }
  });
  return schedule(nodes);
}

/** Whether others' ends, and so that of all, wait for a unit if it is late. */
function critical(nodes: readonly Node[]): boolean[] {
  const start: number[] = [];
  nodes.forEach((node, i) => {
    start[i] = node.needs.reduce((at, j) => Math.max(at, start[j]! + nodes[j]!.cost), 0);
  });
  const left: number[] = [];
  for (let i = nodes.length - 1; i >= 0; i--)
    left[i] = nodes[i]!.cost + nodes[i]!.wantedBy.reduce((most, k) => Math.max(most, left[k]!), 0);
  const total = nodes.reduce((most, _, i) => Math.max(most, start[i]! + left[i]!), 0);
  return nodes.map((_, i) => total - start[i]! - left[i]! < START);
}

function schedule(nodes: readonly Node[]): Slot[] {
  const slots: Slot[] = [];
  const position: number[] = [];
  const laneOf: number[] = [];
  const end: number[] = [];
  const missing = nodes.map((n) => n.needs.length);
  const free: number[] = Array.from({ length: LANES }, () => 0);
  /** Of each lane, the last position of every lane that is known to be over where the lane stands. */
  const known = free.map(() => free.map(() => -1));
  const over: number[][] = [];
  const hurries = critical(nodes);
  const waiting = new Set(nodes.map((_, i) => i).filter((i) => missing[i] === 0));
  while (waiting.size > 0) {
    let best = { node: -1, lane: 0, start: Infinity };
    for (const i of waiting) {
      const { needs, chained } = nodes[i]!;
      const ready = needs.reduce((latest, j) => Math.max(latest, end[j]!), 0);
      const first = needs.find((j) => end[j] === ready && laneOf[j] !== 0);
      const beside = [...(first === undefined ? [] : [laneOf[first]!]), ...free.keys()].filter((l) => l > 0);
      for (const lane of chained || hurries[i] ? [0] : beside) {
        const start = Math.max(ready, free[lane]!);
        if (start < best.start || (start === best.start && i < best.node)) best = { node: i, lane, start };
      }
    }
    const { node: i, lane, start } = best;
    const node = nodes[i]!;
    waiting.delete(i);
    position[i] = slots.length;
    laneOf[i] = lane;
    end[i] = start + node.cost;
    free[lane] = end[i]!;
    // The latest need of each other lane, unless something that ran here has waited for it already.
    const latest = free.map((_, other) =>
      node.needs.reduce((at, j) => (laneOf[j] === other ? Math.max(at, position[j]!) : at), -1),
    );
    const seen = known[lane]!;
    const waits: number[] = [];
    for (const at of latest.sort((a, b) => b - a)) {
      const other = at < 0 ? lane : slots[at]!.lane;
      if (other === lane || seen[other]! >= at) continue;
      waits.push(at);
      over[at]!.forEach((p, l) => (seen[l] = Math.max(seen[l]!, p)));
    }
    seen[lane] = slots.length;
    over.push([...seen]);
    slots.push({ unit: node.unit, lane, waits });
    for (const k of node.wantedBy) if (--missing[k]! === 0) waiting.add(k);
  }
  return slots;
}
