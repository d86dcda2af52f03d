// Overheads of replaying compiled functions: JavaScript per kernel, kernels built for many lengths.

import { compile, device, gradients, random, softmax, tensor, Variable, type Tensor } from "@everlong/core";
import { cpu } from "@everlong/device-cpu";
import { fftConv } from "@everlong/kernels";
import type { BenchCase, CheckCase } from "./suite.ts";

/** Kernels in the replayed chain. */
const CHAIN = 200;

/** A chain of tiny reductions, which do not fuse, so that the time is all overhead. */
export function replayCase(): BenchCase {
  return {
    name: `replay of ${CHAIN} tiny kernels`,
    unit: "us a kernel",
    toUnit: (ms) => (ms * 1e3) / CHAIN,
    tolerance: 1e-5,
    repeats: 101,
    limit: () => 3,
    peers: [],
    prepare: async () => {
      cpu.setThreads(1);
      const x = tensor([[0.5, 0.25, 0.125, 1]]);
      const fn = compile(
        (t: Tensor) => {
          let y = t;
          for (let i = 0; i < CHAIN / 2; i++)
            y = y.sum(-1, { keepDims: true }).broadcastTo([1, 4]).mul(0.25).cumsum(-1).mul(0.4);
          return y;
        },
        { name: "chain" },
      );
      return {
        run: () => fn(x)[Symbol.dispose](),
        close: () => fn.dispose(),
        error: async () => {
          let v = [0.5, 0.25, 0.125, 1];
          for (let i = 0; i < CHAIN / 2; i++) {
            const mean = v.reduce((a, b) => a + b) * 0.25;
            v = [1, 2, 3, 4].map((k) => mean * k * 0.4);
          }
          const ours = (await fn(x).data()) as Float32Array;
          return Math.max(...v.map((e, i) => Math.abs(ours[i]! - e) / Math.abs(e)));
        },
      };
    },
  };
}

/** Kernels that 200 random lengths of a small differentiated model build. */
export function kernelCountCheck(): CheckCase {
  return {
    name: "kernels built for 200 random lengths",
    unit: "kernels",
    bound: 40,
    measure: async () => {
      const before = device("cpu").stats.kernels;
      const w = new Variable(random.normal(random.key(3), [8]));
      const fn = compile((u: Tensor, k: Tensor) => {
        const y = softmax(fftConv(u, k, { skip: w.value }).gelu(), -1)
          .square()
          .sum();
        return gradients(y, [u, k, w.value]);
      });
      let seed = 17;
      for (let i = 0; i < 200; i++) {
        seed = (seed * 48_271) % 2_147_483_647;
        const length = 1 + (seed % 3000);
        using u = random.normal(random.key(i), [2, 8, length]);
        using k = random.normal(random.key(i + 1000), [8, length]);
        for (const t of fn(u, k)) t[Symbol.dispose]();
      }
      fn.dispose();
      return device("cpu").stats.kernels - before;
    },
  };
}
