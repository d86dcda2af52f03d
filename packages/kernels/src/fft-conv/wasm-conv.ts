// The entries of the long convolution: filters to spectra, convolution of a group of channels over its batch, gradient of filters.

import type { FunctionBuilder, ModuleBuilder, Value, Variable } from "@everlong/wasm";
import { SPECTRUM_HEADER } from "./plain-spectrum.ts";
import { defineStaging } from "./wasm-staging.ts";
import { elementBytes, type Leaf } from "./wasm-lengths.ts";
import { MODE, defineTransforms } from "./wasm-transform.ts";

/** Words of the argument block of `convolve` and `filterGradient`, in order. Absent tensors have address 0; strides in bytes. */
export const CONV_ARGS = [
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
  // output of `convolve`, cotangent in `filterGradient`
  "y",
  "yBatch",
  "yChannel",
  "yTime",
  // filter, or gradient of the filter
  "k",
  "kChannel",
  "kTap",
  "skip",
  // sequences or, where they are taken in blocks, all blocks of all sequences
  "batch",
  "channels",
  "length",
  "taps",
  "origin",
  // transform length M, and the address of its table with the offsets of its parts
  "size",
  "table",
  "tableFirst",
  "tableLast",
  // whether sequences, filters and results reach beyond M
  "sequenceBoth",
  "filterBoth",
  "resultBoth",
  "circular",
  "adjoint",
  // blocks of a sequence, the results of each, and how many inputs it takes from before its first result
  "blocks",
  "blockResults",
  "lead",
  // groups of channels per unit, and the distance of their sequences in scratch memory
  "cluster",
  "sequenceStride",
  // units per cluster, and batch entries per unit
  "batchBlocks",
  "batchesPerUnit",
  // parts of the filter gradient's batch sum; 0 or the address of their spectra
  "partSpectra",
  // address of the filters' spectra (behind their header) where they are made once and kept, else 0
  "spectra",
] as const;
export type ConvArg = (typeof CONV_ARGS)[number];

type I32Value = Value<"i32">;

/** Bytes in front of kept spectra: two words say how they lie, the rest is empty. */
export const SPECTRA_HEADER: number = 4 * SPECTRUM_HEADER;
const SPECTRA_MAGIC = 0x5bec_7a00;

/** Buffers end in a line of their own, so that powers of two do not share cache sets. */
const PAD = 64;

/** Bytes from one sequence in scratch memory to the next; `both`: sequences of 2 m instead of m. */
export const sequenceStride = (m: number, width: number, both: boolean): number =>
  (m * elementBytes(width)) / (both ? 1 : 2) + PAD;

/** Bytes of scratch for a number of sequences and of complex buffers. */
export const scratchBytes = (
  m: number,
  width: number,
  both: boolean,
  sequences: number,
  works: number,
): number => sequences * sequenceStride(m, width, both) + works * (m * elementBytes(width) + PAD);

