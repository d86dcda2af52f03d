// The kernels under V8's revectorizer, in a process of its own: every pair must fuse, and not one bit may change.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);

const script = `
const { prepare, contiguous } = await import(${url("./wasm-step-runner.ts")});
const { linearWasm, matmulWasm } = await import(${url("./matmul/wasm.ts")});
const { fftConvFilterGradWasm, fftConvWasm } = await import(${url("./fft-conv/wasm.ts")});
let seed = 5;
const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1;
const input = (...shape) => ({
  view: contiguous(shape),
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, random),
});
const target = { width: 2, relaxed: true };
const hash = (name, source, inputs, shape, params) => {
  const run = prepare(source, inputs, shape, params, target);
  for (let i = 0; i < 3; i++) run.run();
  let h = 0;
  for (const o of run.outputs) for (const x of new Int32Array(o.slice().buffer)) h = (Math.imul(h, 31) + x) | 0;
  console.log("HASH", name, h, Number.isFinite(run.outputs[0].reduce((a, b) => a + b, 0)));
};
hash("matmul", matmulWasm, [input(37, 300), input(300, 50)], [[37, 50]], {});
hash("long", matmulWasm, [input(20, 4100), input(4100, 50)], [[20, 50]], {});
hash("dots", linearWasm, [input(2, 300), input(70, 300)], [[2, 70]], { activation: "none", inputs: ["x", "w"] });
for (const activation of ["relu", "silu", "gelu", "gelu-tanh"])
  hash(activation, linearWasm, [input(20, 30), input(40, 30), input(40)], activation === "relu" ? [[20, 40]] : [[20, 40], [20, 40]],
    { activation, inputs: ["x", "w", "bias"] });
for (const layout of ["bdl", "bld"])
  for (const length of [16, 24, 40, 48, 80, 128, 1000]) {
    const seq = layout === "bdl" ? [2, 19, length] : [2, length, 19];
    const filter = layout === "bdl" ? [19, length] : [length, 19];
    const shared = { layout, circular: false, origin: 0 };
    for (const adjoint of [false, true])
      hash(["conv", layout, length, adjoint].join(), fftConvWasm, [input(...seq), input(...filter), input(...seq), input(...seq)], [seq],
        { ...shared, adjoint, inputs: ["u", "k", "preGate", "postGate"] });
    hash(["grad", layout, length].join(), fftConvFilterGradWasm, [input(...seq), input(...seq)], [filter],
      { ...shared, taps: length, inputs: ["u", "dy"] });
    hash(["circular", layout, length].join(), fftConvWasm, [input(...seq), input(...filter)], [seq],
      { layout, circular: true, origin: 0, adjoint: false, inputs: ["u", "k"] });
  }
`;

const run = promisify(execFile);

async function output(...flags: string[]): Promise<string> {
  const common = ["--conditions=everlong-source", "--no-liftoff", "--no-wasm-lazy-compilation"];
  const args = [...common, ...flags, "--input-type=module", "-e", script];
  return (await run(process.execPath, args, { encoding: "utf8", maxBuffer: 1 << 28 })).stdout;
}

// the trace may share a line with a result
const hashes = (text: string): string[] =>
  [...text.matchAll(/HASH \S+ -?\d+ (?:true|false)/g)].map((m) => m[0]);

test("same bits with and without fused pairs, and no pair is left unfused", async () => {
  const [plain, fused] = await Promise.all([
    output(),
    output("--experimental-wasm-revectorize", "--trace-wasm-revectorize", "--single-threaded"),
  ]);
  expect(hashes(plain).length).toBe(63);
  expect(hashes(plain).every((line) => line.endsWith("true"))).toBe(true);
  expect(hashes(fused)).toEqual(hashes(plain));
  // an engine without AVX2 never enters the pass; where it does, no half may be used on its own
  const decisions = [...fused.matchAll(/Save: (\d+), cost: (\d+)/g)].map(
    (m) => [Number(m[1]), Number(m[2])] as const,
  );
  // Transposes of rows pack their loads from two addresses, eight a group. V8 may keep one or two loaded halves in a phi of a
  // loop, which costs an extraction each. Nothing else may cost anything.
  const excused = ([save, cost]: readonly [number, number]): boolean =>
    (cost % 8 === 0 && save > cost) || (cost <= 2 && save > 40 * cost);
  expect(decisions.filter(([save, cost]) => save > 0 && cost > 0 && !excused([save, cost]))).toEqual([]);
}, 300_000);
