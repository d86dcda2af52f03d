// Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror & Shaw, SC 2011): words 2j and 2j + 1 encrypt the counter j.

import type { PrimitiveParams } from "@everlong/core";
import { blocksFor, type CudaSource } from "@everlong/kernels/cuda";
import { elementCount } from "../space.ts";

const THREADS = 256;
const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24] as const;

const rounds = (): string =>
  Array.from({ length: 20 }, (_, r) => {
    const mix = `x += y; y = (y << ${ROTATIONS[r % 8]}) | (y >> ${32 - ROTATIONS[r % 8]!}); y ^= x;`;
    if (r % 4 !== 3) return mix;
    const n = (r + 1) / 4;
    return `${mix} x += key[${n % 3}]; y += key[${(n + 1) % 3}] + ${n}u;`;
  }).join("\n  ");

const source = (): string => `
extern "C" __global__ void __launch_bounds__(${THREADS}) random_bits(const __grid_constant__ Words<3> w) {
  const u64 j = (u64)blockIdx.x * ${THREADS} + threadIdx.x, n = wide(w, 2);
  if (2 * j >= n) return;
  const int* k = pointer<const int>(w, 0);
  const u32 key[3] = {(u32)k[0], (u32)k[1], 0x1bd11bdau ^ (u32)k[0] ^ (u32)k[1]};
  u32 x = (u32)j + key[0], y = (u32)(j >> 32) + key[1];
  ${rounds()}
  int* out = pointer<int>(w, 1) + 2 * j;
  out[0] = (int)x;
  if (2 * j + 1 < n) out[1] = (int)y;
}`;

export const randomBits: CudaSource<PrimitiveParams["randomBits"]> = {
  lower: ({ outputs }) => {
    const n = elementCount(outputs[0]!.shape);
    if (n === 0) return { steps: [] };
    return {
      steps: [
        {
          kernel: { key: "randomBits", entry: "random_bits", source },
          args: [{ input: 0 }, { output: 0 }, n],
          grid: [blocksFor(Math.ceil(n / 2), THREADS), 1, 1],
          block: [THREADS, 1, 1],
        },
      ],
    };
  },
};
