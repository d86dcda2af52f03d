// `npm run bench -- cpu`: the CPU device beside native libraries and other packages.

import { compile, matmul, random, tensor, type Tensor } from "@everlong/core";
import { cpu } from "@everlong/device-cpu";
import { fftConv } from "@everlong/kernels";
import { generationCases } from "./generation.ts";
import { useCores } from "./cpu-cores.ts";
import { opCases } from "./cpu-ops.ts";
import { madStepCases } from "./mad-step.ts";
import { narrowSelf, nativePeer, oneThreadSelf, packagePeer, torchPeer } from "./peers.ts";
import { flatMemoryCheck } from "./flat-memory.ts";
import { kernelCountCheck, replayCase } from "./replay.ts";
import type { BenchCase, CheckCase, Suite } from "./suite.ts";

const ROWS = 768;

/** Largest relative deviation of some elements from float64 sums. */
function worst(pairs: Iterable<readonly [number, number]>): number {
  let off = 0;
  let size = 0;
  for (const [ours, exact] of pairs) {
    off = Math.max(off, Math.abs(ours - exact));
    size = Math.max(size, Math.abs(exact));
  }
  return off / size;
}

function gemmCase(n: number, threads = 1): BenchCase {
  const single = `gemm ${n}`;
  const name = threads > 1 ? `${single}, ${threads} threads` : single;
  const flops = 2 * n ** 3;
  return {
    name,
    unit: "GFLOP/s",
    toUnit: (ms) => flops / ms / 1e6,
    tolerance: 1e-5,
    threads,
    repeats: n > 700 ? 21 : 41,
    limit: (m) => m.peak256 && m.peak256 * threads,
    peers:
      threads > 1
        ? [oneThreadSelf(single), torchPeer("gemm", n, threads)]
        : [
            narrowSelf(name),
            nativePeer("OpenBLAS", "gemm", n),
            torchPeer("gemm", n),
            packagePeer("jax-js", "@jax-js/jax", (m) => jaxGemm(m, n)),
            packagePeer("tfjs-wasm", "@tensorflow/tfjs-backend-wasm", (m) => tfGemm(m, n)),
            packagePeer("onnxruntime-node", "onnxruntime-node", (m) => ortGemm(m, n)),
          ],
    prepare: async () => {
      cpu.setThreads(threads);
      useCores(threads);
      const [a, b] = await inputs(2, [n, n]);
      const fn = compile((x: Tensor, y: Tensor) => matmul(x, y), { name });
      return {
        run: () => fn(a!, b!)[Symbol.dispose](),
        close: () => fn.dispose(),
        error: async () => {
          const [x, y, z] = await Promise.all([a!.data(), b!.data(), fn(a!, b!).data()]);
          return worst(
            Array.from({ length: 50 }, (_, i) => {
              const [r, c] = [(i * 37) % n, (i * 911 + 5) % n];
              let sum = 0;
              for (let k = 0; k < n; k++) sum += x[r * n + k]! * y[k * n + c]!;
              return [z[r * n + c]!, sum] as const;
            }),
          );
        },
      };
    },
  };
}

function convCase(length: number, threads = 1): BenchCase {
  const single = `fft conv ${ROWS} x ${length}`;
  const name = threads > 1 ? `${single}, ${threads} threads` : single;
  return {
    name,
    unit: "ms",
    tolerance: 1e-5,
    threads,
    repeats: length > 20_000 ? 7 : 21,
    peers:
      threads > 1
        ? [oneThreadSelf(single), torchPeer("conv", length, threads)]
        : [
            narrowSelf(name),
            nativePeer("FFTW, our trick", "fftw-trick", length),
            nativePeer("FFTW, real", "fftw-real", length),
            torchPeer("conv", length),
          ],
    prepare: async () => {
      cpu.setThreads(threads);
      useCores(threads);
      const [u, g] = await inputs(2, [1, ROWS, length]);
      const [k] = await inputs(1, [ROWS, length], 7);
      const fn = compile((x: Tensor, h: Tensor, gate: Tensor) => fftConv(x, h, { postGate: gate }), { name });
      return {
        run: () => fn(u!, k!, g!)[Symbol.dispose](),
        close: () => fn.dispose(),
        error: async () => {
          const [x, h, gate, y] = await Promise.all([u!.data(), k!.data(), g!.data(), fn(u!, k!, g!).data()]);
          return worst(
            Array.from({ length: 40 }, (_, i) => {
              const [r, t] = [(i * 37) % ROWS, (i * 911 + length - 1) % length];
              let sum = 0;
              for (let j = 0; j <= t; j++) sum += x[r * length + j]! * h[r * length + t - j]!;
              return [y[r * length + t]!, sum * gate[r * length + t]!] as const;
            }),
          );
        },
      };
    },
  };
}

