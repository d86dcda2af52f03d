// Between tensors and lanes: a group of channels becomes a sequence `[time][lanes]` of float32, and back. "Rows" have their time axis
// contiguous and are transposed; "columns" have their channels contiguous and are copied. Groups with fewer channels
// than lanes never touch memory outside the tensor; their spare lanes hold copies or zeros.

import type { FunctionBuilder, FunctionRef, I32, ModuleBuilder, Value, Vec } from "@everlong/wasm";

/** Groups of channels taken together: two cache lines, since every row of channels is on a page of its own where they are many. */
export const clusterOf = (width: number): number => 8 / width;

/** The moves of a module; `gather` and `scatter` take one group or several, whose sequences are `distance` bytes apart. */
export interface Staging {
  /** `(to, from, channelStride, timeStride, gate, gateChannelStride, gateTimeStride, channels, count, distance)`; gate 0 = none. */
  readonly gather: FunctionRef;
  /** `(from, to, channelStride, timeStride, gate, gateChannelStride, gateTimeStride, channels, count, distance)` */
  readonly scatter: FunctionRef;
  /** `(from, to)`: zeros. */
  readonly clear: FunctionRef;
  /** `(to, end, from, sign)`: to += sign * from; sign is a float32. */
  readonly addScaled: FunctionRef;
}

const PARAMS = ["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"] as const;

type Row4 = readonly [Vec, Vec, Vec, Vec];

function transpose4(f: FunctionBuilder, [a, b, c, d]: Row4): Row4 {
  const { shuffle } = f.v128;
  const [t0, t1] = [shuffle(a, b, [0, 4, 1, 5]), shuffle(a, b, [2, 6, 3, 7])];
  const [t2, t3] = [shuffle(c, d, [0, 4, 1, 5]), shuffle(c, d, [2, 6, 3, 7])];
  return [
    shuffle(t0, t2, [0, 1, 4, 5]),
    shuffle(t0, t2, [2, 3, 6, 7]),
    shuffle(t1, t3, [0, 1, 4, 5]),
    shuffle(t1, t3, [2, 3, 6, 7]),
  ];
}

/** Moves four neighbouring lanes, time contiguous: `(a, pitch, gate, gatePitch, last, count, lanes)`; see `defineRows`. */
function defineRows(module: ModuleBuilder, into: boolean, gated: boolean): FunctionRef {
  const step = 16 * module.target.width;
  const name = `${into ? "gather" : "scatter"}Rows${gated ? "Gated" : ""}`;
  // rows: tensor rows `pitch` apart, the row of lane i is min(i, last); lanes: the four lanes of the sequence
  return module.define(
    name,
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, rows, pitch, gate, gatePitch, last, count, lanes) => {
      const pointers = (base: Value<"i32">, by: Value<"i32">) =>
        [0, 1, 2, 3].map((i) => {
          const row = i === 0 ? f.i32.constant(0) : f.select(f.i32.ltU(i, last), i, last);
          return f.variable("i32", f.i32.add(base, f.i32.mul(row, by)));
        });
      const at = pointers(rows, pitch);
      const gates = gated ? pointers(gate, gatePitch) : [];
      const quads = f.i32.and(count, -4);
      f.loop(0, quads, 4, () => {
        const load = (p: readonly Value<"i32">[]): Row4 => p.map((q) => f.mem.vec.load(q, 0, 1)) as never;
        const times = (x: Row4, y: Row4): Row4 => x.map((v, i) => f.f32x4.mul(v, y[i]!)) as never;
        if (into) {
          const x = load(at);
          transpose4(f, gated ? times(x, load(gates)) : x).forEach((v, t) =>
            f.mem.vec.store(lanes, t * step, v),
          );
        } else {
          const x = [0, 1, 2, 3].map((t) => f.mem.vec.load(lanes, t * step, 1)) as unknown as Row4;
          const y = transpose4(f, x);
          (gated ? times(y, load(gates)) : y).forEach((v, i) => f.mem.vec.store(at[i]!, 0, v));
        }
        for (const p of [...at, ...gates]) f.advance(p, 16);
        f.advance(lanes, 4 * step);
      });
      f.loop(quads, count, 1, () => {
        at.forEach((p, i) => {
          const g = (): Value<"f32"> => f.mem.f32.load(gates[i]!);
          const x = into ? f.mem.f32.load(p) : f.mem.f32.load(lanes, 4 * i);
          const value = gated ? f.f32.mul(x, g()) : x;
          if (into) f.mem.f32.store(lanes, 4 * i, value);
          else f.mem.f32.store(p, 0, value);
        });
        for (const p of [...at, ...gates]) f.advance(p, 4);
        f.advance(lanes, step);
      });
    },
  );
}

