import { expect, test } from "vitest";
import { commandLine, fieldWords, optionWords } from "./command-line.ts";
import type { Field } from "./fields.ts";

const FIELDS: readonly Field[] = [
  { name: "task", kind: "text", default: "CR", describe: "t" },
  { name: "layers", kind: "texts", default: ["H"], describe: "l" },
  { name: "trainRows", kind: "count", describe: "r" },
  { name: "wait", kind: "flag", default: true, describe: "w" },
  { name: "out", kind: "text", describe: "o" },
];

test("what is no default is said, so that the line repeats the run", () => {
  const values = { task: "CR", layers: ["mA(heads=4)", "Sg"], trainRows: 1280, wait: false, out: "läufe" };
  const words = fieldWords(FIELDS, values, { always: ["task"], never: ["out"] });
  expect(commandLine(["run", ...words], {})).toBe(
    'everlong mad run --task CR --layers "mA(heads=4)" Sg --train-rows 1280 --no-wait',
  );
  expect(fieldWords(FIELDS, { task: "CR", layers: ["H"], wait: true }, {})).toEqual([]);
});

test("words that a shell would change are quoted, other devices are named", () => {
  const words = optionWords("settings", ["CR/*", "a b", "it's $x"]);
  expect(commandLine(["report", ...words], { device: "cuda" })).toBe(
    `everlong --device cuda mad report --settings "CR/*" "a b" 'it'\\''s $x'`,
  );
  expect(optionWords("suite", undefined)).toEqual([]);
});
