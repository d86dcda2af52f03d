// The convolution of a group of channels over its batch: samples to the grid, transform, products of kept frequencies, and back.

import type { FunctionRef, ModuleBuilder } from "@everlong/wasm";
import { elementBytes, type Leaf } from "../fft-conv/wasm-lengths.ts";
import { defineStaging } from "../fft-conv/wasm-staging.ts";
import { MODE, defineTransforms } from "../fft-conv/wasm-transform.ts";
import { argReader, smaller, larger, type I32Value } from "../wasm-emit.ts";
import type { ArgWord } from "../wasm-step.ts";
import {
  samplingTable,
  stretchLength,
  type Sampling,
  type SamplingTable,
  type WindowWidth,
} from "./sampling.ts";
import { defineClearPairs, definePairs } from "./wasm-pairs.ts";
import { defineDown, defineUp, type Height } from "./wasm-window.ts";

type Sequence = "u" | "pre" | "post" | "y";
/** Words of the argument block, in order. Absent tensors have address 0; strides in bytes. */
export const LOW_ARGS = [
  "u",
  "uBatch",
  "uChannel",
  "uTime",
  "pre",
  "preBatch",
  "preChannel",
  "preTime",
  "post",
  "postBatch",
  "postChannel",
  "postTime",
  "y",
  "yBatch",
  "yChannel",
  "yTime",
  "k",
  "kChannel",
  "kTap",
  "batch",
  "channels",
  "length",
  "taps",
  "adjoint",
  "cluster",
  "batchBlocks",
  "batchesPerUnit",
  // see Sampling
  "size",
  "p",
  "q",
  "reach",
  "points",
  "windowTaps",
  "firstSample",
  "pointsAtOnce",
  "samplesAtOnce",
  "rounds",
  "stretchBytes",
  "lowPairs",
  "bothPairs",
  // the table, and where its parts lie in it
  "table",
  "twiddles",
  "pairs",
  "gains",
  "downStarts",
  "downWeights",
  "upStarts",
  "upWeights",
] as const;
export type LowArg = (typeof LOW_ARGS)[number];

/** Buffers end in a line of their own, so that powers of two do not share cache sets. */
const PAD = 64;

interface Bytes {
  readonly stretch: number;
  readonly grid: number;
  readonly spectrum: number;
}

const bytesOf = (sampling: Sampling, width: number): Bytes => {
  const vector = 16 * width;
  return {
    stretch: stretchLength(sampling) * vector + PAD,
    grid: (2 * sampling.size + 2 * sampling.reach) * vector + PAD,
    spectrum: (sampling.size + 2) * 2 * vector + PAD,
  };
};

/** Scratch bytes of a unit: a stretch of samples, a grid and a spectrum for each group of channels. */
export function lowScratch(sampling: Sampling, width: number, cluster: number): number {
  const { stretch, grid, spectrum } = bytesOf(sampling, width);
  return cluster * (stretch + grid + spectrum);
}

/** The words that say how sequences meet the grid. */
export function samplingWords(sampling: Sampling, width: number): Record<string, ArgWord> {
  const { size, bins, p, q, reach, points, taps, firstSample } = sampling;
  const { pointsAtOnce, samplesAtOnce, rounds } = sampling;
  const { bytes: _, ...parts } = samplingTable(sampling);
  const half = size / 2 + 1;
  // pairs whose higher frequency is dropped, those of which both are kept
  const lowPairs = Math.min(bins, size - bins + 1, half);
  return {
    size,
    p,
    q,
    reach,
    points,
    windowTaps: taps,
    firstSample,
    pointsAtOnce,
    samplesAtOnce,
    rounds,
    stretchBytes: bytesOf(sampling, width).stretch,
    lowPairs,
    bothPairs: 2 * bins > size ? half - lowPairs : 0,
    table: { table: 0 },
    ...parts,
  };
}

