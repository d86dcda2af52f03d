// Long convolutions on the GPU and their gradients, most of them f16 in and out, beside PyTorch, FlashFFTConv where it is installed, what it took
// elsewhere, and a copy of as many bytes as a call has to read and write.

import {
  cast,
  compile,
  device,
  DTYPES,
  gradients,
  mul,
  narrow,
  type DType,
  type Tensor,
} from "@everlong/core";
import type { CudaDevice } from "@everlong/device-cuda";
import { fftConv, fftConvFilter, type FftConvFilter } from "@everlong/kernels";
import { convolveExactly } from "./exact-convolution.ts";
import { cudaTorchPeer, finish } from "./cuda-torch.ts";
import { drawn, drop } from "./cuda-work.ts";
import type { BenchCase, Peer } from "./suite.ts";

/** Calls in a row that one measurement covers; fewer in float32, where some take many passes. */
const callsOf = ({ dtype }: Setting): number => (dtype === "f32" ? 5 : 20);

interface Setting {
  readonly length: number;
  readonly batch: number;
  readonly channels: number;
  readonly mode: "causal" | "circular";
  readonly dtype?: DType;
  readonly gated?: boolean;
  /** With the filter's spectrum made before. */
  readonly kept?: boolean;
  /** The gradients of the sequences, the filter and the gates instead. */
  readonly backward?: boolean;
}

/** Milliseconds of FlashFFTConv on other H100s: circular f16 convolutions of the sizes below. */
const ELSEWHERE: Readonly<
  Record<"plain" | "gated", { readonly label: string; readonly ms: Readonly<Record<number, number>> }>
> = {
  plain: {
    label: "FlashFFTConv, measured on another H100",
    ms: {
      1024: 0.227,
      4096: 1.34,
      8192: 3.16,
      32_768: 5.46,
      131_072: 8.55,
      1_048_576: 10.9,
      4_194_304: 19.6,
    },
  },
  // Its README gives them for 64 x 768 rows.
  gated: {
    label: "FlashFFTConv, published",
    ms: { 1024: 0.29, 4096: 1.43, 8192: 3.58, 32_768: 26.3 / 4, 1_048_576: 1768.9 / 128 },
  },
};

/** Sequences that a call reads and writes. */
const streamsOf = ({ gated, backward }: Setting): number => (backward ? (gated ? 7 : 3) : gated ? 4 : 2);

const gpu = (): CudaDevice => device("cuda") as CudaDevice;

const nameOf = ({ length, batch, channels, mode, dtype = "f16", gated, kept, backward }: Setting): string =>
  [
    `${mode} [${batch}, ${channels}, ${length}] ${dtype}`,
    ...(gated ? ["gated"] : []),
    ...(kept ? ["filter kept"] : []),
    ...(backward ? ["gradients"] : []),
  ].join(", ");

function copyPeer(bytes: number, calls: number): Peer {
  return {
    name: "copy",
    prepare: async () => {
      const { pool, engine } = gpu();
      const places = [0, 1, 2].map((i) => pool.allocate(bytes, `copy ${i}`));
      return {
        run: () => {
          const began = performance.now();
          for (let i = 0; i < calls; i++)
            engine.driver.copyOnDevice(
              places[i % 3]!.address,
              places[(i + 1) % 3]!.address,
              bytes,
              engine.stream,
            );
          finish();
          return Promise.resolve(performance.now() - began);
        },
        close: () => places.forEach((p) => pool.free(p)),
      };
    },
  };
}

/** What a call took on another machine. */
const elsewherePeer = (name: string, ms: number): Peer => ({
  name,
  prepare: () => Promise.resolve({ run: () => Promise.resolve(ms), close: () => {} }),
});

const relative = (off: number, size: number): number => Math.sqrt(off / size);

const rowOf = async (t: Tensor, b: number, channel: number): Promise<Float32Array> =>
  (await cast(narrow(narrow(t, 0, b, b + 1), 1, channel, channel + 1), "f32").data()) as Float32Array;

