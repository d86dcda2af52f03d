// The list of what is tested where. A new primitive without an entry does not compile; an entry without a check fails.

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Primitive } from "../primitives.ts";

const testedIn: { readonly [P in Primitive]: string } = {
  data: "",
  full: "structure",
  iota: "structure",
  constant: "structure",
  unary: "elementwise",
  binary: "elementwise",
  compare: "elementwise",
  select: "elementwise",
  cast: "elementwise",
  reshape: "movement",
  permute: "movement",
  expand: "movement",
  slice: "movement",
  pad: "movement",
  concat: "movement",
  reduce: "reduction",
  argReduce: "reduction",
  cumulative: "reduction",
  sort: "reduction",
  gather: "kernel",
  scatter: "kernel",
  matmul: "kernel",
  fft: "fft",
  randomBits: "kernel",
  barrier: "structure",
  recompute: "structure",
  scan: "structure",
  fused: "../define-op",
};

test.each(Object.entries(testedIn).filter(([, file]) => file !== ""))("%s is checked in %s", (name, file) => {
  const text = readFileSync(new URL(`${file}.test.ts`, import.meta.url), "utf8");
  const wanted = name === "fused" ? "checkOp(" : new RegExp(`(subject|record|checkMovement)\\(\\s*"${name}"`);
  expect(text).toMatch(wanted);
});