/** Defines `lowFrequency` for transforms with a leaf and a width of the window; `periods`: whether eight periods come at once. */
export function buildLowFrequency(
  module: ModuleBuilder,
  leaf: Leaf,
  width: WindowWidth,
  periods: Height,
): void {
  const staging = defineStaging(module);
  const { walk } = defineTransforms(module, leaf);
  const down = defineDown(module, periods);
  const up = defineUp(module, width, periods);
  const clearPairs = defineClearPairs(module);
  const pairsOf = (
    work: "filter" | "multiply" | "multiplyConj",
  ): { low: FunctionRef; both: FunctionRef } => ({
    low: definePairs(module, work, false),
    both: definePairs(module, work, true),
  });
  const filterPairs = pairsOf("filter");
  const products = [pairsOf("multiply"), pairsOf("multiplyConj")] as const;
  const es = elementBytes(module.target.width);
  const vector = es / 2;

  module.define(
    "lowFrequency",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = argReader(f, args, LOW_ARGS);
      const part = (name: keyof SamplingTable): I32Value => f.i32.add(arg("table"), arg(name as LowArg));
      const sum = (...terms: I32Value[]): I32Value => terms.reduce((x, y) => f.i32.add(x, y));
      const vectors = (n: I32Value): I32Value => f.i32.mul(n, vector);
      const [size, reach, cluster] = [arg("size"), arg("reach"), arg("cluster")];
      const stretchBytes = arg("stretchBytes");
      const gridBytes = f.i32.add(vectors(f.i32.add(f.i32.shl(size, 1), f.i32.shl(reach, 1))), PAD);
      const spectrumBytes = f.i32.add(f.i32.mul(f.i32.add(size, 2), es), PAD);
      const grids = f.i32.add(scratch, f.i32.mul(cluster, stretchBytes));
      const spectra = f.i32.add(grids, f.i32.mul(cluster, gridBytes));
      const stretch = (g: I32Value): I32Value => f.i32.add(scratch, f.i32.mul(g, stretchBytes));
      /** Grid point -reach of a group. */
      const grid = (g: I32Value): I32Value => f.i32.add(grids, f.i32.mul(g, gridBytes));
      const spectrum = (g: I32Value): I32Value => f.i32.add(spectra, f.i32.mul(g, spectrumBytes));
      const transform = (at: I32Value, mode: number): void =>
        void f.call(walk, at, at, at, f.i32.mul(size, es), part("twiddles"), mode);
      const margin = vectors(reach);

      /** Runs over rounds of periods, and over parts of long ones: `each(first period, first of p or q, how many, rounds)`. */
      const eachPart = (
        total: I32Value,
        period: I32Value,
        atOnce: I32Value,
        each: (periodNumber: I32Value, first: I32Value, count: I32Value, rounds: I32Value) => void,
      ): void => {
        const round = f.i32.mul(period, periods);
        const n = f.variable("i32", 0);
        const start = f.variable("i32", 0);
        f.while(
          () => f.i32.ltU(start, total),
          () => {
            f.loop(0, period, atOnce, (first) => {
              const left = f.i32.sub(f.i32.sub(total, start), first);
              f.if(f.i32.gtS(left, 0), () => {
                const whole = smaller(f, atOnce, f.i32.sub(period, first));
                const open = f.i32.divU(f.i32.sub(f.i32.add(left, round), 1), round);
                const rounds = periods === 1 ? f.i32.constant(1) : smaller(f, open, arg("rounds"));
                // a round may run over the end, which nobody reads
                each(n, first, periods === 1 ? smaller(f, whole, left) : whole, rounds);
              });
            });
            f.advance(n, f.i32.mul(arg("rounds"), periods));
            f.advance(start, f.i32.mul(round, arg("rounds")));
          },
        );
      };

      interface Source {
        readonly at: I32Value;
        readonly channel: I32Value;
        readonly time: I32Value;
        readonly gate: I32Value;
        readonly gateChannel: I32Value;
        readonly gateTime: I32Value;
      }
      /** Samples of a cluster to the grids of its groups. */
      const toGrid = (source: Source, present: I32Value, groups: I32Value, count: I32Value): void => {
        const [p, q, taps] = [arg("p"), arg("q"), arg("windowTaps")];
        eachPart(arg("points"), q, arg("pointsAtOnce"), (n, first, points, rounds) => {
          const startOf = (r: I32Value): I32Value => f.mem.i32.load(f.i32.muladd(r, 4, part("downStarts")));
          const start = startOf(first);
          const from = sum(arg("firstSample"), f.i32.mul(n, p), start);
          const lastStart = startOf(f.i32.sub(f.i32.add(first, points), 1));
          const span = sum(
            f.i32.sub(lastStart, start),
            f.i32.mul(p, f.i32.sub(f.i32.mul(rounds, periods), 1)),
            taps,
          );
          const low = larger(f, smaller(f, f.i32.sub(0, from), span), 0);
          const high = larger(f, smaller(f, f.i32.sub(count, from), span), low);
          const there = f.i32.add(from, low);
          f.loop(0, groups, 1, (g) => {
            const at = stretch(g);
            f.call(staging.clear, at, f.i32.add(at, vectors(low)));
            f.call(staging.clear, f.i32.add(at, vectors(high)), f.i32.add(at, vectors(span)));
          });
          f.if(f.i32.ltS(low, high), () => {
            f.call(
              staging.gather,
              f.i32.add(scratch, vectors(low)),
              f.i32.add(source.at, f.i32.mul(there, source.time)),
              source.channel,
              source.time,
              f.select(source.gate, f.i32.add(source.gate, f.i32.mul(there, source.gateTime)), 0),
              source.gateChannel,
              source.gateTime,
              present,
              f.i32.sub(high, low),
              stretchBytes,
            );
          });
          f.loop(0, groups, 1, (g) => {
            const to = f.variable("i32", f.i32.add(grid(g), vectors(f.i32.add(f.i32.mul(n, q), first))));
            const from = f.variable("i32", stretch(g));
            f.loop(0, rounds, 1, () => {
              f.loop(0, points, 1, (r) => {
                const klass = f.i32.add(first, r);
                const x = f.i32.add(from, vectors(f.i32.sub(startOf(klass), start)));
                const weights = f.i32.add(part("downWeights"), f.i32.shl(f.i32.mul(klass, taps), 2));
                f.call(down, x, vectors(p), weights, taps, f.i32.add(to, vectors(r)), vectors(q));
              });
              f.advance(from, vectors(f.i32.mul(p, periods)));
              f.advance(to, vectors(f.i32.mul(q, periods)));
            });
          });
        });
        f.loop(0, groups, 1, (g) => {
          const at = grid(g);
          const gridEnd = f.i32.add(f.i32.add(at, margin), f.i32.mul(size, es));
          f.call(staging.clear, f.i32.add(at, vectors(arg("points"))), gridEnd);
          // points before 0 lie at the end of the period
          const to = f.variable("i32", f.i32.sub(gridEnd, margin));
          f.loop(0, margin, vector, (i) => {
            f.mem.vec.store(to, 0, f.mem.vec.load(f.i32.add(at, i)));
            f.advance(to, vector);
          });
        });
      };

      /** Grids of a cluster's groups to samples. */
      const fromGrid = (
        present: I32Value,
        groups: I32Value,
        place: (name: "y" | "post") => I32Value,
      ): void => {
        const [p, q] = [arg("p"), arg("q")];
        const to = place("y");
        const gate = f.select(arg("post"), place("post"), 0);
        eachPart(arg("length"), p, arg("samplesAtOnce"), (n, first, count, rounds) => {
          f.loop(0, groups, 1, (g) => {
            const from = f.variable("i32", f.i32.add(grid(g), vectors(f.i32.mul(n, q))));
            const line = f.variable("i32", stretch(g));
            f.loop(0, rounds, 1, () => {
              f.loop(0, count, 1, (r) => {
                const klass = f.i32.add(first, r);
                const start = f.mem.i32.load(f.i32.muladd(klass, 4, part("upStarts")));
                const weights = f.i32.muladd(klass, 4 * width, part("upWeights"));
                const at = f.i32.add(line, vectors(r));
                f.call(up, f.i32.add(from, vectors(start)), vectors(q), weights, at, vectors(p));
              });
              f.advance(from, vectors(f.i32.mul(q, periods)));
              f.advance(line, vectors(f.i32.mul(p, periods)));
            });
          });
          const t = f.i32.add(f.i32.mul(n, p), first);
          const all = periods === 1 ? count : f.i32.mul(f.i32.mul(p, periods), rounds);
          f.call(
            staging.scatter,
            scratch,
            f.i32.add(to, f.i32.mul(t, arg("yTime"))),
            arg("yChannel"),
            arg("yTime"),
            f.select(gate, f.i32.add(gate, f.i32.mul(t, arg("postTime"))), 0),
            arg("postChannel"),
            arg("postTime"),
            present,
            smaller(f, all, f.i32.sub(arg("length"), t)),
            stretchBytes,
          );
        });
      };

      const pairsWork = (
        fns: { readonly low: FunctionRef; readonly both: FunctionRef },
        data: I32Value,
        kept: I32Value,
      ): void => {
        const [pairs, lowPairs, bothPairs] = [part("pairs"), arg("lowPairs"), arg("bothPairs")];
        f.call(fns.low, data, kept, pairs, part("gains"), lowPairs);
        f.if(bothPairs, () => {
          const behind = f.i32.muladd(lowPairs, 2 * es, kept);
          const gains = f.i32.muladd(lowPairs, 8, part("gains"));
          f.call(fns.both, data, behind, f.i32.muladd(lowPairs, 16, pairs), gains, bothPairs);
        });
      };

      f.loop(begin, end, 1, (unit) => {
        const index = f.i32.divU(unit, arg("batchBlocks"));
        const wide = f.i32.mul(cluster, f.lanes);
        const channel = f.i32.mul(index, wide);
        const present = smaller(f, f.i32.sub(arg("channels"), channel), wide);
        const groups = f.i32.divU(f.i32.add(present, f.lanes - 1), f.lanes);
        const block = f.i32.sub(unit, f.i32.mul(index, arg("batchBlocks")));
        const firstBatch = f.i32.mul(block, arg("batchesPerUnit"));
        const lastBatch = smaller(f, f.i32.add(firstBatch, arg("batchesPerUnit")), arg("batch"));

        const filter: Source = {
          at: f.i32.add(arg("k"), f.i32.mul(channel, arg("kChannel"))),
          channel: arg("kChannel"),
          time: arg("kTap"),
          gate: f.i32.constant(0),
          gateChannel: f.i32.constant(0),
          gateTime: f.i32.constant(0),
        };
        toGrid(filter, present, groups, arg("taps"));
        f.loop(0, groups, 1, (g) => {
          const at = f.i32.add(grid(g), margin);
          transform(at, MODE.spectrum);
          pairsWork(filterPairs, at, spectrum(g));
        });
        f.loop(firstBatch, lastBatch, 1, (b) => {
          const place = (name: Sequence): I32Value =>
            sum(arg(name), f.i32.mul(b, arg(`${name}Batch`)), f.i32.mul(channel, arg(`${name}Channel`)));
          const source: Source = {
            at: place("u"),
            channel: arg("uChannel"),
            time: arg("uTime"),
            gate: f.select(arg("pre"), place("pre"), 0),
            gateChannel: arg("preChannel"),
            gateTime: arg("preTime"),
          };
          toGrid(source, present, groups, arg("length"));
          f.loop(0, groups, 1, (g) => {
            const at = f.i32.add(grid(g), margin);
            transform(at, MODE.spectrum);
            const done = f.i32.add(arg("lowPairs"), arg("bothPairs"));
            const none = f.i32.sub(f.i32.add(f.i32.shrU(size, 1), 1), done);
            f.call(clearPairs, at, f.i32.muladd(done, 16, part("pairs")), none);
            f.if(
              arg("adjoint"),
              () => pairsWork(products[1], at, spectrum(g)),
              () => pairsWork(products[0], at, spectrum(g)),
            );
            transform(at, MODE.inverse);
            const from = f.variable("i32", f.i32.sub(f.i32.add(at, f.i32.mul(size, es)), margin));
            f.loop(0, margin, vector, (i) => {
              f.mem.vec.store(f.i32.add(grid(g), i), 0, f.mem.vec.load(from));
              f.advance(from, vector);
            });
          });
          fromGrid(present, groups, place);
        });
      });
    },
  );
}
