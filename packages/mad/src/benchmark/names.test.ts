import "@everlong/device-cpu";
import { setDefaultDevice } from "@everlong/core";
import { channelMixers, mixers } from "@everlong/nn";
import { beforeAll, describe, expect, test } from "vitest";
import { parseArchitecture, resolveLayers, shorthandOf } from "./architecture-name.ts";
import { isoState } from "./iso-state.ts";

beforeAll(() => setDefaultDevice("cpu"));

const names = (text: string): unknown[] =>
  parseArchitecture(text).layers.map((l) => (typeof l === "string" ? l : l.layer));

describe("architectures as text", () => {
  test("mad-lab's shorthand, names, and both", () => {
    const four = ["mh-hyena", "swiglu", "mh-attention", "swiglu"];
    expect(names("mH-Sg-mA-Sg")).toEqual(four);
    expect(names("mh-hyena swiglu mh-attention swiglu")).toEqual(four);
    expect(names("mh-hyena-swiglu-mh-attention-swiglu")).toEqual(four);
    expect(names("mH, swiglu, mA, Sg")).toEqual(four);
    expect(names("3*Mb-Sg")).toEqual(["mamba", "mamba", "mamba", "swiglu"]);
    expect(parseArchitecture("mh-hyena swiglu mh-attention swiglu").name).toBe("mH-Sg-mA-Sg");
  });

  test("every registered layer, by name and shorthand, alone and in a row", () => {
    const all = [...mixers, ...channelMixers];
    expect(names(all.map((e) => e.shorthand).join("-"))).toEqual(all.map((e) => e.name));
    expect(names(all.map((e) => e.name).join("-"))).toEqual(all.map((e) => e.name));
    for (const e of all) expect(shorthandOf(resolveLayers(parseArchitecture(e.name)))).toBe(e.shorthand);
  });

  test("options in brackets", () => {
    const made = parseArchitecture("mH(heads=4)-As(window=5:0,causal=true)-H(packing=order-major)");
    expect(made.layers).toEqual([
      { layer: "mh-hyena", options: { heads: 4 } },
      { layer: "sliding-attention", options: { window: [5, 0], causal: true } },
      { layer: "hyena", options: { packing: "order-major" } },
    ]);
    expect(made.name).toBe("mH(heads=4)-As(causal=true,window=5:0)-H(packing=order-major)");
    expect(parseArchitecture(made.name)).toEqual(made);
  });

  test("what is wrong is named, with what was probably meant", () => {
    expect(() => parseArchitecture("mh-hyna swiglu")).toThrow(/Did you mean "mh-hyena"/);
    expect(() => parseArchitecture("mH(head=4)")).toThrow(/Did you mean "heads"/);
    expect(() => parseArchitecture("mH(heads=four)")).toThrow(/must be a number/);
    expect(() => parseArchitecture("As(causal=yes)")).toThrow(/true or false/);
    expect(() => parseArchitecture("mH(heads)")).toThrow(/name=value/);
    expect(() => parseArchitecture("  ")).toThrow();
  });
});

describe("iso-state", () => {
  test("fixed-state layers come to the target together, others stay", () => {
    const { layers, before, after, architecture } = isoState(parseArchitecture("Mb-Sg-mA-mAlg"));
    expect(layers.map((l) => l.kind)).toEqual(["fixed", "none", "grows", "fixed"]);
    // Mamba: 256 inner channels x (4 states + 3 of the short convolution); GLA: 8 heads of 16 x 16.
    expect(before).toBe(256 * 7 + 8 * 16 * 16);
    expect(Math.abs(after - 4096)).toBeLessThan(Math.abs(before - 4096));
    expect(layers[0]!.change).toMatch(/^stateSize 4 -> \d+$/);
    expect(layers[3]!.change).toBeUndefined();
    expect(architecture.layers[2]).toEqual({ layer: "mh-attention", options: {} });
  });

  test("twice the target is reached with twice the state", () => {
    const small = isoState(parseArchitecture("mAlg"), { target: 2048 });
    const large = isoState(parseArchitecture("mAlg"), { target: 4096 });
    expect([small.after, large.after]).toEqual([2048, 4096]);
    expect(large.layers[0]!.change).toBe("heads 8 -> 4");
  });
});
