import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ones, tensor, withDevice, type Tensor } from "@everlong/core";
import { Random, checkOp, relativeError, valuesOf } from "@everlong/testing";
import { smoothLength } from "./decompose.ts";
import {
  fftConv,
  fftConvFilterGradOp,
  fftConvOp,
  type FftConvGradInput,
  type FftConvInput,
  type FftConvParams,
} from "./op.ts";

const uk: readonly FftConvInput[] = ["u", "k"];
const all: readonly FftConvInput[] = ["u", "k", "skip", "preGate", "postGate"];
const causal = { layout: "bdl" as const, circular: false, origin: 0, adjoint: false };
const bld = { ...causal, layout: "bld" as const };
const tolerance = { f32: { value: 2e-6, gradient: 6e-6 } };

checkOp(fftConvOp, {
  cases: [
    {
      inputs: [
        [2, 3, 5],
        [3, 5],
      ],
      params: { ...causal, inputs: uk },
    },
    { inputs: [[2, 3, 7], [3, 4], [3], [2, 3, 7], [2, 3, 7]], params: { ...causal, inputs: all } },
    { inputs: [[2, 7, 3], [4, 3], [3], [2, 7, 3], [2, 7, 3]], params: { ...bld, inputs: all } },
    {
      inputs: [
        [1, 2, 9],
        [2, 6],
        [1, 2, 9],
      ],
      params: { ...causal, adjoint: true, inputs: ["u", "k", "preGate"] },
    },
    {
      inputs: [
        [1, 2, 6],
        [2, 11],
        [1, 2, 6],
      ],
      params: { ...causal, origin: 5, inputs: ["u", "k", "postGate"] },
    },
    {
      inputs: [
        [2, 6, 2],
        [8, 2],
      ],
      params: { ...bld, origin: 3, adjoint: true, inputs: uk },
    },
    {
      inputs: [
        [2, 2, 6],
        [2, 6],
      ],
      params: { ...causal, circular: true, inputs: uk },
    },
    {
      inputs: [
        [2, 5, 2],
        [3, 2],
        [2, 5, 2],
      ],
      params: { ...bld, circular: true, adjoint: true, inputs: ["u", "k", "postGate"] },
    },
    {
      inputs: [
        [1, 3, 1],
        [3, 1],
      ],
      params: { ...causal, inputs: uk },
    },
  ],
  arbitrary: fc
    .record({
      batch: fc.integer({ min: 1, max: 3 }),
      channels: fc.integer({ min: 1, max: 10 }),
      length: fc.integer({ min: 1, max: 70 }),
      back: fc.nat({ max: 69 }),
      ahead: fc.nat({ max: 69 }),
      layout: fc.constantFrom("bdl" as const, "bld" as const),
      circular: fc.boolean(),
      adjoint: fc.boolean(),
    })
    .map(({ batch, channels, length, back, ahead, layout, circular, adjoint }) => {
      const origin = circular ? 0 : back % length;
      const taps = origin + 1 + (ahead % length);
      const order = (t: number): number[] => (layout === "bdl" ? [channels, t] : [t, channels]);
      const params: FftConvParams = { layout, circular, origin, adjoint, inputs: uk };
      return { inputs: [[batch, ...order(length)], order(taps)], params };
    }),
  runs: 10,
  secondOrder: true,
  tolerance,
});

const grad: readonly FftConvGradInput[] = ["u", "dy", "preGate", "postGate"];
checkOp(fftConvFilterGradOp, {
  cases: [
    {
      inputs: [
        [2, 3, 5],
        [2, 3, 5],
      ],
      params: { layout: "bdl", circular: false, origin: 0, taps: 5, inputs: ["u", "dy"] },
    },
    {
      inputs: [
        [2, 6, 3],
        [2, 6, 3],
        [2, 6, 3],
        [2, 6, 3],
      ],
      params: { layout: "bld", circular: false, origin: 2, taps: 7, inputs: grad },
    },
    {
      inputs: [
        [2, 3, 6],
        [2, 3, 6],
      ],
      params: { layout: "bdl", circular: true, origin: 0, taps: 4, inputs: ["u", "dy"] },
    },
  ],
  secondOrder: true,
  tolerance,
});

