// The inner parts of the matrix product: packing of panels, and the register tile that multiplies two of them.

import type { FunctionRef, ModuleBuilder, Target, Vec } from "@everlong/wasm";

/** Size of the register tile. */
export interface Tile {
  readonly rows: number;
  readonly columns: number;
}

/** 12 accumulators, 2 vectors of B and 1 of A: what 16 vector registers hold. */
export const tileOf = (target: Target): Tile => ({ rows: 6, columns: 8 * target.width });

/**
 * `pack<lanes>(source, laneStride, stepStride, lanes, steps, panel)`: writes a panel `[steps][panelLanes]` of float32, with zeros
 * in the lanes that the source lacks. Strides in bytes.
 */
export function definePack(module: ModuleBuilder, panelLanes: number): FunctionRef {
  return module.define(
    `pack${panelLanes}`,
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, source, laneStride, stepStride, lanes, steps, panel) => {
      const pitch = 4 * panelLanes;
      const full = f.i32.eq(lanes, panelLanes);

      f.if(f.i32.and(full, f.i32.eq(laneStride, 4)), () => {
        f.loop(0, steps, 1, () => {
          let lane = 0;
          for (; lane + f.lanes <= panelLanes; lane += f.lanes)
            f.mem.vec.store(panel, 4 * lane, f.mem.vec.load(source, 4 * lane));
          for (; lane + 4 <= panelLanes; lane += 4)
            f.mem.vec.store(panel, 4 * lane, f.mem.vec.load(source, 4 * lane, 1));
          for (; lane < panelLanes; lane++)
            f.mem.f32.store(panel, 4 * lane, f.mem.f32.load(source, 4 * lane));
          f.advance(source, stepStride);
          f.advance(panel, pitch);
        });
        f.return();
      });

      f.if(f.i32.and(full, f.i32.eq(stepStride, 4)), () => {
        const blocks = f.i32.shrU(steps, 2);
        for (let lane = 0; lane < panelLanes; lane += 4) {
          const count = Math.min(4, panelLanes - lane);
          const rows = Array.from({ length: count }, (_, i) =>
            f.variable("i32", f.i32.muladd(laneStride, lane + i, source)),
          );
          const to = f.variable("i32", f.i32.add(panel, 4 * lane));
          f.loop(0, blocks, 1, () => {
            const loaded = rows.map((row) => f.mem.vec.load(row, 0, 1));
            if (count === 4) {
              const [a, b, c, d] = loaded as [Vec, Vec, Vec, Vec];
              const [t0, t1] = [f.v128.shuffle(a, b, [0, 4, 1, 5]), f.v128.shuffle(a, b, [2, 6, 3, 7])];
              const [t2, t3] = [f.v128.shuffle(c, d, [0, 4, 1, 5]), f.v128.shuffle(c, d, [2, 6, 3, 7])];
              f.mem.vec.store(to, 0, f.v128.shuffle(t0, t2, [0, 1, 4, 5]));
              f.mem.vec.store(to, pitch, f.v128.shuffle(t0, t2, [2, 3, 6, 7]));
              f.mem.vec.store(to, 2 * pitch, f.v128.shuffle(t1, t3, [0, 1, 4, 5]));
              f.mem.vec.store(to, 3 * pitch, f.v128.shuffle(t1, t3, [2, 3, 6, 7]));
            } else {
              const [a, b] = loaded as [Vec, Vec];
              const [low, high] = [f.v128.shuffle(a, b, [0, 4, 1, 5]), f.v128.shuffle(a, b, [2, 6, 3, 7])];
              f.mem.vec.store64Lane(to, 0, low, 0);
              f.mem.vec.store64Lane(to, pitch, low, 1);
              f.mem.vec.store64Lane(to, 2 * pitch, high, 0);
              f.mem.vec.store64Lane(to, 3 * pitch, high, 1);
            }
            for (const row of rows) f.advance(row, 16);
            f.advance(to, 4 * pitch);
          });
        }
        const done = f.i32.and(steps, -4);
        f.advance(source, f.i32.shl(done, 2));
        f.advance(panel, f.i32.mul(done, pitch));
        f.set(steps, f.i32.and(steps, 3));
      });

      f.loop(0, steps, 1, () => {
        const from = f.variable("i32", source);
        f.loop(0, panelLanes, 1, (lane) => {
          const to = f.i32.muladd(lane, 4, panel);
          f.if(
            f.i32.ltU(lane, lanes),
            () => f.mem.f32.store(to, 0, f.mem.f32.load(from)),
            () => f.mem.f32.store(to, 0, 0),
          );
          f.advance(from, laneStride);
        });
        f.advance(source, stepStride);
        f.advance(panel, pitch);
      });
    },
  );
}

/**
 * `tile(a, b, c, pitch, steps, accumulate)`: c (+)= a b for packed panels a `[steps][rows]` and b `[steps][columns]`; rows of c are
 * `pitch` bytes apart.
 */
export function defineTile(module: ModuleBuilder, tile: Tile): FunctionRef {
  const { rows, columns } = tile;
  return module.define(
    "tile",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, a, b, c, pitch, steps, accumulate) => {
      const vectors = columns / f.lanes;
      const bytes = 4 * f.lanes;
      const sums = Array.from({ length: rows }, () =>
        Array.from({ length: vectors }, () => f.vecVariable(0)),
      );
      const step = (u: number): void => {
        const right = Array.from({ length: vectors }, (_, j) =>
          f.mem.vec.load(b, u * 4 * columns + j * bytes),
        );
        sums.forEach((row, r) => {
          const left = f.mem.vec.load32Splat(a, u * 4 * rows + 4 * r);
          row.forEach((sum, j) => f.setVec(sum, f.f32x4.madd(left, right[j]!, sum)));
        });
      };
      const unroll = 4;
      const bulk = f.i32.and(steps, -unroll);
      f.if(bulk, () => {
        const end = f.i32.add(b, f.i32.mul(bulk, 4 * columns));
        const moves = [
          [a, unroll * 4 * rows],
          [b, unroll * 4 * columns],
        ] as const;
        f.sweep(b, end, moves, () => {
          for (let u = 0; u < unroll; u++) step(u);
        });
      });
      f.loop(bulk, steps, 1, () => {
        step(0);
        f.advance(a, 4 * rows);
        f.advance(b, 4 * columns);
      });
      const write = (add: boolean): void => {
        const at = f.variable("i32", c);
        sums.forEach((row) => {
          const values = row.map((sum, j) => (add ? f.f32x4.add(f.mem.vec.load(at, j * bytes), sum) : sum));
          values.forEach((v, j) => f.mem.vec.store(at, j * bytes, v));
          f.advance(at, pitch);
        });
      };
      f.if(
        accumulate,
        () => write(true),
        () => write(false),
      );
    },
  );
}

/** `corner(tile, c, pitch, rows, columns, accumulate)`: the valid part of a whole tile goes to c. */
export function defineCorner(module: ModuleBuilder, tile: Tile): FunctionRef {
  return module.define(
    "corner",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, from, c, pitch, rows, columns, accumulate) => {
      f.loop(0, rows, 1, () => {
        f.loop(0, f.i32.shl(columns, 2), 4, (j) => {
          const to = f.i32.add(c, j);
          const value = f.mem.f32.load(f.i32.add(from, j));
          f.if(
            accumulate,
            () => f.mem.f32.store(to, 0, f.f32.add(f.mem.f32.load(to), value)),
            () => f.mem.f32.store(to, 0, value),
          );
        });
        f.advance(from, 4 * tile.columns);
        f.advance(c, pitch);
      });
    },
  );
}
