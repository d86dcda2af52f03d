import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  cast,
  device,
  gradients,
  mul,
  ones,
  sum,
  tensor,
  withDevice,
  type Device,
  type DType,
  type Tensor,
} from "@everlong/core";
import {
  Random,
  checkCase,
  checkOp,
  devicesUnderTest,
  relativeError,
  strictly,
  valuesOf,
  type OpCase,
} from "@everlong/testing";
import { fftConvCachedOp, fftConvSpectrumOp, type FftConvCachedInput } from "./cached-op.ts";
import { smoothLength } from "./decompose.ts";
import { fftConv, fftConvFilter } from "./fft-conv.ts";
import {
  fftConvBackwardOp,
  fftConvFilterGradOp,
  fftConvOp,
  type FftConvBackwardInput,
  type FftConvGradInput,
  type FftConvInput,
  type FftConvParams,
} from "./op.ts";
import { spectrumShape } from "./plain-spectrum.ts";

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

const both: readonly FftConvBackwardInput[] = ["u", "k", "dy"];
const everything: readonly FftConvBackwardInput[] = ["u", "k", "skip", "preGate", "postGate", "dy"];
checkOp(fftConvBackwardOp, {
  cases: [
    {
      inputs: [
        [2, 3, 5],
        [3, 5],
        [2, 3, 5],
      ],
      params: { ...causal, inputs: both, wanted: ["u", "k"] },
    },
    {
      inputs: [[2, 3, 7], [3, 9], [3], [2, 3, 7], [2, 3, 7], [2, 3, 7]],
      params: {
        ...causal,
        origin: 3,
        adjoint: true,
        inputs: everything,
        wanted: ["u", "k", "preGate", "postGate"],
      },
    },
    {
      inputs: [
        [2, 6, 2],
        [4, 2],
        [2, 6, 2],
        [2, 6, 2],
      ],
      params: { ...bld, circular: true, inputs: ["u", "k", "preGate", "dy"], wanted: ["k", "preGate"] },
    },
  ],
  tolerance,
});

interface KeptParams extends Omit<FftConvParams, "inputs"> {
  readonly length: number;
  readonly taps: number;
  readonly inputs: readonly FftConvInput[];
}

/** Both ops on kept filters at once: what lies between them is the device's own. */
const kept = {
  name: "fft-conv-spectrum, fft-conv-cached",
  apply: (inputs: readonly Tensor[], params: KeptParams): Tensor => {
    const at = (name: FftConvInput): Tensor | undefined => inputs[params.inputs.indexOf(name)];
    const skip = at("skip");
    const [spectrum] = fftConvSpectrumOp(skip ? [at("k")!, skip] : [at("k")!], {
      ...params,
      inputs: skip ? ["k", "skip"] : ["k"],
    });
    const gates = (["preGate", "postGate"] as const).filter((name) => at(name));
    return fftConvCachedOp([at("u")!, spectrum!, ...gates.map((name) => at(name)!)], {
      ...params,
      inputs: ["u", "spectrum", ...gates],
    })[0]!;
  },
};
const keptCases: OpCase<KeptParams>[] = [
  {
    inputs: [
      [2, 3, 5],
      [3, 5],
    ],
    params: { ...causal, length: 5, taps: 5, inputs: uk },
  },
  {
    inputs: [[2, 3, 17], [3, 4], [3], [2, 3, 17], [2, 3, 17]],
    params: { ...causal, length: 17, taps: 4, inputs: all },
  },
  {
    inputs: [[2, 7, 9], [11, 9], [9], [2, 7, 9], [2, 7, 9]],
    params: { ...bld, origin: 5, adjoint: true, length: 7, taps: 11, inputs: all },
  },
  {
    inputs: [
      [1, 2, 6],
      [2, 6],
      [1, 2, 6],
    ],
    params: { ...causal, circular: true, length: 6, taps: 6, inputs: ["u", "k", "postGate"] },
  },
];
checkOp(kept, { cases: keptCases, secondOrder: true, tolerance });