/** Lags at which the filter's gradient is compared: spread by the golden ratio, in no step with a transform's columns. */
const lagsOf = (length: number): number[] =>
  Array.from({ length: length > 2 ** 17 ? 32 : 128 }, (_, i) =>
    Math.floor(((i * 0.618_033_988_75) % 1) * length),
  );

/** `sum a[t] b[t - lag]` for t < L; indices modulo L, or zeros outside. */
function correlation(a: Float64Array, b: Float64Array, lag: number, circular: boolean): number {
  let sum = 0;
  for (let t = lag; t < a.length; t++) sum += a[t]! * b[t - lag]!;
  if (circular) for (let t = 0; t < lag; t++) sum += a[t]! * b[t - lag + a.length]!;
  return sum;
}

/** Relative error of rows, each beside what it should be. */
function rowsError(pairs: readonly (readonly [got: ArrayLike<number>, want: Float64Array])[]): number {
  let [off, size] = [0, 0];
  for (const [got, want] of pairs)
    want.forEach((x, t) => {
      off += (got[t]! - x) ** 2;
      size += x ** 2;
    });
  return relative(off, size);
}

/** A channel of the first and last rows: operands, the gates' ones where there are none, and the convolution without the gate behind it. */
interface ExactRows {
  readonly channel: number;
  readonly circular: boolean;
  readonly taps: Float32Array;
  readonly rows: readonly {
    readonly b: number;
    readonly pre: Float32Array;
    readonly post: Float32Array;
    readonly u: Float32Array;
    readonly z: Float64Array;
  }[];
  readonly convolved: () => readonly Float64Array[];
}

/** Operands and values of one channel in float64, on the first and last rows. */
async function exactRows(setting: Setting, inputs: Inputs): Promise<ExactRows> {
  const { channels, batch, length, mode } = setting;
  const [channel, circular] = [channels - 1, mode === "circular"];
  const taps = (await narrow(inputs.k, 0, channel, channel + 1).data()) as Float32Array;
  const rows = await Promise.all(
    [0, batch - 1].map(async (b) => {
      const ones = new Float32Array(length).fill(1);
      const [pre = ones, post = ones] = await Promise.all(inputs.gates.map((g) => rowOf(g, b, channel)));
      const u = await rowOf(inputs.u[0]!, b, channel);
      return { b, pre, post, u, z: new Float64Array(u).map((x, t) => x * pre[t]!) };
    }),
  );
  const convolved = (): Float64Array[] => convolveExactly([rows[0]!.z, rows[1]!.z], taps, circular);
  return { channel, circular, taps, rows, convolved };
}

/** The largest relative error of du and the gates' gradients, on the first and last rows of a channel, and dk, at some lags. */
async function gradientErrorOf(setting: Setting, inputs: Inputs, found: readonly Tensor[]): Promise<number> {
  const { batch, length, gated } = setting;
  const { channel, circular, taps, rows, convolved } = await exactRows(setting, inputs);
  const dy = await Promise.all(rows.map(({ b }) => rowOf(inputs.dy, b, channel)));
  // The adjoint goes backwards in time.
  const backwards = rows.map(({ post }, r) =>
    new Float64Array(post).map((x, t) => x * dy[r]![t]!).toReversed(),
  );
  const dz = convolveExactly(backwards as [Float64Array, Float64Array], taps, circular).map((row) =>
    row.toReversed(),
  );
  const error = async (tensor: Tensor, want: (r: number, t: number) => number): Promise<number> =>
    rowsError(
      await Promise.all(
        rows.map(async ({ b }, r): Promise<readonly [ArrayLike<number>, Float64Array]> => [
          await rowOf(tensor, b, channel),
          new Float64Array(length).map((_, t) => want(r, t)),
        ]),
      ),
    );
  const errors = [await error(found[0]!, (r, t) => dz[r]![t]! * rows[r]!.pre[t]!)];
  if (gated) {
    const y = convolved();
    errors.push(
      await error(found[2]!, (r, t) => dz[r]![t]! * rows[r]!.u[t]!),
      await error(found[3]!, (r, t) => y[r]![t]! * dy[r]![t]!),
    );
  }
  const dk = (await narrow(found[1]!, 0, channel, channel + 1).data()) as Float32Array;
  const lags = lagsOf(length);
  const sums = new Float64Array(lags.length);
  for (let b = 0; b < batch; b++) {
    const [pre, post] = await Promise.all(inputs.gates.map((g) => rowOf(g, b, channel)));
    const z = new Float64Array(await rowOf(inputs.u[0]!, b, channel)).map((x, t) => x * (pre?.[t] ?? 1));
    const dc = new Float64Array(await rowOf(inputs.dy, b, channel)).map((x, t) => x * (post?.[t] ?? 1));
    lags.forEach((lag, i) => (sums[i]! += correlation(dc, z, lag, circular)));
  }
  return Math.max(...errors, rowsError([[lags.map((lag) => dk[lag]!), sums]]));
}

