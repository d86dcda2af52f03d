import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { supportsRelaxedSimd, supportsSimd, testPairing } from "./probe.ts";

describe("probe", () => {
  test("this engine has SIMD and relaxed SIMD", () => {
    expect([supportsSimd(), supportsRelaxedSimd()]).toEqual([true, true]);
  });

  test("the self-test finds single vectors and pairs equal in bits", () => {
    const result = testPairing();
    expect(result.exact).toBe(true);
    expect(result.paired).toBe(result.speedup > 1);
  });

  test("the self-test's kernel pairs fully where the revectorizer is on", () => {
    const script = `
      const { testPairing } = await import(${JSON.stringify(new URL("./probe.ts", import.meta.url).href)});
      console.log("RESULT", JSON.stringify(testPairing()));`;
    const flags = ["--experimental-wasm-revectorize", "--trace-wasm-revectorize", "--no-liftoff"];
    const output = execFileSync(process.execPath, [...flags, "--input-type=module", "-e", script], {
      encoding: "utf8",
      maxBuffer: 1 << 26,
    });
    const result = JSON.parse(/RESULT (.*)/.exec(output)![1]!) as { exact: boolean };
    expect(result.exact).toBe(true);
    // an engine without AVX2 never enters the pass
    const decisions = [...output.matchAll(/Save: (\d+), cost: (\d+)/g)].map((m) => [
      Number(m[1]),
      Number(m[2]),
    ]);
    for (const [save, cost] of decisions) if (save! > 0) expect(cost).toBe(0);
  });
});
