// The complex discrete Fourier transform of any length: its passes and tables.

import type { PrimitiveParams } from "@everlong/core";
import type { WasmSource } from "@everlong/kernels/wasm";
import type { ArgWord, WasmTable } from "../kernel-step.ts";
import { buildFft, RADICES } from "./fft-codegen.ts";

interface Pass {
  readonly radix: number;
  readonly groups: number;
  readonly stride: number;
  /** Byte offset of its twiddles. */
  readonly twiddles: number;
}

/** The passes of a transform of `n` points, largest radix first; undefined when a prime other than 2, 3, 5 divides n. */
export function passesOf(n: number): Pass[] | undefined {
  const passes: Pass[] = [];
  let left = n;
  let stride = 1;
  let twiddles = 0;
  while (left > 1) {
    const radix = RADICES.find((r) => left % r === 0);
    if (radix === undefined) return undefined;
    const groups = left / radix;
    passes.push({ radix, groups, stride, twiddles });
    twiddles += 8 * (radix - 1) * groups;
    stride *= radix;
    left = groups;
  }
  return passes;
}

/** cos and sin of 2 pi k / n, the angle brought to the first turn first. */
function root(k: number, n: number): [number, number] {
  const angle = (2 * Math.PI * (k % n)) / n;
  return [Math.cos(angle), Math.sin(angle)];
}

function twiddleTable(n: number, passes: readonly Pass[]): WasmTable {
  const bytes = passes.reduce((sum, p) => sum + 8 * (p.radix - 1) * p.groups, 0);
  return {
    key: `cpu fft ${n}`,
    bytes: Math.max(8, bytes),
    fill: (memory, start) => {
      let at = start;
      for (const { radix, groups } of passes) {
        for (let p = 0; p < groups; p++) {
          for (let k = 1; k < radix; k++) {
            const [c, s] = root(p * k, radix * groups);
            memory.setFloat32(at, c, true);
            memory.setFloat32(at + 4, -s, true);
            at += 8;
          }
        }
      }
    },
  };
}

/** exp(-i pi k^2 / n) (sign -1) or its conjugate. */
const chirpAt = (k: number, n: number, sign: number): [number, number] => {
  // k^2 mod 2n without leaving the exact integers.
  const [c, s] = root(Number((BigInt(k) * BigInt(k)) % BigInt(2 * n)), 2 * n);
  return [c, sign * s];
};

function complexTable(
  key: string,
  count: number,
  value: (k: number) => readonly [number, number],
): WasmTable {
  return {
    key,
    bytes: 8 * count,
    fill: (memory, at) => {
      for (let k = 0; k < count; k++) {
        const [re, im] = value(k);
        memory.setFloat32(at + 8 * k, re, true);
        memory.setFloat32(at + 8 * k + 4, im, true);
      }
    },
  };
}

/** In-place float64 transform of a power of two, for tables. */
function hostFft(re: Float64Array, im: Float64Array): void {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j]!, re[i]!];
      [im[i], im[j]] = [im[j]!, im[i]!];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    for (let k = 0; k < size / 2; k++) {
      const [c, s] = root(k, size);
      for (let at = k; at < n; at += size) {
        const other = at + size / 2;
        const [x, y] = [re[other]! * c + im[other]! * s, im[other]! * c - re[other]! * s];
        [re[other], im[other]] = [re[at]! - x, im[at]! - y];
        re[at]! += x;
        im[at]! += y;
      }
    }
  }
}

/** The transform of the chirp exp(i pi k^2 / n), wrapped around at `length` and divided by it. */
function spectrumTable(n: number, length: number): WasmTable {
  return {
    key: `cpu fft chirp spectrum ${n}`,
    bytes: 8 * length,
    fill: (memory, at) => {
      const [re, im] = [new Float64Array(length), new Float64Array(length)];
      for (let k = 0; k < n; k++) {
        [re[k], im[k]] = chirpAt(k, n, 1);
        if (k > 0) [re[length - k], im[length - k]] = chirpAt(k, n, 1);
      }
      hostFft(re, im);
      for (let k = 0; k < length; k++) {
        memory.setFloat32(at + 8 * k, re[k]! / length, true);
        memory.setFloat32(at + 8 * k + 4, im[k]! / length, true);
      }
    },
  };
}

/** `(re, im) -> (re, im)` over the last axis, unscaled. */
export const fft: WasmSource<PrimitiveParams["fft"]> = {
  lower: ({ inputs, params: { inverse } }, target) => {
    const { shape, dtype } = inputs[0]!;
    if (dtype !== "f32") return "transforms f32 only";
    const n = shape[shape.length - 1]!;
    const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
    if (rows * n === 0) return { steps: [] };
    const direct = passesOf(n);
    const length = direct ? n : 2 ** Math.ceil(Math.log2(2 * n - 1));
    const passes = direct ?? passesOf(length)!;
    const tables = [twiddleTable(length, passes)];
    if (!direct) {
      tables.push(
        complexTable(`cpu fft chirp ${n}`, n, (k) => chirpAt(k, n, -1)),
        spectrumTable(n, length),
        complexTable(`cpu fft chirp back ${n}`, n, (k) => chirpAt(k, n, 1)),
      );
    }
    // The inverse is the forward transform with real and imaginary parts exchanged on both sides.
    const [re, im] = inverse ? [1, 0] : [0, 1];
    const chirps: ArgWord[] = direct ? [0, 0, 0] : [{ table: 1 }, { table: 2 }, { table: 3 }];
    const lanes = 4 * target.width;
    const units = Math.ceil(rows / lanes);
    return {
      steps: [
        {
          kernel: { key: "fft", build: buildFft },
          entry: "fft",
          args: [
            { input: re },
            { input: im },
            { output: re },
            { output: im },
            rows,
            n,
            length,
            passes.length,
            { table: 0 },
            ...chirps,
            ...passes.flatMap((p) => [p.radix, p.groups, p.stride, p.twiddles]),
          ],
          units,
          grain: Math.max(1, Math.floor(2048 / length)),
          scratchBytes: 2 * 8 * lanes * length,
          tables,
        },
      ],
    };
  },
};
