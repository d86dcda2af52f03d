// Generation from a layer with a long filter: exact online convolution beside a sum over all inputs so far.

import { compile, narrow, random, realize, slice, sum, tensor, mul, type Tensor } from "@everlong/core";
import { cpu } from "@everlong/device-cpu";
import { Hyena, holdState, type MixerState, type StateTree } from "@everlong/nn";
import type { BenchCase, CheckCase, Peer } from "./suite.ts";

const DIM = 64;

function makeLayer(maxLength: number): Hyena {
  const filter = { embeddingDim: 5, width: 32, frequency: 10 };
  return new Hyena({ key: random.key(1), dim: DIM, maxLength, filter });
}

/** A layer ready to step through `time` positions after a prompt of one, all of them the rows of `x` in turn. */
async function stepper(time: number): Promise<{
  readonly whole: (take: (at: number, y: Tensor) => void) => void;
  readonly input: Tensor;
  readonly layer: Hyena;
  readonly close: () => void;
}> {
  const layer = makeLayer(time);
  const rows = 256;
  const input = random.normal(random.key(2), [1, rows, DIM]);
  const steps = await Promise.all(
    Array.from({ length: rows }, async (_, t) => tensor(await slice(input, [null, t]).data(), [1, DIM])),
  );
  const start = (): MixerState => layer.prefill(narrow(input, 1, 0, 1), { capacity: time }).state;
  const held = holdState(start() as StateTree);
  const step = compile(
    (x: Tensor): Tensor => {
      const { y, state } = layer.step(x, held.read() as MixerState);
      held.write(state as StateTree);
      return y;
    },
    { name: "hyena step" },
  );
  return {
    layer,
    input,
    whole: (take) => {
      held.write(start() as StateTree);
      for (let t = 1; t < time; t++) {
        const y = step(steps[t % rows]!);
        take(t, y);
        y[Symbol.dispose]();
      }
    },
    close: () => {
      step.dispose();
      held.dispose();
    },
  };
}

/** What a cache of inputs would cost: the sum over all of them at every position, sampled at eight lengths; nothing else. */
const cachedSum = (time: number): Peer => ({
  name: "cached direct sum",
  prepare: () => {
    const [lengths, each] = [8, 16];
    const u = tensor(new Float32Array(time * DIM).fill(0.5), [time, DIM]);
    const calls = Array.from({ length: lengths }, (_, i) => {
      const length = Math.round(((i + 0.5) * time) / lengths);
      const [inputs, taps] = [narrow(u, 0, 0, length), narrow(u, 0, 0, length).mul(0.1)];
      const fn = compile((a: Tensor, b: Tensor) => sum(mul(a, b), 0), { name: "direct sum" });
      return { run: () => fn(inputs, taps)[Symbol.dispose](), close: () => fn.dispose() };
    });
    for (const { run } of calls) run();
    return Promise.resolve({
      run: () => {
        const from = performance.now();
        for (const { run } of calls) for (let i = 0; i < each; i++) run();
        return Promise.resolve(((performance.now() - from) * time) / (lengths * each));
      },
      close: () => calls.forEach((c) => c.close()),
    });
  },
});

function generationCase(time: number): BenchCase {
  return {
    name: `generation of ${time} positions, Hyena of width ${DIM}`,
    unit: "us a position",
    toUnit: (ms) => (ms * 1e3) / time,
    tolerance: 1e-4,
    repeats: 3,
    peers: [cachedSum(time)],
    prepare: async () => {
      cpu.setThreads(1);
      const { whole, layer, input, close } = await stepper(time);
      return {
        run: () => whole(() => {}),
        close,
        error: async () => {
          const laps = Math.ceil(time / input.shape[1]!);
          const x = narrow(input.tile(laps, 1), 1, 0, time);
          const want = (await layer.forward(x).data()) as Float32Array;
          const scale = want.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
          const kept: { at: number; y: Tensor }[] = [];
          whole((at, y) => {
            if (at % 1021 !== 0 && at < time - 2) return;
            const copy = y.add(0);
            realize([copy]);
            kept.push({ at, y: copy });
          });
          let off = 0;
          for (const { at, y } of kept)
            (await y.data()).forEach(
              (v, c) => (off = Math.max(off, Math.abs(Number(v) - want[at * DIM + c]!))),
            );
          return off / scale;
        },
      };
    },
  };
}

/** How the time grows when the length is four times as much. */
function growthCheck(short: number, long: number, bound: number): CheckCase {
  return {
    name: `generation time of ${long} positions over that of ${short}`,
    unit: "times",
    bound,
    measure: async () => {
      cpu.setThreads(1);
      const best: number[] = [];
      for (const time of [short, long]) {
        const { whole, close } = await stepper(time);
        const runs: number[] = [];
        for (let i = 0; i < 3; i++) {
          const from = performance.now();
          whole(() => {});
          runs.push(performance.now() - from);
        }
        best.push(Math.min(...runs));
        close();
      }
      return best[1]! / best[0]!;
    },
  };
}

/** Cases of exact generation. */
export const generationCases = (): readonly (BenchCase | CheckCase)[] => [
  generationCase(32_768),
  growthCheck(16_384, 65_536, 5.5),
];
