import { random, tensor, Variable, type Tensor } from "@everlong/core";
import { describe, expect, test } from "vitest";
import {
  buffer,
  buffers,
  hintsOf,
  loadState,
  namedVariables,
  parameter,
  parameterCount,
  parameters,
  stateDict,
  visit,
} from "./layer.ts";
import { Linear } from "./layers/linear.ts";

class Sine {
  readonly freq: Variable = parameter(tensor([1, 2]), { weightDecay: 0 });
}

class Model {
  readonly inProj: Linear;
  readonly layers: readonly (Linear | Sine)[];
  readonly table: Variable = buffer(tensor([5]));
  readonly plain: Tensor = tensor([7]);
  readonly options: { readonly dim: number } = { dim: 2 };

  constructor() {
    const [a, b, c] = random.splitKey(random.key(1), 3) as [Tensor, Tensor, Tensor];
    const shared = new Sine();
    this.inProj = new Linear({ key: a, inputs: 3, outputs: 2 });
    this.layers = [
      new Linear({ key: b, inputs: 2, outputs: 2, bias: false }),
      shared,
      new Linear({ key: c, inputs: 2, outputs: 2 }),
      shared,
    ];
  }
}

describe("names", () => {
  test("follow the fields, shared variables once", () => {
    const model = new Model();
    const names = namedVariables(model).map((v) => v.name);
    expect(names.sort()).toEqual([
      "in_proj.bias",
      "in_proj.weight",
      "layers.0.weight",
      "layers.1.freq",
      "layers.2.bias",
      "layers.2.weight",
      "table",
    ]);
    expect(namedVariables(model).find((v) => v.name === "layers.1.freq")!.aliases).toEqual(["layers.3.freq"]);
    expect([...buffers(model).keys()]).toEqual(["table"]);
    expect(parameters(model).has("table")).toBe(false);
    expect(parameterCount(model)).toBe(6 + 2 + 4 + 2 + 4 + 2);
  });

  test("a module that holds itself ends", () => {
    const loop: { self?: unknown; weight: Variable } = { weight: parameter(tensor([1])) };
    loop.self = loop;
    expect([...parameters(loop).keys()]).toEqual(["weight"]);
  });

  test("hints stay with the variable", () => {
    const model = new Model();
    expect(hintsOf(parameters(model).get("layers.1.freq")!)).toEqual({ weightDecay: 0 });
    expect(hintsOf(parameters(model).get("in_proj.weight")!)).toEqual({});
  });

  test("visit meets a shared part once", () => {
    let sines = 0;
    visit(new Model(), Sine, () => sines++);
    expect(sines).toBe(1);
  });
});

describe("loadState", () => {
  test("carries a state over to another model", async () => {
    const [from, to] = [new Model(), new Model()];
    parameters(from).get("layers.1.freq")!.value = tensor([3, 4]);
    loadState(to, stateDict(from));
    expect(await (to.layers[3] as Sine).freq.value.toArray()).toEqual([3, 4]);
  });

  test("takes a shared variable under any of its names, and renames", async () => {
    const model = new Model();
    const state = new Map(
      [...stateDict(new Model())].map(([k, v]) => [
        k === "layers.1.freq" ? "x.layers.3.freq" : `x.${k}`,
        k === "layers.1.freq" ? tensor([8, 9]) : v,
      ]),
    );
    loadState(model, state, { rename: (name) => name.slice(2) });
    expect(await (model.layers[1] as Sine).freq.value.toArray()).toEqual([8, 9]);
  });

  test("names what is missing and what is unexpected, and sets nothing", async () => {
    const model = new Model();
    const before = await model.table.value.toArray();
    const state = stateDict(new Model());
    state.delete("table");
    state.set("in_prj.weight", tensor([1]));
    state.set("layers.1.freq", tensor([30, 40]));
    const load = (): unknown => loadState(model, state);
    expect(load).toThrow(
      /missing table; unexpected in_prj\.weight.*"in_prj\.weight" is close to "in_proj\.weight"/,
    );
    expect(await model.table.value.toArray()).toEqual(before);
    expect(await (model.layers[1] as Sine).freq.value.toArray()).toEqual([1, 2]);
    expect(loadState(model, state, { strict: false })).toEqual({
      missing: ["table"],
      unexpected: ["in_prj.weight"],
    });
  });

  test("refuses another shape", () => {
    const state = stateDict(new Model());
    state.set("in_proj.weight", tensor([1, 2, 3]));
    expect(() => loadState(new Model(), state)).toThrow(
      /"in_proj\.weight" has another shape: expected \[2, 3\], got \[3\]/,
    );
  });
});
