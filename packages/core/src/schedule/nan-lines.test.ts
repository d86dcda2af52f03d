import { afterEach, expect, test } from "vitest";
import { compile, device, setDebug, tensor, withDevice, type Tensor } from "../index.ts";

afterEach(() => setDebug());

test("looking for NaN, every operation is a step that knows its line", async () => {
  setDebug("nan");
  await withDevice(device("reference"), async () => {
    const sites: (string | undefined)[] = [];
    const reference = device("reference");
    const load = reference.load.bind(reference);
    reference.load = (program) => {
      sites.push(...program.sites);
      return load(program);
    };
    try {
      const f = compile((x: Tensor) => {
        const y = x.add(1);
        const z = y.log();
        return z.sum();
      });
      await f(tensor([1, -5])).data();
    } finally {
      reference.load = load;
    }
    const lines = sites.map((s) => Number(/nan-lines\.test\.ts:(\d+)/.exec(s ?? "")?.[1]));
    expect(lines.length).toBe(3);
    expect(lines[1]! - lines[0]!).toBe(1);
    expect(lines[2]! - lines[1]!).toBe(1);
  });
});