async function inputs(count: number, shape: readonly number[], seed = 1): Promise<Tensor[]> {
  const made = random.splitKey(random.key(seed), count).map((k) => random.normal(k, shape));
  // Realised, so that their making is not timed.
  return Promise.all(made.map(async (t) => tensor(await t.data(), shape)));
}

const ramp = (n: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => ((i * 7) % 13) * 0.1 - 0.6);

interface JaxLike {
  readonly init: (device: string) => Promise<unknown>;
  readonly defaultDevice: (device: string) => void;
  readonly numpy: {
    array(data: Float32Array): { reshape(shape: readonly number[]): JaxArray };
    matmul(a: JaxArray, b: JaxArray): JaxArray;
  };
}
interface JaxArray {
  readonly ref: JaxArray;
  data(): Promise<unknown>;
}
async function jaxGemm(module: JaxLike, n: number): Promise<() => Promise<void>> {
  await module.init("wasm");
  module.defaultDevice("wasm");
  const [a, b] = [0, 1].map(() => module.numpy.array(ramp(n * n)).reshape([n, n]));
  return async () => {
    await module.numpy.matmul(a!.ref, b!.ref).data();
  };
}

async function tfGemm(_module: unknown, n: number): Promise<() => Promise<void>> {
  const specifier = "@tensorflow/tfjs-core";
  const tf = (await import(specifier)) as {
    setBackend(name: string): Promise<boolean>;
    ready(): Promise<void>;
    tensor2d(data: Float32Array, shape: readonly number[]): object;
    matMul(a: object, b: object): { data(): Promise<unknown>; dispose(): void };
  };
  await tf.setBackend("wasm");
  await tf.ready();
  const [a, b] = [0, 1].map(() => tf.tensor2d(ramp(n * n), [n, n]));
  return async () => {
    const c = tf.matMul(a!, b!);
    await c.data();
    c.dispose();
  };
}

interface OrtLike {
  readonly InferenceSession: {
    create(model: Uint8Array, options: object): Promise<{ run(feeds: object): Promise<object> }>;
  };
  readonly Tensor: new (type: string, data: Float32Array, shape: readonly number[]) => object;
}
async function ortGemm(module: OrtLike, n: number): Promise<() => Promise<void>> {
  const session = await module.InferenceSession.create(matMulModel(), { intraOpNumThreads: 1 });
  const [a, b] = [0, 1].map(() => new module.Tensor("float32", ramp(n * n), [n, n]));
  return async () => {
    await session.run({ a, b });
  };
}

/** An ONNX model of one MatMul, written as protocol-buffer fields. */
function matMulModel(): Uint8Array {
  const bytes = (field: number, data: readonly number[]): number[] => [
    (field << 3) | 2,
    data.length,
    ...data,
  ];
  const text = (field: number, s: string): number[] =>
    bytes(
      field,
      [...s].map((c) => c.charCodeAt(0)),
    );
  const int = (field: number, v: number): number[] => [field << 3, v];
  const dim = (name: string): number[] => bytes(1, text(2, name));
  const value = (name: string): number[] => [
    ...text(1, name),
    ...bytes(2, bytes(1, [...int(1, 1), ...bytes(2, [...dim(`${name}0`), ...dim(`${name}1`)])])),
  ];
  const node = [...text(1, "a"), ...text(1, "b"), ...text(2, "c"), ...text(4, "MatMul")];
  const graph = [
    ...bytes(1, node),
    ...text(2, "g"),
    ...bytes(11, value("a")),
    ...bytes(11, value("b")),
    ...bytes(12, value("c")),
  ];
  return Uint8Array.from([...int(1, 8), ...bytes(8, int(2, 13)), ...bytes(7, graph)]);
}

export const cpuSuite: Suite = {
  name: "cpu",
  describe: "matrix products, long convolutions, training steps and overheads of the CPU device, float32",
  cases: (): readonly (BenchCase | CheckCase)[] => [
    gemmCase(512),
    gemmCase(1024),
    gemmCase(1000),
    gemmCase(1024, 2),
    convCase(1024),
    convCase(1536),
    convCase(6000),
    convCase(8192),
    convCase(65_536),
    convCase(8192, 2),
    ...madStepCases(),
    ...generationCases(),
    ...opCases(),
    replayCase(),
    flatMemoryCheck(),
    kernelCountCheck(),
  ],
};