/** The relative error of `y` on the first and last rows of a channel. */
async function errorOf(setting: Setting, inputs: Inputs, y: Tensor): Promise<number> {
  const { channel, rows, convolved } = await exactRows(setting, inputs);
  const want = convolved();
  return rowsError(
    await Promise.all(
      rows.map(async ({ b, post }, r): Promise<readonly [ArrayLike<number>, Float64Array]> => [
        await rowOf(y, b, channel),
        want[r]!.map((x, t) => x * post[t]!),
      ]),
    ),
  );
}

interface Inputs {
  /** Several, so that they are not found in the cache. */
  readonly u: readonly Tensor[];
  readonly k: Tensor;
  readonly gates: readonly Tensor[];
  readonly dy: Tensor;
}

/** The spectrum of a filter, made now. */
function spectrumNow(filter: FftConvFilter): Tensor {
  const make = compile((s: Tensor) => mul(s, 1));
  const made = make(filter.spectrum) as Tensor;
  make.dispose();
  filter.spectrum[Symbol.dispose]();
  return made;
}

function convolutionCase(setting: Setting): BenchCase {
  const {
    length,
    batch,
    channels,
    mode,
    dtype = "f16",
    gated = false,
    kept = false,
    backward = false,
  } = setting;
  const shape = [batch, channels, length];
  const calls = callsOf(setting);
  const bytes = DTYPES[dtype].bytes * batch * channels * length;
  const kind = gated ? "gated" : "plain";
  const wide = dtype === "f32";
  const work = (peer: string): string =>
    `${backward ? "fftconv-gradients" : "fftconv"} ${peer} ${mode} ${kind} ${length} ${batch} ${channels} ${wide ? "f32" : "f16"}`;
  const { label, ms } = ELSEWHERE[kind];
  const elsewhere = mode === "circular" && !backward && !wide ? ms[length] : undefined;
  return {
    name: nameOf(setting),
    unit: "ms",
    toUnit: (total) => total / calls,
    tolerance: wide ? 1e-5 : dtype === "bf16" ? 3e-3 : 1.5e-3,
    repeats: 5,
    ...(wide ? { warm: 1 } : {}),
    peers: [
      copyPeer((bytes * streamsOf(setting)) / 2, calls),
      // Neither keeps a filter's spectrum: PyTorch stands in the row of the same size.
      ...(kept ? [] : [cudaTorchPeer("torch", work("torch"), calls)]),
      // It has no float32.
      ...(wide ? [] : [cudaTorchPeer("FlashFFTConv", work("flash"), calls)]),
      ...(elsewhere === undefined ? [] : [elsewherePeer(label, elsewhere * calls)]),
    ],
    prepare: async () => {
      const sets = bytes < 1e8 ? 3 : bytes < 5e8 ? 2 : 1;
      const inputs: Inputs = {
        u: Array.from({ length: sets }, (_, i) => drawn(shape, i + 1, dtype)),
        k: drawn([channels, length], 11, "f32", 1 / Math.sqrt(length)),
        gates: gated ? [drawn(shape, 12, dtype), drawn(shape, 13, dtype)] : [],
        dy: backward ? drawn(shape, 14, dtype) : drawn([1], 14, dtype),
      };
      const filter = kept ? fftConvFilter(inputs.k, length, { mode, dtype }) : undefined;
      // Made now, and not again within every call.
      const operand = filter ? spectrumNow(filter) : inputs.k;
      const fn = compile((u: Tensor, k: Tensor, dy: Tensor, ...g: Tensor[]) => {
        const gates = gated ? { preGate: g[0]!, postGate: g[1]! } : {};
        const ready: FftConvFilter | undefined = filter && { ...filter, spectrum: k };
        const y = ready ? fftConv(u, ready, gates) : fftConv(u, k, { mode, ...gates });
        return backward ? gradients([y], [u, k, ...g], [dy]) : [y];
      });
      const once = (i: number): Tensor[] =>
        fn(inputs.u[i % sets]!, operand, inputs.dy, ...inputs.gates) as Tensor[];
      return {
        run: () => {
          for (let i = 0; i < calls; i++) drop(once(i));
          finish();
        },
        error: async () => {
          const found = once(0);
          const error = await (backward
            ? gradientErrorOf(setting, inputs, found)
            : errorOf(setting, inputs, found[0]!));
          drop(found);
          return error;
        },
        close: () => {
          fn.dispose();
          drop([...inputs.u, inputs.k, operand, inputs.dy, ...inputs.gates]);
        },
      };
    },
  };
}

