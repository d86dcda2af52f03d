// Memory over many training steps.

import { device, random, tensor, withDevice, type Device } from "@everlong/core";
import { cudaDevice } from "@everlong/device-cuda";
import { crossEntropy } from "@everlong/kernels";
import { LanguageModel } from "@everlong/nn";
import { AdamW, trainStep } from "@everlong/train";
import type { CheckCase } from "./suite.ts";

const FEW = 10;
const MANY = 1000;

/** Bytes held and the most that were held, after few and after many steps of a small model. */
interface Held {
  readonly live: readonly [few: number, many: number];
  readonly peak: readonly [few: number, many: number];
}

async function heldOn(on: Device, layers: readonly string[]): Promise<Held> {
  return withDevice(on, async () => {
    const model = new LanguageModel({ key: random.key(1), vocabSize: 8, dim: 16, maxLength: 16, layers });
    const optimizer = new AdamW(model, { learningRate: 1e-3 });
    const { run } = trainStep({ optimizer, loss: ({ ids }) => crossEntropy(model.forward(ids!), ids!) });
    const ids = tensor(
      new Int32Array(32).map((_, i) => i % 8),
      [2, 16],
    );
    const seen: { live: number; peak: number }[] = [];
    for (let i = 1; i <= MANY; i++) {
      const result = run({ ids });
      await result.data();
      result[Symbol.dispose]();
      if (i === FEW || i === MANY) seen.push({ live: on.stats.liveBytes, peak: on.stats.peakBytes });
    }
    run.dispose();
    const [few, many] = seen as [{ live: number; peak: number }, { live: number; peak: number }];
    return { live: [few.live, many.live], peak: [few.peak, many.peak] };
  });
}

/** Bytes by which the CPU's live memory grows between step 10 and step 1,000. */
export function flatMemoryCheck(): CheckCase {
  return {
    name: "growth of live bytes over 1,000 steps",
    unit: "bytes",
    bound: 0,
    measure: async () => {
      const { live } = await heldOn(device("cpu"), ["attention", "swiglu"]);
      return live[1] - live[0];
    },
  };
}

async function heldOnOwn(): Promise<Held> {
  using own = cudaDevice();
  return await heldOn(own, ["attention", "swiglu", "hyena", "swiglu"]);
}

/** Live and peak bytes after 1,000 steps on a CUDA device of its own; the bound is what they were after 10. */
export function cudaMemoryChecks(): CheckCase[] {
  let held: Promise<Held> | undefined;
  return (["live", "peak"] as const).map((which) => {
    let few = 0;
    return {
      name: `${which} bytes after 1,000 training steps (limit: after 10)`,
      unit: "bytes",
      measure: async () => {
        held ??= heldOnOwn();
        const [first, last] = (await held)[which];
        few = first;
        return last;
      },
      bound: () => few,
    };
  });
}