/**
 * All eight lanes of a pair at once, eight time steps a round: `(rows, pitch, gate, gatePitch, rounds, lanes)`. Only the loads on one
 * side are packed from two addresses; shuffles, products and stores are pairs.
 */
function defineWideRows(module: ModuleBuilder, into: boolean, gated: boolean): FunctionRef {
  const name = `${into ? "gather" : "scatter"}WideRows${gated ? "Gated" : ""}`;
  return module.define(
    name,
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, rows, pitch, gate, gatePitch, rounds, lanes) => {
      const pointers = (base: Value<"i32">, by: Value<"i32">) =>
        Array.from({ length: 8 }, (_, i) => f.variable("i32", f.i32.add(base, f.i32.mul(by, i))));
      const at = pointers(rows, pitch);
      const gates = gated ? pointers(gate, gatePitch) : [];
      const both = (low: Vec, high: Vec): Vec => ({ parts: [low.parts[0]!, high.parts[0]!] });
      f.doWhile(() => {
        for (let half = 0; half < 2; half++) {
          if (into) {
            // four steps of rows i (low) and i + 4 (high)
            const load = (p: readonly Value<"i32">[], i: number): Vec =>
              both(f.mem.vec.load(p[i]!, 16 * half, 1), f.mem.vec.load(p[i + 4]!, 16 * half, 1));
            const x = [0, 1, 2, 3].map((i) => load(at, i)) as unknown as Row4;
            const y = gated ? (x.map((v, i) => f.f32x4.mul(v, load(gates, i))) as unknown as Row4) : x;
            transpose4(f, y).forEach((v, t) => f.mem.vec.store(lanes, 32 * (4 * half + t), v));
          } else {
            // rows 4 half .. 4 half + 3 of steps t (low) and t + 4 (high)
            const x = [0, 1, 2, 3].map((t) =>
              both(
                f.mem.vec.load(lanes, 32 * t + 16 * half, 1),
                f.mem.vec.load(lanes, 32 * (t + 4) + 16 * half, 1),
              ),
            ) as unknown as Row4;
            transpose4(f, x).forEach((v, i) => {
              const row = 4 * half + i;
              f.mem.vec.store(at[row]!, 0, gated ? f.f32x4.mul(v, f.mem.vec.load(gates[row]!)) : v);
            });
          }
        }
        for (const p of [...at, ...gates]) f.advance(p, 32);
        f.advance(lanes, 256);
        f.advance(rounds, -1);
        return rounds;
      });
    },
  );
}

/**
 * Moves `groups` neighbouring vectors of channels: `(columns, pitch, gate, gatePitch, count, lanes, distance)`; the sequences of the
 * groups are `distance` apart. Reading a whole cache line at a time halves the traffic of long sequences.
 */