/** The definition by shifts, written apart from the op. */
function direct(u: Float64Array, taps: ReadonlyMap<number, number>, circular = false): number[] {
  return Array.from(u, (_, t) => {
    let y = 0;
    for (const [lag, weight] of taps) {
      const s = t - lag;
      y += weight * (circular ? u[((s % u.length) + u.length) % u.length]! : (u[s] ?? 0));
    }
    return y;
  });
}

describe("lags", () => {
  const random = new Random();
  const u = random.normals(6);
  const [k, back] = [random.normals(9), random.normals(8)];
  const at = (x: Float64Array): Tensor => tensor(x, [1, x.length]);
  const row = (x: Float64Array): Tensor => tensor(x, [1, 1, x.length]);
  const agrees = async (y: Tensor, want: number[]): Promise<void> => {
    expect(relativeError(await valuesOf(y), want)).toBeLessThan(1e-13);
  };
  const forward = [...k].map((w, j): [number, number] => [j, w]);

  test("causal: taps beyond the input have no effect", () =>
    withDevice("reference", () => agrees(fftConv(row(u), at(k)), direct(u, new Map(forward)))));
  test("circular: taps beyond the input wrap around", () =>
    withDevice("reference", () =>
      agrees(fftConv(row(u), at(k), { mode: "circular" }), direct(u, new Map(forward), true)),
    ));
  test("two-sided, backward tap 0 at lag -1", () =>
    withDevice("reference", () => {
      const taps = new Map([...forward, ...[...back].map((w, j): [number, number] => [-1 - j, w])]);
      const y = fftConv(row(u), at(k), { mode: "two-sided", backward: at(back), firstBackwardLag: -1 });
      return agrees(y, direct(u, taps));
    }));
  test("two-sided, backward tap 0 at lag 0: it adds to the forward one", () =>
    withDevice("reference", () => {
      const taps = new Map(forward);
      back.forEach((w, j) => taps.set(-j, (taps.get(-j) ?? 0) + w));
      const y = fftConv(row(u), at(k), { mode: "two-sided", backward: at(back), firstBackwardLag: 0 });
      return agrees(y, direct(u, taps));
    }));
  test("two-sided in the other layout with short filters", () =>
    withDevice("reference", () => {
      const taps = new Map([
        [0, k[0]!],
        [1, k[1]!],
        [-1, back[0]!],
      ]);
      const column = (x: Float64Array): Tensor => tensor(x, [x.length, 1]);
      const y = fftConv(tensor(u, [1, 6, 1]), column(k.slice(0, 2)), {
        layout: "bld",
        mode: "two-sided",
        backward: column(back.slice(0, 1)),
        firstBackwardLag: -1,
      });
      return agrees(y, direct(u, taps));
    }));

  test("half precision is stored only: one rounding of the f32 result", () =>
    withDevice("reference", async () => {
      const y = fftConv(row(u).cast("bf16"), at(k), { preGate: row(u).cast("bf16") });
      expect(y.dtype).toBe("bf16");
    }));

  test("what does not fit is refused", () =>
    withDevice("reference", () => {
      expect(() => fftConv(row(u), at(k), { mode: "two-sided", backward: at(back) })).toThrow(
        /needs `backward` and `firstBackwardLag`/,
      );
      expect(() => fftConv(row(u), at(k), { backward: at(back) })).toThrow(/needs the two-sided mode/);
      expect(() => fftConv(row(u), ones([2, 6]))).toThrow(/u and k differ in channels/);
      expect(() => fftConv(row(u), at(k), { skip: ones([2]) })).toThrow(/skip has the wrong shape/);
      expect(() => fftConv(row(u), at(k), { modus: "causal" } as never)).toThrow(/unknown option "modus"/);
      expect(() => fftConv(ones([2, 3]), at(k))).toThrow(/wrong ranks/);
    }));
});

test("transform lengths are the next without large prime factors", () => {
  const bySearch = (n: number): number => {
    for (let m = n; ; m++) {
      let rest = m;
      for (const p of [2, 3, 5]) while (rest % p === 0) rest /= p;
      if (rest === 1) return m;
    }
  };
  for (let n = 1; n < 400; n++) expect(smoothLength(n)).toBe(bySearch(n));
});