describe.skipIf(process.env["EVERLONG_CHECKS"] === "devices")("kept filters in plain form", () => {
  const inputs: readonly FftConvCachedInput[] = ["u", "spectrum", "preGate", "postGate"];
  test("the spectrum op", async () => {
    for (const layout of ["bdl", "bld"] as const)
      await checkCase(
        fftConvSpectrumOp,
        {
          inputs: [layout === "bdl" ? [3, 7] : [7, 3], [3]],
          params: { layout, circular: false, origin: 2, length: 9, inputs: ["k", "skip"] },
        },
        { secondOrder: true },
      );
  });
  test("the convolution", async () => {
    for (const layout of ["bdl", "bld"] as const) {
      const sequence = layout === "bdl" ? [2, 3, 9] : [2, 9, 3];
      await checkCase(
        fftConvCachedOp,
        {
          inputs: [sequence, spectrumShape(3, 9), sequence, sequence],
          params: { layout, circular: false, origin: 2, taps: 7, adjoint: layout === "bld", inputs },
        },
        { secondOrder: true },
      );
    }
  });
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

  test("a kept filter does what the filter does, in every mode", () =>
    withDevice("reference", async () => {
      for (const options of [
        {},
        { mode: "circular" },
        { mode: "two-sided", backward: at(back), firstBackwardLag: -1 },
        { mode: "two-sided", backward: at(back), firstBackwardLag: 0, skip: ones([1]) },
      ] as const) {
        const gates = { preGate: row(back.slice(0, 6)), postGate: row(u) };
        const filter = fftConvFilter(at(k), 6, options);
        const got = await valuesOf(fftConv(row(u), filter, gates));
        const want = await valuesOf(fftConv(row(u), at(k), { ...options, ...gates }));
        expect(relativeError(got, want)).toBeLessThan(1e-13);
      }
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
      for (const filter of [at(k), at(k).cast("f32"), fftConvFilter(at(k), 6)] as Tensor[])
        for (const dtype of ["i32", "bool"] as const)
          expect(() => fftConv(row(u).cast(dtype), filter)).toThrow(
            `u has the wrong dtype: expected f16, bf16, f32 or f64, got ${dtype}`,
          );
      for (const [got, filter] of [
        ["undefined", undefined],
        ["null", null],
        ["number", 3],
        ["array", [[1]]],
        ["object", {}],
      ])
        expect(() => fftConv(row(u), filter as never)).toThrow(
          `k is no filter: expected a tensor, or what fftConvFilter gives, got ${got as string}`,
        );
      expect(() => fftConv(undefined as never, at(k))).toThrow(/u is no tensor: .*got undefined/);
      expect(() => fftConvFilter(undefined as never, 6)).toThrow(/k is no tensor: .*got undefined/);
      expect(() => fftConv(row(u), ones([2, 6]))).toThrow(/u and k differ in channels/);
      expect(() => fftConv(row(u), at(k), { skip: ones([2]) })).toThrow(/skip has the wrong shape/);
      expect(() => fftConv(row(u), at(k), { modus: "causal" } as never)).toThrow(/unknown option "modus"/);
      expect(() => fftConv(ones([2, 3]), at(k))).toThrow(/wrong ranks/);
      const filter = fftConvFilter(at(k), 6);
      expect(() => fftConv(ones([1, 1, 7]), filter)).toThrow(/made for other sequences/);
      expect(() => fftConv(row(u), filter, { skip: ones([1]) } as never)).toThrow(/unknown option "skip"/);
      expect(() => fftConvFilter(at(k), 0)).toThrow(/bad length/);
      expect(() => fftConvFilter(at(k), 6, { preGate: row(u) } as never)).toThrow(/unknown option "preGate"/);
    }));
});

