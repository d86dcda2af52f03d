import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");

test("the README's sample is the example that the type check compiles", () => {
  const [, block] = /```ts\n([\s\S]*?)```/.exec(read("../../../README.md")) ?? [];
  expect(block).toBe(read("../examples/recall.ts"));
});
