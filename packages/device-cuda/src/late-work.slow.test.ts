// What a device may rely on when work is done late, on a driver that pretends (`pretended-driver.c`).

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { canPretend, PretendedMachine, type Printed } from "./pretended-machine.ts";

describe.skipIf(!canPretend)("on a machine that pretends", () => {
  let machine: PretendedMachine;
  beforeAll(() => void (machine = new PretendedMachine()));
  afterAll(() => machine.close());
  const printed: Printed = (...given) => machine.printed(...given);

  test("what was uploaded comes back, however much is under way", () => {
    const program = `
      const device = cudaDevice();
      const wrong = [];
      const tensors = Array.from({ length: 12 }, (_, n) => {
        const data = new Float32Array(300_000 * (n + 1)).fill(n);
        const x = tensor(data, [data.length], { device });
        data.fill(-1);
        return x;
      });
      const downloads = tensors.map((x) => x.data());
      for (const x of tensors.slice(0, 6)) x[Symbol.dispose]();
      // Places of those that are gone, before anybody waited.
      const later = tensors.slice(0, 6).map((_, n) => tensor(new Float32Array(300_000 * (n + 1)).fill(100 + n), [300_000 * (n + 1)], { device }));
      (await Promise.all(downloads)).forEach((data, n) => { if (data.some((x) => x !== n)) wrong.push(n); });
      (await Promise.all(later.map((x) => x.data()))).forEach((data, n) => { if (data.some((x) => x !== 100 + n)) wrong.push(100 + n); });
      await say(() => wrong);`;
    expect(printed(program)).toMatch(/^said \[\]$/m);
  });

  test("a recorded program is recorded again where its temporaries moved", () => {
    const program = `
      const device = cudaDevice();
      const addressOf = (t) => t.node.buffer(t.index).address;
      const x = tensor(new Float32Array(2_000_000), [1000, 2000], { device });
      const sums = compile((t) => t.cumsum(0).mul(t).sum(1));
      const run = async (what) => { console.error(what); const y = sums(x); await say(() => y.data().then((d) => d.length)); y[Symbol.dispose](); };
      for (let i = 0; i < 4; i++) await run("first");
      device.releaseMemory();
      for (let i = 0; i < 4; i++) await run("moved");`;
    const text = printed(program, { PRETEND_TELLS: "1", PRETEND_WORDS: "8" });
    // In the arena that was given back a replay would find nothing.
    expect(text.match(/^(said|refused) .*/gm)).toEqual(Array.from({ length: 8 }, () => "said 1000"));
    const runs = text.split(/^(?=first|moved)/m).filter((run) => /^(first|moved)/.test(run));
    const how = runs.map((run) =>
      /^replayed/m.test(run) ? (/^made a graph/m.test(run) ? "recorded" : "replayed") : "launched",
    );
    const each = ["launched", "recorded", "replayed", "replayed"];
    expect(how).toEqual([...each, ...each]);
  });

  test("a graph that makes room for another, or goes with its program, has run before", () => {
    const program = `
      const device = cudaDevice();
      const inputs = Array.from({ length: 17 }, () => tensor(new Float32Array(1_100_000), [1000, 1100], { device }));
      const sums = compile((t) => [t.sum(0), t.sum(1)]);
      const run = (x) => { for (const y of sums(x)) y[Symbol.dispose](); };
      for (let i = 0; i < 200; i++) for (const x of i < 20 ? inputs.slice(0, 16) : [inputs[0]]) run(x);
      for (let i = 0; i < 3; i++) run(inputs[16]);
      console.error("here");
      await say(() => device.settled().then(() => "settled"));
      run(inputs[16]);
      sums.dispose();
      await say(() => device.settled().then(() => "settled"));`;
    const text = printed(program, { PRETEND_TELLS: "1" });
    expect(text.match(/^(said|refused) .*/gm)).toEqual(Array.from({ length: 2 }, () => 'said "settled"'));
    const [before, after] = text.split("here").map((part) => part.match(/^dropped a graph/gm)?.length);
    expect([before, after]).toEqual([1, 16]);
  });

  test("programs of several streams are recorded whole, and their work is over when results are read", () => {
    const program = `
      const device = cudaDevice();
      const x = tensor(new Float32Array(400_000), [1000, 400], { device });
      const f = compile((t) => [t.cumsum(0), t.sum(0), t.mul(2).sum(1), t.exp().sum(0), t.cumsum(1).mul(t).sum(1), t.max(0)]);
      for (let i = 0; i < 5; i++) {
        const results = f(x);
        await say(() => Promise.all(results.map((y) => y.data())).then((all) => all.map((d) => d.length)));
        for (const y of results) y[Symbol.dispose]();
      }
      f(x);
      device.dispose();`;
    const text = printed(program, { PRETEND_TELLS: "1" });
    expect(text.match(/^(said|refused) .*/gm)).toEqual(
      Array.from({ length: 5 }, () => "said [400000,400,1000,400,1000,400]"),
    );
    expect(text.match(/^dropped a stream/gm)!.length).toBeGreaterThan(2);
    expect(text.match(/^made a graph/gm)).toHaveLength(1);
    expect(text.match(/^replayed/gm)).toHaveLength(5);
    // A device that is disposed waits for what is under way, and leaves nothing behind on the host either.
    const count = (what: string): number => text.split(new RegExp(`^${what}$`, "m")).length - 1;
    expect(count("pinned memory")).toBeGreaterThan(2);
    expect(count("dropped pinned memory")).toBe(count("pinned memory"));
    expect(count("made an event")).toBeGreaterThan(4);
    expect(count("dropped an event")).toBe(count("made an event"));
  });

  test.each([
    ["copies that the driver refuses", { PRETEND_COPY: "700" }, ["tensor", "tensor"]],
    ["work that fails", { PRETEND_BREAKS: "1" }, ["read", "tensor"]],
  ])("%s are told to who asked for them, and to everybody after", (_, environment, where) => {
    const program = `
      const device = cudaDevice();
      for (let i = 0; i < 2; i++) {
        let at = "tensor";
        await say(async () => {
          try {
            const x = tensor(new Float32Array([1, 2]), [2], { device });
            const y = x.add(1);
            at = "read";
            return [...(await y.data())];
          } finally {
            console.log("at", at);
          }
        });
      }`;
    const text = printed(program, environment);
    expect(text.match(/(?<=^at ).*/gm)).toEqual(where);
    expect(text.match(/^refused .*/gm)).toEqual([
      expect.stringMatching(/failed: got CUDA_ERROR_ILLEGAL_ADDRESS.*cannot use the GPU any more/),
      expect.stringMatching(/failed: got CUDA_ERROR_ILLEGAL_ADDRESS/),
    ]);
  });

  test("the NaN switch names the step and the line where the first NaN was made, and nothing else", () => {
    const program = `
      const odd = defineOp({
        name: "odd-root", shape: ([x]) => [x], cost: () => ({ flops: 0, bytes: 0 }),
        reference: ([x], [y]) => { for (let i = 0; i < 4; i++) y.data[i] = Math.sqrt(x.data[i]); },
      });
      const device = cudaDevice();
      for (const last of [9, -9])
        await say(() => compile((t) => odd([odd([t], {})[0]], {})[0])(tensor(new Float32Array([0, 1, 4, last]), [4], { device })).data().then((d) => [...d]));`;
    const watched = printed(program, { EVERLONG_DEBUG: "nan" });
    expect(watched).toMatch(/^said \[0,1,1\.414\d*,1\.732\d*\]$/m);
    expect(watched).toMatch(
      /^refused NumericError \[nan\] step 0 \(odd-root.*\) made the first NaN, at \[3\] of f32\[4\]. It was recorded at /m,
    );
    expect(printed(program)).toMatch(/^said \[0,1,1\.414\d*,null\]$/m);
  });
});