describe("half precision as it is stored", () => {
  const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const cases = [
    { shape: [3, 2, 70], taps: 40, mode: "causal", gated: true },
    { shape: [3, 2, 64], taps: 64, mode: "circular", gated: false },
    { shape: [2, 33, 3], taps: 30, mode: "two-sided", gated: true },
    { shape: [1, 2, 1101], taps: 500, mode: "causal", gated: false },
    { shape: [19, 2, 129], taps: 129, mode: "circular", gated: false },
    { shape: [3, 1, 2048], taps: 100, mode: "circular", gated: true },
  ] as const;

  async function results(
    on: Device,
    dtype: DType,
    given: readonly (ArrayLike<number> | undefined)[],
    { shape, taps, mode, gated }: (typeof cases)[number],
    kept = false,
  ): Promise<Float64Array[]> {
    const layout = shape[1] === 33 ? "bld" : "bdl";
    const wide = dtype === "f64" ? "f64" : "f32";
    const put = (i: number, to: DType, size: readonly number[]): Tensor =>
      tensor(Float64Array.from(given[i]!), [...size], { dtype: to, device: on });
    const filters = layout === "bdl" ? [shape[1], taps] : [taps, shape[2]];
    const [u, weights] = [put(0, dtype, shape), put(1, dtype, shape)];
    const [k, backward, skip] = [
      put(2, wide, filters),
      put(3, wide, filters),
      put(4, wide, [layout === "bdl" ? shape[1] : shape[2]]),
    ];
    const gates = gated ? { preGate: put(5, dtype, shape), postGate: put(6, dtype, shape) } : {};
    const options = {
      mode,
      layout,
      skip,
      ...(mode === "two-sided" ? { backward, firstBackwardLag: -1 as const } : {}),
    } as const;
    const length = layout === "bdl" ? shape[2] : shape[1];
    const y = kept
      ? fftConv(u, fftConvFilter(k, length, { ...options, dtype }), gates)
      : fftConv(u, k, { ...options, ...gates });
    expect(y.dtype).toBe(dtype);
    const multipliers = Object.values(gates);
    const found = gradients(sum(mul(cast(y, wide), cast(weights, wide))), [u, k, skip, ...multipliers]);
    expect(found.map((g) => g.dtype)).toEqual([dtype, wide, wide, ...multipliers.map(() => dtype)]);
    return Promise.all([y, ...found].map(valuesOf));
  }

  for (const { name, present } of devicesUnderTest()) {
    for (const [dtype, limit] of [
      ["f16", 2e-3],
      ["bf16", 6e-3],
    ] as const) {
      test.skipIf(!present)(`${name} ${dtype}: values and gradients, filters kept or not`, async () => {
        const random = new Random();
        for (const c of cases) {
          const count = c.shape[0] * c.shape[1] * c.shape[2];
          const rounded = (): Promise<Float64Array> =>
            valuesOf(tensor(random.normals(count), [count], { dtype, device: device("reference") }));
          const single = (n: number): Float64Array => Float64Array.from(random.normals(n), Math.fround);
          const given = [await rounded(), await rounded()] as Float64Array[];
          given.push(single(c.taps * 3), single(c.taps * 3), single(3), await rounded(), await rounded());
          const filters = c.taps * (c.shape[1] === 33 ? c.shape[2] : c.shape[1]);
          given[2] = given[2]!.slice(0, filters);
          given[3] = given[3]!.slice(0, filters);
          given[4] = given[4]!.slice(0, filters / c.taps);
          const want = await results(device("reference"), "f64", given, c);
          for (const kept of [false, true]) {
            const got = await strictly(device(name), true, () =>
              results(device(name), dtype, given, c, kept),
            );
            got.forEach((g, i) => {
              // A kept skip lies in the filter's spectrum: its gradient is as near as a lag's, however small its sum comes out.
              const lag = kept && i === 3 ? Math.sqrt(dot(want[2]!, want[2]!) / c.taps) : 0;
              const size = Math.max(Math.sqrt(dot(want[i]!, want[i]!)), lag);
              const off = g.map((x, at) => x - want[i]![at]!);
              expect(Math.sqrt(dot(off, off)) / size, `${c.mode} ${show(c.shape)} result ${i}`).toBeLessThan(
                limit,
              );
            });
          }
        }
      });

      test.skipIf(!present)(`${name} ${dtype}: a constant row stays in range`, async () => {
        const length = 4096;
        const on = device(name);
        const u = tensor(new Float64Array(length).fill(30_000), [1, 1, length], { dtype, device: on });
        const k = tensor([0.5, -0.25, 0.125], [1, 3], { dtype: "f32", device: on });
        const y = await strictly(on, true, () => valuesOf(fftConv(u, k, { mode: "circular" })));
        const exact = (await valuesOf(u))[0]! * 0.375;
        expect(relativeError(y, new Float64Array(length).fill(exact))).toBeLessThan(limit);
      });

      // Direct sums of so many lags would take minutes.
      test.skipIf(!present || name === "reference")(
        `${name} ${dtype}: small channels beside large ones have gradients as exact`,
        async () => {
          const [channels, length] = [3, 32_768];
          const on = device(name);
          const random = new Random();
          const scales = [1, 2 ** -11, 2 ** 4];
          const rows = scales.map((scale) => random.normals(2 * length).map((x) => x * scale));
          const filters = scales.map(() => random.normals(length));
          const gradientOf = (ids: readonly number[]): Promise<Float64Array> => {
            const part = (of: readonly ArrayLike<number>[], at: number): number[] =>
              ids.flatMap((i) => Array.from(of[i]!).slice(at * length, (at + 1) * length));
            const shape = [1, ids.length, length];
            const [u, dy] = [0, 1].map((at) => tensor(part(rows, at), shape, { dtype, device: on }));
            const k = tensor(part(filters, 0), [ids.length, length], { dtype: "f32", device: on });
            const y = fftConv(u!, k, { mode: "circular" });
            return valuesOf(gradients([y], [k], [dy!])[0]!);
          };
          const together = await strictly(on, true, () => gradientOf([0, 1, 2]));
          for (let i = 0; i < channels; i++)
            expect(
              relativeError(together.slice(i * length, (i + 1) * length), await gradientOf([i])),
              `channel ${i}`,
            ).toBeLessThan(limit);
        },
      );
    }
  }

  test("a filter kept for halves is not for others", () =>
    withDevice("reference", () => {
      const filter = fftConvFilter(ones([1, 3], { dtype: "f32" }), 6, { dtype: "f16" });
      const u = cast(ones([1, 1, 6]), "f16");
      expect(fftConv(u, filter).dtype).toBe("f16");
      expect(() => fftConv(ones([1, 1, 6]), filter)).toThrow(/made for half precision/);
      expect(() => fftConv(u, filter, { preGate: ones([1, 1, 6]) })).toThrow(/made for half precision/);
    }));
});

const show = (shape: readonly number[]): string => `[${shape.join(", ")}]`;

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
