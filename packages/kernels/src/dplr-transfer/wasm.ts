// Transfer functions on the CPU, in float64 throughout. Lanes are points; one division serves both modes of a pair and all products.

import type { ModuleBuilder } from "@everlong/wasm";
import type { ResolventParams } from "../resolvent/points.ts";
import { argReader, argWords, smaller, targetKey, type I32Value } from "../wasm-emit.ts";
import type { WasmSource } from "../wasm-step.ts";
import { complexOps } from "./wasm-complex.ts";
import {
  BLOCK,
  DOUBLES,
  POINT_BYTES,
  TRANSFER_ARGS,
  corrections,
  parts,
  pointAt,
  pointTable,
  productsOf,
  readSystem,
  responses,
  storeCoefficients,
} from "./wasm-parts.ts";

/** Results of a block, before the coefficients. */
const RESULT_BYTES = 2 * BLOCK * DOUBLES;

const build =
  (rank: number) =>
  (module: ModuleBuilder): void => {
    const products = productsOf(rank, true);
    const one = module.define(
      "one",
      { params: ["i32", "i32", "i32", "i32", "i32"] },
      (f, args, system, set, read, scratch) => {
        const arg = argReader(f, args, TRANSFER_ARGS);
        const z = complexOps(f);
        const coefficients = f.i32.add(scratch, RESULT_BYTES);
        storeCoefficients(f, arg, products, { system, set, read, to: coefficients });
        const points = arg("points");
        const row = f.i32.add(
          f.i32.mul(f.i32.add(f.i32.mul(set, arg("reads")), read), arg("systems")),
          system,
        );
        const at = f.variable("i32", arg("table"));
        f.loop(0, points, BLOCK, (p) => {
          for (const part of parts(f)) {
            const point = pointAt(f, at, part);
            const response = responses(f, point, products, coefficients, arg("modes"));
            const solved = corrections(f, point.plus, products, response).drive();
            let k = response(0, 0);
            solved.forEach((s, r) => {
              k = z.nmadd(z.mul(point.plus, s), response(1 + r, 0), k);
            });
            f.mem.vec.store(scratch, part, k.re);
            f.mem.vec.store(scratch, BLOCK * DOUBLES + part, k.im);
          }
          const first = f.i32.add(f.i32.mul(row, points), p);
          f.loop(0, smaller(f, f.i32.sub(points, p), BLOCK), 1, (i) => {
            const from = f.i32.muladd(i, DOUBLES, scratch);
            const to = f.i32.shl(f.i32.add(first, i), 2);
            (["outRe", "outIm"] as const).forEach((name, k) => {
              const value = f.mem.f64.load(from, k * BLOCK * DOUBLES);
              f.mem.f32.store(f.i32.add(arg(name), to), 0, f.f32.demoteF64(value));
            });
          });
          f.advance(at, POINT_BYTES);
        });
      },
    );
    module.define(
      "transfer",
      { params: ["i32", "i32", "i32", "i32"], exported: true },
      (f, args, begin, end, scratch) => {
        const arg = argReader(f, args, TRANSFER_ARGS);
        f.loop(begin, end, 1, (system) => {
          f.loop(0, arg("sets"), 1, (set: I32Value) => {
            f.loop(0, arg("reads"), 1, (read: I32Value) => {
              f.call(one, args, system, set, read, scratch);
            });
          });
        });
      },
    );
  };

/** `(b, c, p, a as re and im, dt) -> (k re, k im)`. */
export const transferWasm: WasmSource<ResolventParams> = {
  lower: ({ inputs, outputs, params }, target) => {
    const call = readSystem(inputs, 0, outputs[0]!.shape);
    if (typeof call === "string") return call;
    const { rank, systems, modes, words } = call;
    return {
      steps: [
        {
          kernel: { key: `dplr-transfer/${rank}/${targetKey(target)}`, build: build(rank) },
          entry: "transfer",
          args: argWords(TRANSFER_ARGS, { ...words, outRe: { output: 0 }, outIm: { output: 1 } }),
          units: systems,
          grain: 1,
          scratchBytes: RESULT_BYTES + modes * productsOf(rank, true).bytes,
          tables: [pointTable(params.nodes)],
        },
      ],
    };
  },
};