/** The lengths and batches of FlashFFTConv's own benchmark. */
const SIZES: readonly (readonly [length: number, batch: number, channels: number])[] = [
  [1024, 64, 768],
  [4096, 64, 768],
  [8192, 64, 768],
  [32_768, 16, 768],
  [131_072, 8, 384],
  [1_048_576, 8, 48],
  [4_194_304, 8, 16],
];

export const cudaConvolutionCases = (): BenchCase[] =>
  [
    ...SIZES.flatMap(([length, batch, channels]): Setting[] => {
      const circular = { length, batch, channels, mode: "circular" } as const;
      return [
        circular,
        { ...circular, kept: true },
        { ...circular, mode: "causal" },
        { ...circular, backward: true },
      ];
    }),
    ...[1024, 4096, 8192].flatMap((length): Setting[] => {
      const gated = { length, batch: 64, channels: 768, mode: "circular", gated: true } as const;
      return [gated, { ...gated, mode: "causal" }];
    }),
    { length: 32_768, batch: 16, channels: 768, mode: "circular", gated: true } as const,
    { length: 131_072, batch: 8, channels: 384, mode: "circular", gated: true } as const,
    { length: 1_048_576, batch: 8, channels: 48, mode: "circular", gated: true } as const,
    { length: 1024, batch: 64, channels: 768, mode: "causal", backward: true } as const,
    { length: 4096, batch: 64, channels: 768, mode: "causal", backward: true } as const,
    { length: 4096, batch: 64, channels: 768, mode: "causal", kept: true } as const,
    { length: 4096, batch: 64, channels: 768, mode: "causal", gated: true, backward: true } as const,
    { length: 6000, batch: 63, channels: 768, mode: "causal", backward: true } as const,
    { length: 4096, batch: 64, channels: 768, mode: "circular", dtype: "bf16" } as const,
    { length: 1536, batch: 63, channels: 768, mode: "causal" } as const,
    { length: 6000, batch: 63, channels: 768, mode: "causal" } as const,
    { length: 12_000, batch: 31, channels: 768, mode: "causal" } as const,
  ].map(convolutionCase);

/** The same in float32, to the length that its kernels have. */
export const cudaFullConvolutionCases = (): BenchCase[] =>
  SIZES.filter(([length]) => length <= 131_072)
    .flatMap(([length, batch, channels]): Setting[] => {
      const full = { length, batch, channels, mode: "causal", dtype: "f32" } as const;
      return [full, { ...full, backward: true }];
    })
    .map(convolutionCase);
