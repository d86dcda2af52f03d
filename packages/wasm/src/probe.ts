// What the engine can do, found by asking it: relaxed SIMD by validation, the revectorizer by a few milliseconds of work.

import { MAX_MEMORY_PAGES, ModuleBuilder } from "./module-builder.ts";
import type { Target, Vec } from "./values.ts";

/** Whether the engine accepts fixed-width SIMD and shared memories at all; nothing here runs without them. */
export function supportsSimd(): boolean {
  return validates({ width: 1, relaxed: false });
}

/** Whether the engine accepts relaxed SIMD (fused multiply-add). */
export function supportsRelaxedSimd(): boolean {
  return validates({ width: 1, relaxed: true });
}

function validates(target: Target): boolean {
  const module = new ModuleBuilder(target);
  module.define("probe", { params: ["i32"] }, (f, at) => {
    const x = f.mem.vec.load(at);
    f.mem.vec.store(at, 0, f.f32x4.madd(x, x, x));
  });
  return WebAssembly.validate(module.bytes());
}

/** Outcome of {@link testPairing}. */
export interface PairingTest {
  /** Whether pairs are worth emitting: they gave the right bits and ran faster than single vectors. */
  readonly paired: boolean;
  /** Time of single vectors over time of pairs for the same bytes: about 1.5-1.8 when paired, 0.4-0.6 when not. */
  readonly speedup: number;
  /** Whether pairs and single vectors agreed bit for bit. */
  readonly exact: boolean;
  readonly milliseconds: number;
}

/** Bytes the self-test works on. */
const TEST_BYTES = 8192;
const TEST_AT = 4096;

/**
 * The self-test's kernel: length-4 transforms in place of (re, im) vectors of `parts` v128 from `at` to `end`. Both widths live in
 * one function, so that the engine optimises them at the same moment.
 */
function defineTestKernel(module: ModuleBuilder): void {
  module.define("test", { params: ["i32", "i32", "i32"], exported: true }, (f, at, end, single) => {
    const loop = (parts: number): void => {
      const half = 16 * parts;
      const { add, sub, mul } = f.f32x4;
      f.sweep(at, end, [[at, 8 * half]], () => {
        const load = (slot: number): Vec => f.mem.vec.load(at, slot * half, parts);
        const [ar, ai, br, bi] = [load(0), load(1), load(2), load(3)];
        const [cr, ci, dr, di] = [load(4), load(5), load(6), load(7)];
        const [s0r, s0i, s1r, s1i] = [add(ar, cr), add(ai, ci), sub(ar, cr), sub(ai, ci)];
        const [s2r, s2i, s3r, s3i] = [add(br, dr), add(bi, di), sub(br, dr), sub(bi, di)];
        const out = [add(s0r, s2r), add(s0i, s2i), add(s1r, s3i), sub(s1i, s3r)];
        out.push(sub(s0r, s2r), sub(s0i, s2i), sub(s1r, s3i), add(s1i, s3r));
        // halved, so that many rounds stay finite
        const halved = out.map((v) => mul(v, 0.5));
        // even slots first: stores in between keep neighbouring slots of the single-vector form from pairing by chance
        for (const odd of [0, 1]) for (let k = odd; k < 8; k += 2) f.mem.vec.store(at, k * half, halved[k]!);
      });
    };
    f.if(
      single,
      () => loop(1),
      () => loop(2),
    );
  });
}

/**
 * Asks the engine whether it fuses pairs of vectors (V8's revectorizer), by speed and by bits: 5 to 10 ms, more on a
 * busy machine. Call it after the engine flag is set; code compiled before keeps its state.
 */
export function testPairing(): PairingTest {
  const started = performance.now();
  const memory = new WebAssembly.Memory({ initial: 2, maximum: MAX_MEMORY_PAGES, shared: true });
  const module = new ModuleBuilder({ width: 2, relaxed: false });
  defineTestKernel(module);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.bytes()), { env: { memory } });
  const test = instance.exports["test"] as (at: number, end: number, single: number) => void;
  const run = (single: number): void => test(TEST_AT, TEST_AT + TEST_BYTES, single);
  const view = new Float32Array(memory.buffer, TEST_AT, TEST_BYTES / 4);
  const agrees = (single: number): boolean => {
    for (let k = 0; k < view.length; k++) view[k] = Math.fround(Math.sin(k) * 3);
    const want = view.map((_, k) => testValue(view, k, single === 1 ? 4 : 8));
    run(single);
    return want.every((w, k) => Object.is(w, view[k]));
  };

  const best: [number, number] = [Infinity, Infinity];
  // optimised code arrives in the background; until then the ratio lies between the two answers
  let settled = 0;
  for (let round = 0; settled < 10 && performance.now() - started < 80; round++) {
    for (const single of [0, 1] as const) {
      const start = performance.now();
      for (let k = 0; k < 10; k++) run(single);
      best[single] = Math.min(best[single], performance.now() - start);
    }
    const ratio = best[1] / best[0];
    settled = round >= 40 && (ratio < 0.75 || ratio > 1.25) ? settled + 1 : 0;
  }
  const exact = agrees(0) && agrees(1);
  const speedup = best[1] / best[0];
  return { paired: exact && speedup > 1, speedup, exact, milliseconds: performance.now() - started };
}

// Element `k` of what the test kernel must give for the data in `view`.
function testValue(view: Float32Array, k: number, lanes: 4 | 8): number {
  const block = k - (k % (8 * lanes));
  const lane = k % lanes;
  const slot = Math.floor((k - block) / lanes);
  const at = (element: number, imaginary: number): number =>
    view[block + (2 * element + imaginary) * lanes + lane]!;
  const fr = Math.fround;
  const [element, imaginary] = [slot >> 1, slot & 1];
  const sign = element >= 2 ? -1 : 1;
  if (element % 2 === 0) {
    const first = fr(at(0, imaginary) + at(2, imaginary));
    const second = fr(at(1, imaginary) + at(3, imaginary));
    return fr(fr(first + sign * second) * 0.5);
  }
  const first = fr(at(0, imaginary) - at(2, imaginary));
  const second = fr(at(1, 1 - imaginary) - at(3, 1 - imaginary));
  return fr(fr(first + (imaginary === 0 ? sign : -sign) * second) * 0.5);
}
