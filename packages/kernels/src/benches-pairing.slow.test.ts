// Every op's kernels under V8's revectorizer, in a process of its own: all pairs fuse, and not one bit changes.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { benches } from "./benches.ts";

const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);

const script = `
const { prepare, contiguous } = await import(${url("./wasm-step-runner.ts")});
const { wasmSources } = await import(${url("./wasm.ts")});
const { benches } = await import(${url("./benches.ts")});
let seed = 5;
const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
const draw = ({ shape, dtype = "f32", below, values, range = [-1, 1], made }) => {
  if (made) return { view: contiguous(shape), data: prepared(made.op, made.params, made.inputs).outputs[0].slice() };
  const size = shape.reduce((a, b) => a * b, 1);
  if (values) return { view: { ...contiguous(shape), dtype }, data: new Float32Array(Int32Array.from(values).buffer) };
  const data = below === undefined
    ? Float32Array.from({ length: size }, () => range[0] + (range[1] - range[0]) * random())
    : new Float32Array(Int32Array.from({ length: size }, () => Math.floor(below * random())).buffer);
  return { view: { ...contiguous(shape), dtype }, data };
};
const prepared = (op, params, list) => {
  const types = list.map((i) => ({ shape: i.shape, dtype: i.dtype ?? "f32" }));
  const outputs = op.def.shape(types, params).map((o) => o.shape);
  const run = prepare(wasmSources[op.def.name], list.map(draw), outputs, params, { width: 2, relaxed: true });
  run.run();
  return run;
};
for (const { name, op, small, params } of benches) {
  const run = prepared(op, params, small);
  let h = 0;
  for (const o of run.outputs) for (const x of new Int32Array(o.slice().buffer)) h = (Math.imul(h, 31) + x) | 0;
  console.log("HASH", name.replaceAll(" ", "_"), h, run.outputs.every((o) => o.every(Number.isFinite)));
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
  const plain = await output();
  const fused = await output(
    "--experimental-wasm-revectorize",
    "--trace-wasm-revectorize",
    "--single-threaded",
  );
  expect(hashes(plain).length).toBe(benches.length);
  expect(hashes(plain).filter((line) => !line.endsWith("true"))).toEqual([]);
  expect(hashes(fused)).toEqual(hashes(plain));
  const decisions = [...fused.matchAll(/Save: (\d+), cost: (\d+)/g)].map(
    (m) => [Number(m[1]), Number(m[2])] as const,
  );
  // Transposes of rows pack their loads from two addresses, eight a group. V8 may keep one or two loaded halves in a phi of a
  // loop, which costs an extraction each. Nothing else may cost anything.
  const excused = ([save, cost]: readonly [number, number]): boolean =>
    (cost % 8 === 0 && save > cost) || (cost <= 2 && save > 40 * cost);
  expect(decisions.filter(([save, cost]) => save > 0 && cost > 0 && !excused([save, cost]))).toEqual([]);
}, 300_000);
