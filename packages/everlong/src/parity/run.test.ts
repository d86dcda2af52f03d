import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import "@everlong/device-cpu";
import { afterAll, expect, test } from "vitest";
import { compareDocument, relativeL2 } from "./compare.ts";
import { globFilter } from "./case.ts";
import { runParity, type CaseReport } from "./run.ts";

const golden = fileURLToPath(new URL("../../fixtures/golden/", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "everlong-parity-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function reports(folder: string, only: string, device: string): Promise<CaseReport[]> {
  const out: CaseReport[] = [];
  await runParity(folder, { only, device }, (r) => out.push(r));
  return out;
}

const SMALL =
  "mad_mlp*,mad_swiglu,mad_attention_rotary,hyena_safari_o2_blocks2,fftconv_circular_L100,mad_task_compression,epoxy_cosine";

test.each(["cpu", "reference"])("small committed cases pass on %s", async (device) => {
  const all = await reports(golden, SMALL, device);
  expect(all.map((r) => [r.case, r.status])).toEqual(all.map((r) => [r.case, "pass"]));
  expect(all.length).toBe(8);
});

test("float64 is compared far below float32's rounding", async () => {
  const [r] = await reports(golden, "mad_swiglu", "reference");
  expect(r!.tolerance).toBe(1e-9);
  expect(r!.error).toBeLessThan(1e-12);
});

test("a changed number fails, an unknown class is unsupported, a broken file is an error", async () => {
  for (const ending of ["json", "safetensors"]) {
    cpSync(join(golden, `mad_mlp.${ending}`), join(scratch, `changed.${ending}`));
    cpSync(join(golden, `mad_mlp.${ending}`), join(scratch, `unknown.${ending}`));
    cpSync(join(golden, `mad_mlp.${ending}`), join(scratch, `broken.${ending}`));
  }
  const tensors = readFileSync(join(scratch, "changed.safetensors"));
  const header = JSON.parse(tensors.subarray(8, 8 + Number(tensors.readBigUInt64LE(0))).toString()) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  const at = 8 + Number(tensors.readBigUInt64LE(0)) + header["state.proj.weight"]!.data_offsets[0];
  tensors.writeFloatLE(tensors.readFloatLE(at) + 0.01, at);
  writeFileSync(join(scratch, "changed.safetensors"), tensors);
  const json = JSON.parse(readFileSync(join(scratch, "unknown.json"), "utf8")) as object;
  writeFileSync(join(scratch, "unknown.json"), JSON.stringify({ ...json, cls: "some.other.Class" }));
  writeFileSync(join(scratch, "broken.safetensors"), tensors.subarray(0, 100));
  const all = await reports(scratch, "*", "reference");
  expect(all.map((r) => [r.case, r.status])).toEqual([
    ["broken", "fail"],
    ["changed", "fail"],
    ["unknown", "unsupported"],
  ]);
  expect(all[0]!.note).toContain("broken.safetensors");
});

test("a case without its numbers says so", async () => {
  const folder = mkdtempSync(join(scratch, "bare-"));
  cpSync(join(golden, "fftconv_circular_L100.json"), join(folder, "bare.json"));
  const [r] = await reports(folder, "bare", "reference");
  expect(r!.note).toMatch(/^\[parity\] the inputs do not fit the class: got no inputs/);
});

test("globs", () => {
  const keep = globFilter("hyena_*,mad_?lp");
  expect(["hyena_a", "mad_mlp", "mad_xmlp", "xhyena_"].map(keep)).toEqual([true, true, false, false]);
});

test("relative L2 is absolute near zero, and NaN only equals NaN", () => {
  expect(relativeL2([1, 2.2], [1, 2])).toBeCloseTo(0.2 / Math.sqrt(5), 12);
  expect(relativeL2([1e-13], [0])).toBe(1e-13);
  expect(relativeL2([Number.NaN], [1])).toBe(Number.POSITIVE_INFINITY);
  expect(relativeL2([Number.NaN, 1], [Number.NaN, 1])).toBe(0);
});

test("documents are compared key by key of ours", () => {
  const worst = (a: unknown, b: unknown): boolean => compareDocument(a, b, 1e-9).every((d) => d.ok);
  expect(worst({ x: [1, 2] }, { x: [1, 2 + 1e-12], meta: "kept out" })).toBe(true);
  expect(worst({ x: [1, 2] }, { x: [1, 2.1] })).toBe(false);
  expect(worst({ x: { y: 1 } }, { x: { y: 1, z: 2 } })).toBe(false);
});