/** Defines `convolve`, `filterGradient` and `finishGradient` for transforms with the given leaf. */
export function buildConv(module: ModuleBuilder, leaf: Leaf): void {
  const staging = defineStaging(module);
  const transforms = defineTransforms(module, leaf);
  const es = elementBytes(module.target.width);

  /** Names of a step's arguments and the moves that all entries share; `sequences` per group in scratch memory. */
  const setup = (f: FunctionBuilder, args: I32Value, scratch: I32Value, sequences: number) => {
    const arg = (name: ConvArg): I32Value => f.mem.i32.load(args, 4 * CONV_ARGS.indexOf(name));
    const size = arg("size");
    const distance = arg("sequenceStride");
    const workBytes = f.i32.mul(size, es);
    const works = f.i32.add(scratch, f.i32.mul(f.i32.mul(arg("cluster"), sequences), distance));
    const table = arg("table");
    const eighth = f.i32.shrU(workBytes, 3);
    const quarter = f.i32.shrU(workBytes, 2);
    const at = (sequence: I32Value, index: I32Value | number): I32Value =>
      f.i32.muladd(index, es / 2, sequence);
    const first = f.i32.add(table, arg("tableFirst"));
    const last = f.i32.add(table, arg("tableLast"));
    const back = f.i32.shl(size, 1);
    const fewer = (x: I32Value, y: I32Value | number): I32Value => f.select(f.i32.ltU(x, y), x, y);
    return {
      arg,
      at,
      distance,
      fewer,
      /** Index one past the end of a sequence of 2 M. */
      back,
      sequence: (group: I32Value | number): I32Value => f.i32.add(f.i32.mul(distance, group), scratch),
      work: (index: I32Value | number): I32Value =>
        f.i32.add(f.i32.mul(f.i32.add(workBytes, PAD), index), works),
      workBytes,
      /** Kept spectra of the group at `index`; absent: 0. */
      spectraOf: (index: I32Value): I32Value => {
        const behind = f.i32.add(f.i32.add(arg("spectra"), SPECTRA_HEADER), f.i32.mul(index, workBytes));
        return f.select(arg("spectra"), behind, 0);
      },
      /** Zeros from index `from` to the end of a sequence of M, or of 2 M where `both`. */
      clearFrom: (sequence: I32Value, from: I32Value, both: I32Value): void =>
        void f.call(staging.clear, at(sequence, from), at(sequence, f.i32.shl(size, both))),
      toSpectrum: (sequence: I32Value, to: I32Value, both: I32Value): void =>
        f.if(
          both,
          () => f.call(transforms.firstBoth, sequence, to, eighth, first),
          () => f.call(transforms.firstReal, sequence, to, eighth, first),
        ),
      fromSpectrum: (from: I32Value, sequence: I32Value, both: I32Value): void =>
        f.if(
          both,
          () => f.call(transforms.lastBoth, from, sequence, eighth, last),
          () => f.call(transforms.lastReal, from, sequence, eighth, last),
        ),
      /** The inner passes of all four quarters; where `spectrumFirst`, quarter for quarter after those that make y a spectrum. */
      walk: (
        x: I32Value,
        y: I32Value,
        z: I32Value,
        mode: I32Value | number,
        spectrumFirst?: I32Value,
      ): void => {
        const p: Variable<"i32">[] = [x, y, z].map((v) => f.variable("i32", v));
        f.loop(0, 4, 1, () => {
          if (spectrumFirst)
            f.if(spectrumFirst, () => {
              f.call(transforms.walk, p[1]!, p[1]!, p[1]!, quarter, table, MODE.spectrum);
            });
          f.call(transforms.walk, p[0]!, p[1]!, p[2]!, quarter, table, mode);
          for (const v of p) f.advance(v, quarter);
        });
      },
      /** Moves `count` steps from `time` on of a cluster between a tensor and its sequences, times the gate where there is one. */
      move: (
        into: boolean,
        sequence: I32Value,
        name: "u" | "y",
        gate: "pre" | "post",
        {
          b,
          channel,
          present,
        }: { readonly b: I32Value; readonly channel: I32Value; readonly present: I32Value },
        time: I32Value,
        count: I32Value,
      ): void => {
        const address = (tensor: "u" | "y" | "pre" | "post"): I32Value => {
          const base = f.i32.add(arg(tensor), f.i32.mul(b, arg(`${tensor}Batch`)));
          const row = f.i32.add(base, f.i32.mul(channel, arg(`${tensor}Channel`)));
          return f.i32.add(row, f.i32.mul(time, arg(`${tensor}Time`)));
        };
        const gateAt = f.select(arg(gate), address(gate), 0);
        const strides = [arg(`${name}Channel`), arg(`${name}Time`)] as const;
        const gateStrides = [arg(`${gate}Channel`), arg(`${gate}Time`)] as const;
        const fn = into ? staging.gather : staging.scatter;
        f.call(fn, sequence, address(name), ...strides, gateAt, ...gateStrides, present, count, distance);
      },
      /** Moves taps `from` to `from + count` between the filter and sequences. */
      moveTaps: (
        into: boolean,
        sequence: I32Value,
        channel: I32Value,
        present: I32Value,
        from: I32Value | number,
        count: I32Value,
      ): void => {
        const base = f.i32.add(arg("k"), f.i32.mul(channel, arg("kChannel")));
        const k = f.i32.add(base, f.i32.mul(arg("kTap"), from));
        const fn = into ? staging.gather : staging.scatter;
        f.call(fn, sequence, k, arg("kChannel"), arg("kTap"), 0, 0, 0, present, count, distance);
      },
      /** The channels of a cluster, how many there are, and in how many groups. */
      cluster: (index: I32Value): { channel: I32Value; present: I32Value; groups: I32Value } => {
        const wide = f.i32.mul(arg("cluster"), f.lanes);
        const channel = f.i32.mul(index, wide);
        const present = fewer(f.i32.sub(arg("channels"), channel), wide);
        return { channel, present, groups: f.i32.divU(f.i32.add(present, f.lanes - 1), f.lanes) };
      },
      /** A block of a sequence: `count` inputs from `time` on lie from `front` on in scratch memory, `results` results from `first` on. */
      block: (entry: I32Value): Block => {
        const b = f.i32.divU(entry, arg("blocks"));
        const first = f.i32.mul(f.i32.sub(entry, f.i32.mul(b, arg("blocks"))), arg("blockResults"));
        const begin = f.i32.sub(first, arg("lead"));
        const before = f.i32.ltS(begin, 0);
        const front = f.select<"i32">(before, f.i32.sub(0, begin), 0, "i32");
        const time = f.select<"i32">(before, 0, begin, "i32");
        const length = arg("length");
        return {
          b,
          first,
          front,
          time,
          count: fewer(f.i32.sub(back, front), f.i32.sub(length, time)),
          results: fewer(f.i32.sub(length, first), arg("blockResults")),
        };
      },
      /** Zeros in front of index `to` of a sequence, and from index `from` on. */
      clearAround: (sequence: I32Value, to: I32Value, from: I32Value, both: I32Value): void => {
        f.call(staging.clear, sequence, at(sequence, to));
        f.call(staging.clear, at(sequence, from), at(sequence, f.i32.shl(size, both)));
      },
      /** The batch entries of a unit: from, to. */
      batches: (unit: I32Value, index: I32Value): [I32Value, I32Value] => {
        const block = f.i32.sub(unit, f.i32.mul(index, arg("batchBlocks")));
        const from = f.i32.mul(block, arg("batchesPerUnit"));
        return [from, fewer(f.i32.add(from, arg("batchesPerUnit")), arg("batch"))];
      },
    };
  };

  interface Block {
    readonly b: I32Value;
    readonly first: I32Value;
    readonly front: I32Value;
    readonly time: I32Value;
    readonly count: I32Value;
    readonly results: I32Value;
  }
  type Setup = ReturnType<typeof setup>;
  type Cluster = ReturnType<Setup["cluster"]>;

  /** The filters of a cluster: lags 0, 1, ... from the front of a sequence of 2 M, lags -1, -2, ... negated from its back. */
  const transformFilters = (
    f: FunctionBuilder,
    s: Setup,
    { channel, present, groups }: Cluster,
    spectrumOf: (g: I32Value) => I32Value,
    firstPassOnly: I32Value | number,
  ): void => {
    const { arg, at, back } = s;
    const origin = arg("origin");
    const ahead = f.i32.sub(arg("taps"), origin);
    s.moveTaps(true, s.sequence(0), channel, present, origin, ahead);
    f.loop(0, groups, 1, (g) => s.clearFrom(s.sequence(g), ahead, arg("filterBoth")));
    f.if(origin, () => {
      s.moveTaps(true, at(s.sequence(0), f.i32.sub(back, origin)), channel, present, 0, origin);
      f.loop(0, groups, 1, (g) => {
        const from = at(s.sequence(g), f.i32.sub(back, origin));
        f.call(staging.addScaled, from, at(s.sequence(g), back), from, -2);
      });
    });
    f.loop(0, groups, 1, (g) => {
      const sequence = s.sequence(g);
      const skip = arg("skip");
      f.if(skip, () => {
        const weights = f.i32.muladd(f.i32.add(channel, f.i32.mul(g, f.lanes)), 4, skip);
        f.loop(0, s.fewer(f.i32.sub(present, f.i32.mul(g, f.lanes)), f.lanes), 1, (lane) => {
          const tap = f.i32.muladd(lane, 4, sequence);
          const weight = f.mem.f32.load(f.i32.muladd(lane, 4, weights));
          f.mem.f32.store(tap, 0, f.f32.add(f.mem.f32.load(tap), weight));
        });
      });
      const spectrum = spectrumOf(g);
      s.toSpectrum(sequence, spectrum, arg("filterBoth"));
      f.if(f.i32.eqz(firstPassOnly), () => s.walk(spectrum, spectrum, spectrum, MODE.spectrum));
    });
  };

  module.define(
    "convolve",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const s = setup(f, args, scratch, 1);
      const { arg, at, back } = s;
      const [length, taps] = [arg("length"), arg("taps")];
      const work = s.work(arg("cluster"));
      // spectra of another width, length or device would give wrong numbers in silence
      f.if(arg("spectra"), () => {
        const wrong = f.i32.or(
          f.i32.ne(f.mem.i32.load(arg("spectra")), SPECTRA_MAGIC + f.width),
          f.i32.ne(f.mem.i32.load(arg("spectra"), 4), arg("size")),
        );
        f.if(wrong, () => f.trap());
      });
      f.loop(begin, end, 1, (unit) => {
        const index = f.i32.divU(unit, arg("batchBlocks"));
        const cluster = s.cluster(index);
        const { channel, present, groups } = cluster;
        const kept = arg("spectra");
        const keptHere = s.spectraOf(f.i32.mul(index, arg("cluster")));
        const spectrumOf = (g: I32Value): I32Value =>
          f.select(kept, f.i32.add(keptHere, f.i32.mul(s.workBytes, g)), s.work(g));
        const [firstBatch, batchEnd] = s.batches(unit, index);
        // for a single batch entry each quarter of a spectrum is made right before its use, while it is in the cache
        const single = f.i32.and(f.i32.eqz(kept), f.i32.eq(f.i32.sub(batchEnd, firstBatch), 1));
        f.if(f.i32.eqz(kept), () => transformFilters(f, s, cluster, spectrumOf, single));

        const mode = f.i32.add(arg("adjoint"), MODE.multiply);
        f.loop(firstBatch, batchEnd, 1, (entry) => {
          const block = s.block(entry);
          const { b, front, count } = block;
          const where = { b, channel, present };
          s.move(true, at(s.sequence(0), front), "u", "pre", where, block.time, count);
          f.loop(0, groups, 1, (g) => {
            const sequence = s.sequence(g);
            const spectrum = spectrumOf(g);
            s.clearAround(sequence, front, f.i32.add(front, count), arg("sequenceBoth"));
            s.toSpectrum(sequence, work, arg("sequenceBoth"));
            s.walk(work, spectrum, spectrum, mode, single);
            s.fromSpectrum(work, sequence, arg("resultBoth"));
            f.if(f.i32.and(arg("circular"), f.i32.gtU(taps, 1)), () => {
              const over = f.i32.sub(taps, 1);
              f.if(
                arg("adjoint"),
                () => {
                  // lags before 0 lie negated at the back and belong to the end of the period
                  const to = at(sequence, f.i32.sub(length, over));
                  const from = at(sequence, f.i32.sub(back, over));
                  f.call(staging.addScaled, to, at(sequence, length), from, -1);
                },
                () => f.call(staging.addScaled, sequence, at(sequence, over), at(sequence, length), 1),
              );
            });
          });
          s.move(false, at(s.sequence(0), arg("lead")), "y", "post", where, block.first, block.results);
        });
      });
    },
  );

  /** Back from the summed spectra at work(0), work(1), ... to the gradient of a cluster's filters. */
  const finish = (f: FunctionBuilder, s: Setup, { channel, present, groups }: Cluster): void => {
    const { arg, at, back } = s;
    const [length, taps, origin] = [arg("length"), arg("taps"), arg("origin")];
    f.loop(0, groups, 1, (g) => {
      const sum = s.work(g);
      const sequence = s.sequence(g);
      s.walk(sum, sum, sum, MODE.inverse);
      s.fromSpectrum(sum, sequence, arg("filterBoth"));
      f.if(f.i32.and(arg("circular"), f.i32.gtU(taps, 1)), () => {
        // lags j - L, negated at the back, belong to tap j >= 1
        const from = at(sequence, f.i32.add(f.i32.sub(back, length), 1));
        f.call(staging.addScaled, at(sequence, 1), at(sequence, taps), from, -1);
      });
      f.if(origin, () => {
        const from = at(sequence, f.i32.sub(back, origin));
        f.call(staging.addScaled, from, at(sequence, back), from, -2);
      });
    });
    s.moveTaps(false, s.sequence(0), channel, present, origin, f.i32.sub(taps, origin));
    f.if(origin, () =>
      s.moveTaps(false, at(s.sequence(0), f.i32.sub(back, origin)), channel, present, 0, origin),
    );
  };

  // unit = cluster * batchBlocks + part of the batch
  module.define(
    "filterGradient",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const s = setup(f, args, scratch, 2);
      const { arg } = s;
      const x = s.work(arg("cluster"));
      const y = s.work(f.i32.add(arg("cluster"), 1));
      f.loop(begin, end, 1, (unit) => {
        const index = f.i32.divU(unit, arg("batchBlocks"));
        const cluster = s.cluster(index);
        const { channel, present, groups } = cluster;
        const parts = arg("partSpectra");
        const unitBytes = f.i32.mul(s.workBytes, arg("cluster"));
        const mode = f.variable("i32", MODE.correlate);
        const [firstBatch, batchEnd] = s.batches(unit, index);
        f.loop(firstBatch, batchEnd, 1, (entry) => {
          const ySequence = s.sequence(arg("cluster"));
          const block = s.block(entry);
          const { b, front, count } = block;
          const where = { b, channel, present };
          const lead = arg("lead");
          s.move(true, s.at(s.sequence(0), front), "u", "pre", where, block.time, count);
          s.move(true, s.at(ySequence, lead), "y", "post", where, block.first, block.results);
          f.loop(0, groups, 1, (g) => {
            const [from, fromY] = [s.sequence(g), f.i32.add(ySequence, f.i32.mul(s.distance, g))];
            s.clearAround(from, front, f.i32.add(front, count), arg("sequenceBoth"));
            s.toSpectrum(from, x, arg("sequenceBoth"));
            s.clearAround(fromY, lead, f.i32.add(lead, block.results), arg("sequenceBoth"));
            s.toSpectrum(fromY, y, arg("sequenceBoth"));
            const part = f.i32.add(parts, f.i32.add(f.i32.mul(unit, unitBytes), f.i32.mul(s.workBytes, g)));
            s.walk(x, y, f.select(parts, part, s.work(g)), mode);
          });
          f.set(mode, MODE.correlateAdd);
        });
        f.if(f.i32.eqz(parts), () => finish(f, s, cluster));
      });
    },
  );

  // unit = cluster: the parts in their order, then back
  module.define(
    "finishGradient",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const s = setup(f, args, scratch, 1);
      const { arg } = s;
      f.loop(begin, end, 1, (index) => {
        const cluster = s.cluster(index);
        const unitBytes = f.i32.mul(s.workBytes, arg("cluster"));
        const first = f.i32.add(
          arg("partSpectra"),
          f.i32.mul(f.i32.mul(index, unitBytes), arg("batchBlocks")),
        );
        f.loop(0, cluster.groups, 1, (g) => {
          const sum = s.work(g);
          const sumEnd = f.i32.add(sum, s.workBytes);
          f.call(staging.clear, sum, sumEnd);
          const part = f.variable("i32", f.i32.add(first, f.i32.mul(s.workBytes, g)));
          f.loop(0, arg("batchBlocks"), 1, () => {
            f.call(staging.addScaled, sum, sumEnd, part, 1);
            f.advance(part, unitBytes);
          });
        });
        finish(f, s, cluster);
      });
    },
  );

  // unit = cluster: filters to spectra that are kept
  module.define(
    "filterSpectra",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const s = setup(f, args, scratch, 1);
      f.if(f.i32.eqz(begin), () => {
        f.mem.i32.store(s.arg("spectra"), 0, SPECTRA_MAGIC + f.width);
        f.mem.i32.store(s.arg("spectra"), 4, s.arg("size"));
      });
      f.loop(begin, end, 1, (index) => {
        const at = s.spectraOf(f.i32.mul(index, s.arg("cluster")));
        transformFilters(f, s, s.cluster(index), (g) => f.i32.add(at, f.i32.mul(s.workBytes, g)), 0);
      });
    },
  );
}
