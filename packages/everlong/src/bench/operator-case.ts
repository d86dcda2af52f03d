// Operators and layers as bench cases: timed on the CPU device with one thread, checked against the float64 device.

import {
  compile,
  device,
  gradients,
  mul,
  random,
  sum,
  tensor,
  type Compiled,
  type Tensor,
} from "@everlong/core";
import { cpu } from "@everlong/device-cpu";
import type { BenchCase, Peer } from "./suite.ts";

type Fn = (...inputs: Tensor[]) => Tensor | Tensor[];

/** Work at a length: the sizes of its random inputs and a function of them that gives results. */
export interface Work {
  readonly shapes: readonly (readonly number[])[];
  readonly fn: Fn;
}

const listOf = (out: Tensor | Tensor[]): Tensor[] => (Array.isArray(out) ? out : [out]);

/** Random inputs, realised. */
export async function drawn(shapes: Work["shapes"]): Promise<Tensor[]> {
  return Promise.all(
    shapes.map(async (shape, i) => {
      const values = await random.normal(random.key(i + 1), [...shape]).data();
      return tensor(values, [...shape]);
    }),
  );
}

/** The largest relative L2 error of a result at a small length against the float64 reference device. */
async function errorOf({ shapes, fn }: Work): Promise<number> {
  const inputs = await drawn(shapes);
  const got = listOf(fn(...inputs));
  const wide = await Promise.all(
    inputs.map(async (t) =>
      tensor(Float64Array.from(await t.data()), t.shape, { device: device("reference") }),
    ),
  );
  const want = listOf(fn(...wide));
  let worst = 0;
  for (const [i, w] of want.entries()) {
    const [x, y] = [await got[i]!.data(), await w.data()];
    let [off, size] = [0, 0];
    for (let k = 0; k < y.length; k++) {
      off += (y[k]! - x[k]!) ** 2;
      size += y[k]! ** 2;
    }
    worst = Math.max(worst, Math.sqrt(off / size));
  }
  return worst;
}

export interface Ready {
  readonly run: () => void;
  readonly close: () => void;
}
export async function ready(name: string, { shapes, fn }: Work): Promise<Ready> {
  cpu.setThreads(1);
  const inputs = await drawn(shapes);
  const compiled: Compiled<Tensor[], Tensor[]> = compile((...t: Tensor[]) => listOf(fn(...t)), { name });
  return {
    run: () => {
      for (const t of compiled(...inputs)) t[Symbol.dispose]();
    },
    close: () => {
      compiled.dispose();
      for (const t of inputs) t[Symbol.dispose]();
    },
  };
}

/** Another form of ours in the same process. */
export const ourPeer = (name: string, work: Work): Peer => ({
  name,
  prepare: async () => {
    const { run, close } = await ready(name, work);
    return {
      run: () => {
        const began = performance.now();
        run();
        return Promise.resolve(performance.now() - began);
      },
      close,
    };
  },
});

export const operatorCase = (
  name: string,
  work: (length: number) => Work,
  length: number,
  peers: readonly Peer[],
): BenchCase => ({
  name,
  unit: "ms",
  tolerance: 2e-5,
  repeats: 9,
  peers,
  prepare: async () => {
    const { run, close } = await ready(name, work(length));
    return { run, close, error: () => errorOf(work(200)) };
  },
});

/** The results of a function of inputs, then gradients of their sum with fixed weights. */
export const withGradients =
  (work: (length: number) => Work) =>
  (length: number): Work => {
    const { shapes, fn } = work(length);
    return {
      shapes: [...shapes, shapes[0]!],
      fn: (...all) => {
        const inputs = all.slice(0, -1);
        return gradients(sum(mul(fn(...inputs) as Tensor, all.at(-1)!)), inputs);
      },
    };
  };
