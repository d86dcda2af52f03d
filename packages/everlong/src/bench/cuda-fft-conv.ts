// Long convolutions on the GPU, f16 in and out, beside PyTorch, FlashFFTConv where it is installed, and a copy of the same bytes.

import { cast, compile, device, mul, narrow, random, type DType, type Tensor } from "@everlong/core";
import type { CudaDevice } from "@everlong/device-cuda";
import { fftConv, fftConvFilter, type FftConvFilter } from "@everlong/kernels";
import { convolveExactly } from "./exact-convolution.ts";
import { cudaConvolutionPeer } from "./peers.ts";
import type { BenchCase, Peer } from "./suite.ts";

/** Calls in a row that one measurement covers. */
const CALLS = 20;

interface Setting {
  readonly length: number;
  readonly batch: number;
  readonly channels: number;
  readonly mode: "causal" | "circular";
  readonly dtype?: DType;
  readonly gated?: boolean;
  /** With the filter's spectrum made before. */
  readonly kept?: boolean;
}

const gpu = (): CudaDevice => device("cuda") as CudaDevice;

/** Waits in place: polling would round the time up. */
const finish = (): void => gpu().engine.driver.synchronize(gpu().engine.stream);

const nameOf = ({ length, batch, channels, mode, dtype = "f16", gated, kept }: Setting): string =>
  `${mode} [${batch}, ${channels}, ${length}] ${dtype}${gated ? ", gated" : ""}${kept ? ", filter kept" : ""}`;

/** Normal deviates made on the GPU. */
function drawn(shape: readonly number[], seed: number, dtype: DType, scale = 1): Tensor {
  const make = compile(() =>
    cast(mul(random.normal(random.key(seed, device("cuda")), [...shape]), scale), dtype),
  );
  const out = make() as Tensor;
  make.dispose();
  return out;
}

function copyPeer(bytes: number): Peer {
  return {
    name: "copy",
    prepare: async () => {
      const { pool, engine } = gpu();
      const places = [0, 1, 2].map((i) => pool.allocate(bytes, `copy ${i}`));
      return {
        run: () => {
          const began = performance.now();
          for (let i = 0; i < CALLS; i++)
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

/** The relative error of `y` on the first and last rows of a channel. */
async function errorOf(setting: Setting, inputs: Inputs, y: Tensor): Promise<number> {
  const { channels, batch, length, mode } = setting;
  const channel = channels - 1;
  const row = async (t: Tensor, b: number): Promise<ArrayLike<number>> =>
    (await cast(narrow(narrow(t, 0, b, b + 1), 1, channel, channel + 1), "f32").data()) as Float32Array;
  const taps = (await narrow(inputs.k, 0, channel, channel + 1).data()) as Float32Array;
  let [off, size] = [0, 0];
  for (const b of [0, batch - 1]) {
    const gates = await Promise.all(inputs.gates.map((g) => row(g, b)));
    const u = Float64Array.from(await row(inputs.u[0]!, b), (x, t) => x * (gates[0]?.[t] ?? 1));
    const want = convolveExactly(u, taps, mode === "circular").map((x, t) => x * (gates[1]?.[t] ?? 1));
    const got = await row(y, b);
    for (let t = 0; t < length; t++) {
      off += (got[t]! - want[t]!) ** 2;
      size += want[t]! ** 2;
    }
  }
  return Math.sqrt(off / size);
}

interface Inputs {
  /** Several, so that they are not found in the cache. */
  readonly u: readonly Tensor[];
  readonly k: Tensor;
  readonly gates: readonly Tensor[];
}

function convolutionCase(setting: Setting): BenchCase {
  const { length, batch, channels, mode, dtype = "f16", gated = false, kept = false } = setting;
  const shape = [batch, channels, length];
  const bytes = 2 * batch * channels * length;
  const work = `fftconv ${mode} ${gated ? "gated" : "plain"} ${length} ${batch} ${channels} ${CALLS}`;
  return {
    name: nameOf(setting),
    unit: "ms",
    toUnit: (ms) => ms / CALLS,
    tolerance: dtype === "bf16" ? 3e-3 : 1.5e-3,
    repeats: 5,
    peers: [
      copyPeer(bytes),
      cudaConvolutionPeer("torch", `torch ${work}`),
      cudaConvolutionPeer("FlashFFTConv", `flash ${work}`),
    ],
    prepare: async () => {
      const sets = bytes < 1e8 ? 3 : bytes < 5e8 ? 2 : 1;
      const inputs: Inputs = {
        u: Array.from({ length: sets }, (_, i) => drawn(shape, i + 1, dtype)),
        k: drawn([channels, length], 11, "f32", 1 / Math.sqrt(length)),
        gates: gated ? [drawn(shape, 12, dtype), drawn(shape, 13, dtype)] : [],
      };
      const filter = kept ? fftConvFilter(inputs.k, length, { mode, dtype }) : undefined;
      // Made now, and not again within every call.
      const operand = filter ? (compile((s: Tensor) => mul(s, 1))(filter.spectrum) as Tensor) : inputs.k;
      const fn = compile((u: Tensor, k: Tensor, ...g: Tensor[]) => {
        const gates = gated ? { preGate: g[0]!, postGate: g[1]! } : {};
        const ready: FftConvFilter | undefined = filter && { ...filter, spectrum: k };
        return ready ? fftConv(u, ready, gates) : fftConv(u, k, { mode, ...gates });
      });
      const once = (i: number): Tensor => fn(inputs.u[i % sets]!, operand, ...inputs.gates) as Tensor;
      return {
        run: () => {
          for (let i = 0; i < CALLS; i++) once(i)[Symbol.dispose]();
          finish();
        },
        error: () => errorOf(setting, inputs, once(0)),
        close: () => {
          fn.dispose();
          for (const t of [...inputs.u, inputs.k, operand, ...inputs.gates]) t[Symbol.dispose]();
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
];

export const cudaConvolutionCases = (): BenchCase[] =>
  [
    ...SIZES.flatMap(([length, batch, channels]): Setting[] => {
      const circular = { length, batch, channels, mode: "circular" } as const;
      return [circular, { ...circular, kept: true }, { ...circular, mode: "causal" }];
    }),
    { length: 1024, batch: 64, channels: 768, mode: "circular", gated: true } as const,
    { length: 4096, batch: 64, channels: 768, mode: "causal", gated: true } as const,
    { length: 4096, batch: 64, channels: 768, mode: "circular", dtype: "bf16" } as const,
    { length: 1536, batch: 63, channels: 768, mode: "causal" } as const,
    { length: 6000, batch: 63, channels: 768, mode: "causal" } as const,
    { length: 12_000, batch: 31, channels: 768, mode: "causal" } as const,
  ].map(convolutionCase);
