// Gather and scatter along an axis. Scatter adds in the order of the indices, one thread per target line: the same bits every time.

import type { PrimitiveParams } from "@everlong/core";
import { blocksFor, cudaType, type CudaSource, type CudaStep } from "@everlong/kernels/cuda";
import { elementCount } from "../space.ts";
import { linesAlong } from "./lines.ts";

const THREADS = 256;
type Stored = keyof typeof cudaType;

const gatherSource = (type: string): string => `
extern "C" __global__ void __launch_bounds__(${THREADS}) gather(const __grid_constant__ Words<7> w) {
  const i64 i = (i64)blockIdx.x * ${THREADS} + threadIdx.x;
  if (i >= wide(w, 3)) return;
  const u64 n = wide(w, 4), m = wide(w, 5), inner = wide(w, 6);
  const u64 k = (u64)i % inner, o = (u64)i / inner / m;
  i64 from = pointer<const int>(w, 1)[i];
  from = from < 0 ? 0 : from >= (i64)n ? (i64)n - 1 : from;
  pointer<${type}>(w, 2)[i] = pointer<const ${type}>(w, 0)[(o * n + from) * inner + k];
}`;

/** out[o, i, k] = x[o, indices[o, i, k], k]; indices are clamped. */
export const gather: CudaSource<PrimitiveParams["gather"]> = {
  lower: ({ inputs, outputs, params }) => {
    const [x, indices] = inputs as [(typeof inputs)[0], (typeof inputs)[0]];
    const total = elementCount(outputs[0]!.shape);
    if (total === 0) return { steps: [] };
    const { n } = linesAlong(x.shape, params.axis);
    const { n: m, inner } = linesAlong(indices.shape, params.axis);
    const type = cudaType[x.dtype as Stored];
    return {
      steps: [
        {
          kernel: { key: `gather ${type}`, entry: "gather", source: () => gatherSource(type) },
          args: [{ input: 0 }, { input: 1 }, { output: 0 }, total, n, m, inner],
          grid: [blocksFor(total, THREADS), 1, 1],
          block: [THREADS, 1, 1],
        },
      ],
    };
  },
};

const copySource = (type: string): string => `
extern "C" __global__ void __launch_bounds__(${THREADS}) copy(const __grid_constant__ Words<3> w) {
  const i64 i = (i64)blockIdx.x * ${THREADS} + threadIdx.x;
  if (i < wide(w, 2)) pointer<${type}>(w, 1)[i] = pointer<const ${type}>(w, 0)[i];
}`;

// One thread a line (o, k): it walks the updates in order.
const byLine = (type: string, value: string, add: boolean): string => `
extern "C" __global__ void __launch_bounds__(${THREADS}) scatter(const __grid_constant__ Words<7> w) {
  const i64 i = (i64)blockIdx.x * ${THREADS} + threadIdx.x;
  const i64 n = wide(w, 4), m = wide(w, 5), inner = wide(w, 6);
  if (i >= wide(w, 3) * inner) return;
  const i64 o = i / inner, k = i % inner;
  const int* index = pointer<const int>(w, 0) + o * m * inner + k;
  const ${type}* update = pointer<const ${type}>(w, 1) + o * m * inner + k;
  ${type}* out = pointer<${type}>(w, 2) + o * n * inner + k;
  for (i64 j = 0; j < m; j++) {
    const i64 to = index[j * inner];
    if (to < 0 || to >= n) continue;
    ${add ? `const ${value} sum = sum_(get(out[to * inner]), get(update[j * inner])); put(out[to * inner], sum);` : "out[to * inner] = update[j * inner];"}
  }
}`;

// One thread a target (o, n, k): it looks for the updates that meet it, in order.
const byTarget = (type: string, value: string, add: boolean): string => `
extern "C" __global__ void __launch_bounds__(${THREADS}) scatter(const __grid_constant__ Words<7> w) {
  const i64 i = (i64)blockIdx.x * ${THREADS} + threadIdx.x;
  const i64 n = wide(w, 4), m = wide(w, 5), inner = wide(w, 6);
  if (i >= wide(w, 3) * n * inner) return;
  const i64 k = i % inner, own = i / inner % n, o = i / inner / n;
  const int* index = pointer<const int>(w, 0) + o * m * inner + k;
  const ${type}* update = pointer<const ${type}>(w, 1) + o * m * inner + k;
  ${type}* out = pointer<${type}>(w, 2) + i;
  ${value} sum = get(*out);
  bool hit = false;
  for (i64 j = 0; j < m; j++) {
    if (index[j * inner] != own) continue;
    hit = true;
    sum = ${add ? "sum_(sum, get(update[j * inner]))" : "get(update[j * inner])"};
  }
  if (hit) put(*out, sum);
}`;

/** `base` with updates written or added; indices out of range are dropped. Halves are added in their own precision, as the order says. */
export const scatter: CudaSource<PrimitiveParams["scatter"]> = {
  lower: ({ inputs, outputs, params }) => {
    const [base, indices] = inputs as [(typeof inputs)[0], (typeof inputs)[0]];
    const total = elementCount(outputs[0]!.shape);
    if (total === 0) return { steps: [] };
    const { n } = linesAlong(base.shape, params.axis);
    const { outer, n: m, inner } = linesAlong(indices.shape, params.axis);
    const type = cudaType[base.dtype as Stored];
    const value = base.dtype === "f32" || base.dtype === "f16" || base.dtype === "bf16" ? "float" : "int";
    const add = params.mode === "add";
    const steps: CudaStep[] = [
      {
        kernel: { key: `copy ${type}`, entry: "copy", source: () => copySource(type) },
        args: [{ input: 0 }, { output: 0 }, total],
        grid: [blocksFor(total, THREADS), 1, 1],
        block: [THREADS, 1, 1],
      },
    ];
    if (m > 0 && outer * inner > 0) {
      const lines = outer * inner >= 8192 || n > 65536 || m < 32;
      const name = lines ? "line" : "target";
      steps.push({
        kernel: {
          key: `scatter ${name} ${type} ${add}`,
          entry: "scatter",
          source: () => (lines ? byLine : byTarget)(type, value, add),
        },
        args: [{ input: 1 }, { input: 2 }, { output: 0 }, outer, n, m, inner],
        grid: [blocksFor(lines ? outer * inner : total, THREADS), 1, 1],
        block: [THREADS, 1, 1],
      });
    }
    return { steps };
  },
};