function defineColumns(module: ModuleBuilder, into: boolean, gated: boolean, groups: number): FunctionRef {
  const step = 16 * module.target.width;
  const name = `${into ? "gather" : "scatter"}Columns${groups}${gated ? "Gated" : ""}`;
  return module.define(
    name,
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, columns, pitch, gate, gatePitch, count, lanes, distance) => {
      const at = Array.from({ length: groups }, (_, g) =>
        f.variable("i32", f.i32.add(lanes, f.i32.mul(distance, g))),
      );
      f.loop(0, count, 1, () => {
        at.forEach((sequence, g) => {
          const x = into ? f.mem.vec.load(columns, g * step) : f.mem.vec.load(sequence);
          const value = gated ? f.f32x4.mul(x, f.mem.vec.load(gate, g * step)) : x;
          if (into) f.mem.vec.store(sequence, 0, value);
          else f.mem.vec.store(columns, g * step, value);
        });
        f.advance(columns, pitch);
        if (gated) f.advance(gate, gatePitch);
        for (const sequence of at) f.advance(sequence, step);
      });
    },
  );
}

/** One lane after the other with any strides: for groups that lack lanes. */
function defineScalar(module: ModuleBuilder, into: boolean): FunctionRef {
  const step = 16 * module.target.width;
  return module.define(into ? "gatherScalar" : "scatterScalar", { params: [...PARAMS] }, (f, ...p) => {
    const [lanes, tensor, channel, time, gate, gateChannel, gateTime, present, count] = p;
    f.loop(0, into ? f.lanes : present, 1, (lane) => {
      const row = f.i32.muladd(lane, 4, lanes);
      const at = f.variable("i32", f.i32.add(tensor, f.i32.mul(lane, channel)));
      const to = f.variable("i32", row);
      const gateAt = f.variable("i32", f.i32.add(gate, f.i32.mul(lane, gateChannel)));
      const there = f.i32.ltU(lane, present);
      f.loop(0, count, 1, () => {
        f.if(
          there,
          () => {
            const value = f.variable("f32", f.mem.f32.load(into ? at : to));
            f.if(gate, () => f.set(value, f.f32.mul(value, f.mem.f32.load(gateAt))));
            f.mem.f32.store(into ? to : at, 0, value);
          },
          () => f.mem.f32.store(to, 0, 0),
        );
        f.advance(at, time);
        f.advance(gateAt, gateTime);
        f.advance(to, step);
      });
    });
  });
}

