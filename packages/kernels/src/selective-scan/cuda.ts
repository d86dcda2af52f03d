// CUDA sources of the selective scan and its gradient.

import { cudaFile } from "../cuda-file.ts";
import {
  blocksFor,
  overTwoAxes,
  type CudaCall,
  type CudaSource,
  type CudaStep,
  type CudaView,
  type CudaWord,
} from "../cuda-step.ts";
import { named } from "../inputs.ts";
import type { SelectiveScanGradParams, SelectiveScanParams } from "./op.ts";

const THREADS = 256;
/** Steps between saved states, as in kernel.cu. */
const STEPS = 16;
/** Lanes of one warp hold the states of a channel. */
const MOST_STATES = 32;

/** Words of both kernels, which share a file. */
const WORDS =
  "u delta a b c initial time channels states batch saved y last dy dlast du ddelta dbParts dcParts daParts dinitial".split(
    " ",
  );

type Call = CudaCall<SelectiveScanParams | SelectiveScanGradParams>;

interface Scan {
  readonly batch: number;
  readonly time: number;
  readonly channels: number;
  readonly states: number;
  readonly groups: number;
  readonly step: (entry: string, save: boolean, words: Readonly<Record<string, CudaWord>>) => CudaStep;
}

function read({ inputs, params }: Call): Scan | string {
  const names = params.inputs as readonly string[];
  const { u, a } = named(names, inputs) as Readonly<Record<string, CudaView>> & { u: CudaView; a: CudaView };
  if (u.dtype !== "f32") return `no kernel for ${u.dtype}`;
  const [batch, time, channels] = u.shape as [number, number, number];
  const states = a.shape[1]!;
  if (states === 0 || states > MOST_STATES) return `${states} states are not 1 to ${MOST_STATES}`;
  const lanes = 2 ** Math.ceil(Math.log2(states));
  const groups = Math.ceil(channels / (THREADS / lanes));
  const words: Record<string, CudaWord> = { time, channels, states, batch };
  names.forEach((name, input) => (words[name] = { input }));
  return {
    batch,
    time,
    channels,
    states,
    groups,
    step: (entry, save, own) => {
      const head = [
        `#define LANES ${lanes}`,
        `#define SAVE ${save ? 1 : 0}`,
        `enum { ${WORDS.map((name, i) => `w_${name} = ${i}`).join(", ")}, WORDS = ${WORDS.length} };`,
      ].join("\n");
      return {
        kernel: {
          key: `selective-scan ${entry} ${head}`,
          entry,
          source: () => `${head}\n${cudaFile("selective-scan/kernel.cu")}`,
        },
        args: WORDS.map((name) => own[name] ?? words[name] ?? 0),
        grid: [groups, ...overTwoAxes(batch)],
        block: [THREADS, 1, 1],
      };
    },
  };
}

export const selectiveScanCuda: CudaSource<SelectiveScanParams> = {
  lower: (call) => {
    const scan = read(call);
    if (typeof scan === "string") return scan;
    if (scan.batch * scan.channels === 0) return { steps: [] };
    return { steps: [scan.step("selective_scan", false, { y: { output: 0 }, last: { output: 1 } })] };
  },
};

const sum = (parts: number, size: number, from: CudaWord, to: CudaWord): CudaStep => ({
  kernel: {
    key: "selective-scan sum",
    entry: "selective_scan_sum",
    source: () => cudaFile("selective-scan/kernel-sum.cu"),
  },
  args: [from, to, parts, size],
  grid: [blocksFor(size, THREADS), 1, 1],
  block: [THREADS, 1, 1],
});

export const selectiveScanGradCuda: CudaSource<SelectiveScanGradParams> = {
  lower: (call) => {
    const scan = read(call);
    if (typeof scan === "string") return scan;
    const { batch, time, channels, states, groups } = scan;
    if (batch * channels === 0) return "nothing to sum";
    const saved = batch * Math.ceil(time / STEPS) * channels * states;
    const perStep = batch * time * states;
    const bytes = [saved, groups * perStep, groups * perStep, batch * channels * states].map((n) =>
      Math.max(4, 4 * n),
    );
    const words = {
      saved: { temp: 0 },
      dbParts: { temp: 1 },
      dcParts: { temp: 2 },
      daParts: { temp: 3 },
      du: { output: 0 },
      ddelta: { output: 1 },
      dinitial: call.params.inputs.includes("initial") ? { output: 5 } : 0,
    };
    const perStepSums =
      perStep > 0
        ? [sum(groups, perStep, { temp: 1 }, { output: 3 }), sum(groups, perStep, { temp: 2 }, { output: 4 })]
        : [];
    return {
      steps: [
        scan.step("selective_scan", true, words),
        scan.step("selective_scan_grad", false, words),
        ...perStepSums,
        sum(batch, channels * states, { temp: 3 }, { output: 2 }),
      ],
      temps: bytes,
    };
  },
};
