// The online convolution on the CPU: one short sum at every position, and a transform of the block that the clock completes.
// Transforms are those of the long convolution, behind a guard that reads the clock.

import type { FunctionBuilder, ModuleBuilder, Value } from "@everlong/wasm";
import { fftConvWasm } from "../fft-conv/wasm.ts";
import {
  argReader,
  argWords,
  loadPlace,
  smaller,
  splatAt,
  storePlace,
  targetKey,
  walk,
} from "../wasm-emit.ts";
import type { ArgWord, WasmSource, WasmStep, WasmTarget, WasmView } from "../wasm-step.ts";
import { ONLINE_BLOCK } from "./block.ts";

type I32Value = Value<"i32">;

const ARGS = [
  "u",
  "taps",
  "from",
  "held",
  "y",
  "clock",
  "slots",
  // bytes of all channels, units of a row
  "rowBytes",
  "blocks",
  // the completed block, and what it adds to the next
  "block",
  "share",
] as const;
type Words = { readonly [K in (typeof ARGS)[number]]: ArgWord };

/** Bytes of the channels that a unit moves. */
const UNIT_BYTES = 1024;
const ENTRY = { params: ["i32", "i32", "i32", "i32"], exported: true } as const;

interface Unit {
  readonly row: I32Value;
  /** Bytes from the start of a row of channels, and how many of them. */
  readonly offset: I32Value;
  readonly bytes: I32Value;
}

/** What both entries know: the clock, the block that it completes, the units. */
function setup(f: FunctionBuilder, args: I32Value) {
  const arg = argReader(f, args, ARGS);
  const [slots, rowBytes, blocks] = [arg("slots"), arg("rowBytes"), arg("blocks")];
  const now = f.mem.i32.load(arg("clock"));
  const next = f.i32.add(now, 1);
  const low = f.i32.and(next, f.i32.sub(0, next));
  return {
    arg,
    slots,
    rowBytes,
    now,
    next,
    low,
    inside: f.i32.ltU(now, slots),
    completes: f.i32.and(f.i32.ltU(next, slots), f.i32.geU(low, ONLINE_BLOCK)),
    /** Address of a slot of a row, of `count` slots a row. */
    at: (base: I32Value, row: I32Value, count: I32Value, slot: I32Value | number): I32Value =>
      f.i32.add(base, f.i32.mul(f.i32.add(f.i32.mul(row, count), slot), rowBytes)),
    units: (begin: I32Value, end: I32Value, body: (unit: Unit) => void): void =>
      f.loop(begin, end, 1, (unit) => {
        const row = f.i32.divU(unit, blocks);
        const offset = f.i32.mul(f.i32.remU(unit, blocks), UNIT_BYTES);
        body({ row, offset, bytes: smaller(f, f.i32.sub(rowBytes, offset), UNIT_BYTES) });
      }),
  };
}

function build(module: ModuleBuilder): void {
  const move = module.define("copyChannels", { params: ["i32", "i32", "i32"] }, (f, to, from, bytes) => {
    walk(f, bytes, 2, (p) => storePlace(f, to, p, loadPlace(f, from, p)));
  });
  module.define("present", ENTRY, (f, args, begin, end) => {
    const { arg, slots, rowBytes, now, next, low, inside, completes, at, units } = setup(f, args);
    const [taps, from, held] = [arg("taps"), arg("from"), arg("held")];
    const start = f.i32.and(now, -ONLINE_BLOCK);
    units(begin, end, ({ row, offset, bytes }) => {
      const column = (base: I32Value, slot: I32Value | number): I32Value =>
        f.i32.add(at(base, row, slots, slot), offset);
      f.if(f.i32.ne(from, held), () => {
        f.loop(0, slots, 1, (s) => void f.call(move, column(held, s), column(from, s), bytes));
      });
      const rows = f.i32.add(f.i32.mul(row, rowBytes), offset);
      const [u, y] = [f.i32.add(arg("u"), rows), f.i32.add(arg("y"), rows)];
      f.if(
        inside,
        () => {
          const slot = column(held, now);
          const first = f.i32.add(taps, offset);
          const oldest = column(held, start);
          const farthest = f.i32.add(first, f.i32.mul(f.i32.sub(now, start), rowBytes));
          walk(f, bytes, 2, (p) => {
            const parts = p.whole ? f.width : 1;
            const total = f.vecVariable(
              f.f32x4.madd(loadPlace(f, first, p), loadPlace(f, u, p), loadPlace(f, slot, p)),
              parts,
            );
            const value = f.variable("i32", oldest);
            const tap = f.variable("i32", farthest);
            f.loop(start, now, 1, () => {
              f.setVec(total, f.f32x4.madd(loadPlace(f, tap, p), loadPlace(f, value, p), total));
              f.advance(value, rowBytes);
              f.advance(tap, f.i32.sub(0, rowBytes));
            });
            storePlace(f, y, p, total);
          });
          f.call(move, slot, u, bytes);
          f.if(completes, () => {
            const oldestOfBlock = f.i32.sub(next, low);
            f.loop(0, low, 1, (i) => {
              const to = f.i32.add(at(arg("block"), row, low, i), offset);
              f.call(move, to, column(held, f.i32.add(oldestOfBlock, i)), bytes);
            });
          });
        },
        () => walk(f, bytes, 1, (p) => storePlace(f, y, p, splatAt(f, f.f32.constant(Number.NaN), p))),
      );
    });
  });
  module.define("settle", ENTRY, (f, args, begin, end) => {
    const { arg, slots, next, low, completes, at, units } = setup(f, args);
    f.if(completes, () => {
      const count = smaller(f, low, f.i32.sub(slots, next));
      units(begin, end, ({ row, offset, bytes }) => {
        f.loop(0, count, 1, (i) => {
          const to = f.i32.add(at(arg("held"), row, slots, f.i32.add(next, i)), offset);
          const from = f.i32.add(at(arg("share"), row, low, i), offset);
          walk(f, bytes, 2, (p) =>
            storePlace(f, to, p, f.f32x4.add(loadPlace(f, to, p), loadPlace(f, from, p))),
          );
        });
      });
    });
  });
}

