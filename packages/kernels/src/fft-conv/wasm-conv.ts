// The entries of the long convolution: filters to spectra, convolution of a group of channels over its batch, gradient of filters.

import type { FunctionBuilder, ModuleBuilder, Value, Variable } from "@everlong/wasm";
import { defineStaging } from "./wasm-staging.ts";
import { MODE, defineTransforms, elementBytes, type Leaf } from "./wasm-transform.ts";

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
  // units per group of channels, and batch entries per unit
  "batchBlocks",
  "batchesPerUnit",
  // parts of the filter gradient's batch sum; 0 or the address of their spectra
  "partSpectra",
] as const;
export type ConvArg = (typeof CONV_ARGS)[number];

type I32Value = Value<"i32">;

/** Bytes of scratch for transforms of length `m`: `works` complex buffers and one sequence of 2 m. */
export const scratchBytes = (m: number, width: number, works: number): number =>
  m * elementBytes(width) * (works + 1) + 64 * (works + 1);

/** Defines `convolve`, `filterGradient` and `finishGradient` for transforms with the given leaf. */
export function buildConv(module: ModuleBuilder, leaf: Leaf): void {
  const staging = defineStaging(module);
  const transforms = defineTransforms(module, leaf);
  const es = elementBytes(module.target.width);

  const setup = (f: FunctionBuilder, args: I32Value, scratch: I32Value) => {
    const arg = (name: ConvArg): I32Value => f.mem.i32.load(args, 4 * CONV_ARGS.indexOf(name));
    const size = arg("size");
    const workBytes = f.i32.mul(size, es);
    const table = arg("table");
    // buffers end in a line of their own, so that powers of two do not share cache sets
    const work = (i: number): I32Value =>
      f.i32.add(scratch, i === 0 ? 0 : f.i32.mul(f.i32.add(workBytes, 64), i));
    const quarterReal = f.i32.shrU(workBytes, 3);
    const quarter = f.i32.shrU(workBytes, 2);
    const row = es / 2;
    const data = work(0);
    const at = (index: I32Value): I32Value => f.i32.add(data, f.i32.mul(index, row));
    const first = f.i32.add(table, arg("tableFirst"));
    const last = f.i32.add(table, arg("tableLast"));
    const either = (flag: I32Value, yes: () => void, no: () => void): void => f.if(flag, yes, no);
    return {
      arg,
      size,
      data,
      row,
      at,
      work,
      quarter,
      table,
      /** Zeros from index `from` to the end of a sequence of M, or of 2 M where `both`. */
      clearFrom: (from: I32Value, both: I32Value): void =>
        void f.call(staging.clear, at(from), at(f.i32.shl(size, both))),
      toSpectrum: (to: I32Value, both: I32Value): void =>
        either(
          both,
          () => f.call(transforms.firstBoth, data, to, quarterReal, first),
          () => f.call(transforms.firstReal, data, to, quarterReal, first),
        ),
      fromSpectrum: (from: I32Value, both: I32Value): void =>
        either(
          both,
          () => f.call(transforms.lastBoth, from, data, quarterReal, last),
          () => f.call(transforms.lastReal, from, data, quarterReal, last),
        ),
      /** The inner passes of all four quarters. */
      walk: (x: I32Value, y: I32Value, z: I32Value, mode: I32Value | number): void => {
        const p: Variable<"i32">[] = [x, y, z].map((v) => f.variable("i32", v));
        f.loop(0, 4, 1, () => {
          f.call(transforms.walk, p[0]!, p[1]!, p[2]!, quarter, table, mode);
          for (const v of p) f.advance(v, quarter);
        });
      },
      /** Reads a sequence tensor for a batch entry and the group at `channel`, times its gate if there is one. */
      gather: (
        name: "u" | "y",
        gate: "pre" | "post",
        b: I32Value,
        channel: I32Value,
        lanes: I32Value,
      ): void => {
        const g = arg(gate);
        const address = (tensor: "u" | "y" | "pre" | "post"): I32Value => {
          const base = f.i32.add(arg(tensor), f.i32.mul(b, arg(`${tensor}Batch`)));
          return f.i32.add(base, f.i32.mul(channel, arg(`${tensor}Channel`)));
        };
        const gateAt = f.select(g, address(gate), 0);
        const strides = [arg(`${name}Channel`), arg(`${name}Time`)] as const;
        const gateStrides = [arg(`${gate}Channel`), arg(`${gate}Time`)] as const;
        f.call(staging.gather, data, address(name), ...strides, gateAt, ...gateStrides, lanes, arg("length"));
      },
    };
  };

  const group = (
    f: FunctionBuilder,
    channels: I32Value,
    index: I32Value,
  ): { channel: I32Value; lanes: I32Value } => {
    const channel = f.i32.mul(index, f.lanes);
    const left = f.i32.sub(channels, channel);
    return { channel, lanes: f.select(f.i32.ltU(left, f.lanes), left, f.lanes) };
  };

  module.define(
    "convolve",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const s = setup(f, args, scratch);
      const { arg, at } = s;
      const [spectrum, work] = [s.work(1), s.work(2)];
      const [length, taps, origin] = [arg("length"), arg("taps"), arg("origin")];
      f.loop(begin, end, 1, (unit) => {
        const blocks = arg("batchBlocks");
        const index = f.i32.divU(unit, blocks);
        const { channel, lanes } = group(f, arg("channels"), index);

        // the filter: lags 0, 1, ... from the front, lags -1, -2, ... negated from the back of the sequence of 2 M
        const k = f.i32.add(arg("k"), f.i32.mul(channel, arg("kChannel")));
        const ahead = f.i32.sub(taps, origin);
        const kAhead = f.i32.add(k, f.i32.mul(origin, arg("kTap")));
        f.call(staging.gather, s.data, kAhead, arg("kChannel"), arg("kTap"), 0, 0, 0, lanes, ahead);
        s.clearFrom(ahead, arg("filterBoth"));
        f.if(origin, () => {
          const back = at(f.i32.sub(f.i32.shl(s.size, 1), origin));
          const backEnd = at(f.i32.shl(s.size, 1));
          f.call(staging.gather, back, k, arg("kChannel"), arg("kTap"), 0, 0, 0, lanes, origin);
          f.call(staging.addScaled, back, backEnd, back, -2);
        });
        const skip = arg("skip");
        f.if(skip, () => {
          f.loop(0, lanes, 1, (lane) => {
            const tap = f.i32.muladd(lane, 4, s.data);
            const weight = f.mem.f32.load(f.i32.muladd(f.i32.add(channel, lane), 4, skip));
            f.mem.f32.store(tap, 0, f.f32.add(f.mem.f32.load(tap), weight));
          });
        });
        s.toSpectrum(spectrum, arg("filterBoth"));
        s.walk(spectrum, spectrum, spectrum, MODE.spectrum);

        const mode = f.i32.add(MODE.multiply, arg("adjoint"));
        const firstBatch = f.i32.mul(f.i32.sub(unit, f.i32.mul(index, blocks)), arg("batchesPerUnit"));
        const lastBatch = f.i32.add(firstBatch, arg("batchesPerUnit"));
        const batchEnd = f.select(f.i32.ltU(lastBatch, arg("batch")), lastBatch, arg("batch"));
        f.loop(firstBatch, batchEnd, 1, (b) => {
          s.gather("u", "pre", b, channel, lanes);
          s.clearFrom(length, arg("sequenceBoth"));
          s.toSpectrum(work, arg("sequenceBoth"));
          s.walk(work, spectrum, spectrum, mode);
          s.fromSpectrum(work, arg("resultBoth"));
          f.if(f.i32.and(arg("circular"), f.i32.gtU(taps, 1)), () => {
            const over = f.i32.sub(taps, 1);
            f.if(
              arg("adjoint"),
              // lags before 0 lie negated at the back and belong to the end of the period
              () => {
                const to = at(f.i32.sub(length, over));
                f.call(staging.addScaled, to, at(length), at(f.i32.sub(f.i32.shl(s.size, 1), over)), -1);
              },
              () => f.call(staging.addScaled, s.data, at(over), at(length), 1),
            );
          });
          const y = f.i32.add(
            f.i32.add(arg("y"), f.i32.mul(b, arg("yBatch"))),
            f.i32.mul(channel, arg("yChannel")),
          );
          const postAt = f.i32.add(arg("post"), f.i32.mul(b, arg("postBatch")));
          const post = f.select(arg("post"), f.i32.add(postAt, f.i32.mul(channel, arg("postChannel"))), 0);
          const strides = [arg("yChannel"), arg("yTime")] as const;
          f.call(
            staging.scatter,
            s.data,
            y,
            ...strides,
            post,
            arg("postChannel"),
            arg("postTime"),
            lanes,
            length,
          );
        });
      });
    },
  );

  /** Back from the summed spectrum at work(1) to the filter's gradient. */
  const finish = (
    f: FunctionBuilder,
    s: ReturnType<typeof setup>,
    channel: I32Value,
    lanes: I32Value,
  ): void => {
    const { arg, at } = s;
    const [length, taps, origin] = [arg("length"), arg("taps"), arg("origin")];
    const sum = s.work(1);
    s.walk(sum, sum, sum, MODE.inverse);
    s.fromSpectrum(sum, arg("filterBoth"));
    f.if(f.i32.and(arg("circular"), f.i32.gtU(taps, 1)), () => {
      // lags j - L, negated at the back, belong to tap j >= 1
      const from = at(f.i32.add(f.i32.sub(f.i32.shl(s.size, 1), length), 1));
      f.call(staging.addScaled, at(f.i32.constant(1)), at(taps), from, -1);
    });
    const k = f.i32.add(arg("k"), f.i32.mul(channel, arg("kChannel")));
    const strides = [arg("kChannel"), arg("kTap")] as const;
    const kAhead = f.i32.add(k, f.i32.mul(origin, arg("kTap")));
    f.call(staging.scatter, s.data, kAhead, ...strides, 0, 0, 0, lanes, f.i32.sub(taps, origin));
    f.if(origin, () => {
      const back = at(f.i32.sub(f.i32.shl(s.size, 1), origin));
      f.call(staging.addScaled, back, at(f.i32.shl(s.size, 1)), back, -2);
      f.call(staging.scatter, back, k, ...strides, 0, 0, 0, lanes, origin);
    });
  };

  // unit = group * batchBlocks + part of the batch
  module.define(
    "filterGradient",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const s = setup(f, args, scratch);
      const { arg } = s;
      f.loop(begin, end, 1, (unit) => {
        const blocks = arg("batchBlocks");
        const index = f.i32.divU(unit, blocks);
        const { channel, lanes } = group(f, arg("channels"), index);
        const parts = arg("partSpectra");
        const part = f.i32.add(parts, f.i32.mul(unit, f.i32.mul(s.size, es)));
        const sum = f.select(parts, part, s.work(1));
        const [x, y] = [s.work(2), s.work(3)];
        const mode = f.variable("i32", MODE.correlate);
        const firstBatch = f.i32.mul(f.i32.sub(unit, f.i32.mul(index, blocks)), arg("batchesPerUnit"));
        const lastBatch = f.i32.add(firstBatch, arg("batchesPerUnit"));
        const batchEnd = f.select(f.i32.ltU(lastBatch, arg("batch")), lastBatch, arg("batch"));
        f.loop(firstBatch, batchEnd, 1, (b) => {
          s.gather("u", "pre", b, channel, lanes);
          s.clearFrom(arg("length"), arg("sequenceBoth"));
          s.toSpectrum(x, arg("sequenceBoth"));
          s.gather("y", "post", b, channel, lanes);
          s.clearFrom(arg("length"), arg("sequenceBoth"));
          s.toSpectrum(y, arg("sequenceBoth"));
          s.walk(x, y, sum, mode);
          f.set(mode, MODE.correlateAdd);
        });
        f.if(f.i32.eqz(parts), () => finish(f, s, channel, lanes));
      });
    },
  );

  // unit = group: the parts in their order, then back
  module.define(
    "finishGradient",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const s = setup(f, args, scratch);
      const { arg } = s;
      f.loop(begin, end, 1, (index) => {
        const { channel, lanes } = group(f, arg("channels"), index);
        const bytes = f.i32.mul(s.size, es);
        const sum = s.work(1);
        const sumEnd = f.i32.add(sum, bytes);
        f.call(staging.clear, sum, sumEnd);
        const part = f.variable(
          "i32",
          f.i32.add(arg("partSpectra"), f.i32.mul(f.i32.mul(index, bytes), arg("batchBlocks"))),
        );
        f.loop(0, arg("batchBlocks"), 1, () => {
          f.call(staging.addScaled, sum, sumEnd, part, 1);
          f.advance(part, bytes);
        });
        finish(f, s, channel, lanes);
      });
    },
  );
}