function defineMove(module: ModuleBuilder, into: boolean): FunctionRef {
  const scalar = defineScalar(module, into);
  const rows = [defineRows(module, into, false), defineRows(module, into, true)] as const;
  const wide =
    module.target.width === 2
      ? ([defineWideRows(module, into, false), defineWideRows(module, into, true)] as const)
      : undefined;
  interface Columns {
    readonly groups: number;
    readonly plain: FunctionRef;
    readonly gated: FunctionRef;
  }
  const columnsOf = (groups: number): Columns => ({
    groups,
    plain: defineColumns(module, into, false, groups),
    gated: defineColumns(module, into, true, groups),
  });
  const one = columnsOf(1);
  const several: Columns[] = [];
  for (let groups = clusterOf(module.target.width); groups > 1; groups /= 2) several.push(columnsOf(groups));
  const group = module.define(into ? "gatherGroup" : "scatterGroup", { params: [...PARAMS] }, (f, ...p) => {
    const [lanes, tensor, channel, time, gate, gateChannel, gateTime, present, count] = p;
    const isFull = f.i32.eq(present, f.lanes);
    const either = (one: () => void, other: () => void): void => f.if(gate, other, one);
    const asColumns = (pitch: I32, gatePitch: I32): void =>
      either(
        () => f.call(one.plain, tensor, pitch, 0, 0, count, lanes, 0),
        () => f.call(one.gated, tensor, pitch, gate, gatePitch, count, lanes, 0),
      );
    const asRows = (): void => {
      if (wide) {
        const rounds = f.i32.shrU(count, 3);
        f.if(f.i32.and(isFull, f.i32.ne(rounds, 0)), () => {
          either(
            () => f.call(wide[0], tensor, channel, 0, 0, rounds, lanes),
            () => f.call(wide[1], tensor, channel, gate, gateChannel, rounds, lanes),
          );
          f.advance(lanes, f.i32.shl(rounds, 8));
          f.advance(tensor, f.i32.shl(rounds, 5));
          f.if(gate, () => f.advance(gate, f.i32.shl(rounds, 5)));
          f.set(count, f.i32.and(count, 7));
        });
      }
      for (let half = 0; half < f.width; half++) {
        // a half without channels of its own reads those of the first
        const first = half === 0 ? f.i32.constant(0) : f.select(f.i32.gtU(present, 4), 4, 0, "i32");
        const last = f.i32.sub(f.i32.sub(present, first), 1);
        const from = f.i32.add(tensor, f.i32.mul(channel, first));
        const gateFrom = f.i32.add(gate, f.i32.mul(gateChannel, first));
        const lanesAt = f.i32.add(lanes, 16 * half);
        either(
          () => f.call(rows[0], from, channel, 0, 0, last, count, lanesAt),
          () => f.call(rows[1], from, channel, gateFrom, gateChannel, last, count, lanesAt),
        );
      }
    };
    const noGate = f.i32.eqz(gate);
    const columnsFit = f.i32.and(f.i32.eq(channel, 4), f.i32.or(noGate, f.i32.eq(gateChannel, 4)));
    f.if(f.i32.and(isFull, columnsFit), () => {
      asColumns(time, gateTime);
      f.return();
    });
    const rowsFit = f.i32.and(f.i32.eq(time, 4), f.i32.or(noGate, f.i32.eq(gateTime, 4)));
    // reading a row twice is harmless, writing one twice is not
    f.if(into ? rowsFit : f.i32.and(rowsFit, isFull), () => {
      asRows();
      f.return();
    });
    f.call(scalar, lanes, tensor, channel, time, gate, gateChannel, gateTime, present, count);
  });
  return module.define(into ? "gather" : "scatter", { params: [...PARAMS, "i32"] }, (f, ...p) => {
    const [lanes, tensor, channel, time, gate, gateChannel, gateTime, present, count, distance] = p;
    const noGate = f.i32.eqz(gate);
    const columnsFit = f.i32.and(f.i32.eq(channel, 4), f.i32.or(noGate, f.i32.eq(gateChannel, 4)));
    f.if(columnsFit, () => {
      for (const { groups, plain, gated } of several) {
        const wide = groups * f.lanes;
        f.if(f.i32.geU(present, wide), () => {
          f.if(
            gate,
            () => {
              f.call(gated, tensor, time, gate, gateTime, count, lanes, distance);
              f.advance(gate, 4 * wide);
            },
            () => f.call(plain, tensor, time, 0, 0, count, lanes, distance),
          );
          f.advance(tensor, 4 * wide);
          f.advance(lanes, f.i32.mul(distance, groups));
          f.advance(present, -wide);
        });
      }
    });
    f.loop(0, present, f.lanes, (first) => {
      const left = f.i32.sub(present, first);
      const here = f.select(f.i32.ltU(left, f.lanes), left, f.lanes);
      const gateAt = f.select(gate, f.i32.add(gate, f.i32.mul(first, gateChannel)), 0);
      const from = f.i32.add(tensor, f.i32.mul(first, channel));
      f.call(group, lanes, from, channel, time, gateAt, gateChannel, gateTime, here, count);
      f.advance(lanes, distance);
    });
  });
}

/** Defines the moves between tensors and lanes. */
export function defineStaging(module: ModuleBuilder): Staging {
  const clear = module.define("clear", { params: ["i32", "i32"] }, (f, from, to) => {
    const step = 4 * f.lanes;
    f.loop(from, to, step, (at) => f.mem.vec.store(at, 0, 0));
  });
  const addScaled = module.define(
    "addScaled",
    { params: ["i32", "i32", "i32", "f32"] },
    (f, to, end, from, sign) => {
      const step = 4 * f.lanes;
      const factor = f.f32x4.splat(sign);
      f.loop(to, end, step, (at) => {
        f.mem.vec.store(at, 0, f.f32x4.madd(f.mem.vec.load(from), factor, f.mem.vec.load(at)));
        f.advance(from, step);
      });
    },
  );
  return { gather: defineMove(module, true), scatter: defineMove(module, false), clear, addScaled };
}