/** A step that runs only when the clock completes a block of `size`; its words stand behind three of the guard. */
function guarded(step: WasmStep, size: number, slots: number): WasmStep {
  const entry = `${step.entry}WhenComplete`;
  return {
    ...step,
    kernel: {
      key: `online-conv/${step.kernel.key}`,
      build: (module) => {
        step.kernel.build(module);
        for (const inner of INNER_ENTRIES) {
          const found = module.find(inner);
          if (!found) continue;
          module.define(`${inner}WhenComplete`, ENTRY, (f, args, begin, end, scratch) => {
            const next = f.i32.add(f.mem.i32.load(f.mem.i32.load(args)), 1);
            const size = f.mem.i32.load(args, 4);
            const completes = f.i32.eq(f.i32.and(next, f.i32.sub(f.i32.shl(size, 1), 1)), size);
            f.if(f.i32.and(completes, f.i32.ltU(next, f.mem.i32.load(args, 8))), () => {
              f.call(found, f.i32.add(args, 12), begin, end, scratch);
            });
          });
        }
      },
    },
    entry,
    args: [{ input: CLOCK }, size, slots, ...step.args],
  };
}

/** Entries of the long convolution that its lowering names. */
const INNER_ENTRIES = ["filterSpectra", "convolve"];
const [TAPS, HELD, CLOCK] = [1, 2, 3];

const dense = (shape: readonly number[]): WasmView => ({
  dtype: "f32",
  shape,
  strides: shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1)),
  offset: 0,
});

/** The steps that convolve a block of `size` inputs to their share in the next outputs, with temporaries from `temps` on. */
function blockSteps(
  sizes: { readonly batch: number; readonly slots: number; readonly channels: number },
  size: number,
  temps: number,
  target: WasmTarget,
): { readonly steps: WasmStep[]; readonly temps: readonly number[] } | string {
  const { batch, slots, channels } = sizes;
  // Tap j + 1 acts at lag j - (size - 1) between a place in the block and one in the next.
  const taps = Math.min(2 * size, slots) - 1;
  const sequence = dense([batch, size, channels]);
  const lowered = fftConvWasm.lower(
    {
      inputs: [sequence, { ...dense([taps, channels]), offset: channels }],
      outputs: [sequence],
      params: { layout: "bld", circular: false, origin: size - 1, adjoint: false, inputs: ["u", "k"] },
    },
    target,
  );
  if (typeof lowered === "string") return lowered;
  const rename = (word: ArgWord): ArgWord => {
    if (typeof word === "number" || "f32" in word || "table" in word) return word;
    const { byteOffset = 0 } = word;
    if ("input" in word) return word.input === 0 ? { temp: 0, byteOffset } : { input: TAPS, byteOffset };
    return "output" in word ? { temp: 1, byteOffset } : { temp: temps + word.temp, byteOffset };
  };
  const steps = lowered.steps.map((s) => guarded({ ...s, args: s.args.map(rename) }, size, slots));
  return { steps, temps: lowered.temps ?? [] };
}

/** `(u, taps, held, clock) -> (y, held)`. */
export const onlineConvWasm: WasmSource<unknown> = {
  lower: ({ inputs }, target) => {
    const [u, , held, clock] = inputs;
    if (inputs.slice(0, 3).some((v) => v.dtype !== "f32") || clock!.dtype !== "i32")
      return "computes in f32, with an i32 clock";
    const [batch, channels] = u!.shape as [number, number];
    const slots = held!.shape[1]!;
    if (batch * channels * slots === 0) return "an empty axis";
    const temps: number[] = [0, 0];
    const inner: WasmStep[] = [];
    for (let size = ONLINE_BLOCK; size < slots; size *= 2) {
      const made = blockSteps({ batch, slots, channels }, size, temps.length, target);
      if (typeof made === "string") return made;
      inner.push(...made.steps);
      temps.push(...made.temps);
      temps.fill(4 * batch * size * channels, 0, 2);
    }
    const blocks = Math.ceil((4 * channels) / UNIT_BYTES);
    const words: Words = {
      u: { input: 0 },
      taps: { input: TAPS },
      from: { input: HELD },
      held: { output: 1 },
      y: { output: 0 },
      clock: { input: CLOCK },
      slots,
      rowBytes: 4 * channels,
      blocks,
      block: inner.length > 0 ? { temp: 0 } : 0,
      share: inner.length > 0 ? { temp: 1 } : 0,
    };
    const units = batch * blocks;
    const own = (entry: string): WasmStep => ({
      kernel: { key: `online-conv/${targetKey(target)}`, build },
      entry,
      args: argWords(ARGS, words),
      units,
      // Sharing between threads costs more than most positions.
      grain: Math.max(4, Math.ceil(units / 8)),
      scratchBytes: 0,
    });
    if (inner.length === 0) return { steps: [own("present")] };
    return { steps: [own("present"), ...inner, own("settle")], temps };
  },
};
