// Memory, recordings and what is held, on a driver that pretends (`pretended-driver.c`).

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { canPretend, PretendedMachine, type Printed } from "./pretended-machine.ts";

describe.skipIf(!canPretend)("on a machine that pretends", () => {
  let machine: PretendedMachine;
  beforeAll(() => void (machine = new PretendedMachine()));
  afterAll(() => machine.close());
  const printed: Printed = (...given) => machine.printed(...given);
  test("memory that is kept makes room for kernels", () => {
    const program = `
      const device = cudaDevice();
      device.upload(new Float32Array(4_000_000), "f32").free();
      await say(() => tensor(new Float32Array([1, 2]), [2], { device }).add(1).data().then(() => "ran"));`;
    expect(printed(program, { PRETEND_BYTES: "24000000", PRETEND_MODULE: "12000000" })).toMatch(
      /^said "ran"/m,
    );
  });

  // A bench that drops nothing: results, compiled functions with recorded graphs and constants, drawn numbers, all of other sizes in every case.
  const CASES = `
    const device = cudaDevice();
    const held = () => { const { live, kept } = device.state().memory; return (live + kept) / 2 ** 20; };
    const casesFrom = async (first, last, between) => {
      let most = 0;
      for (let n = first; n < last; n++) {
        const x = tensor(new Float32Array(1000 * (600 + 17 * n)), [1000, 600 + 17 * n], { device });
        const sums = compile((t) => [t.add(n), t.cumsum(0).mul(t).sum(1)]);
        for (let i = 0; i < 4; i++) for (const y of sums(x)) await between(y);
        most = Math.max(most, held());
      }
      return most;
    };`;

  test.each([
    ["waits", "(y) => y.data()"],
    ["never waits", "() => {}"],
  ])("a process that %s and drops nothing holds few bytes", (_, between) => {
    const program = `${CASES}
      await say(() => casesFrom(0, 60, ${between}));
      device.releaseMemory();
      await say(held);
      await say(() => 2 ** 30 - device.state().memory.free);`;
    const [most, held, used] = printed(program, { PRETEND_BYTES: `${2 ** 30}` })
      .match(/(?<=^said ).*/gm)!
      .map(Number);
    // A case needs some 20 MiB; all together some 1,000.
    expect(most).toBeGreaterThan(20);
    expect(most).toBeLessThan(250);
    expect(held).toBeLessThan(25);
    expect(used! / 2 ** 20).toBeLessThan(25);
  });

  test("recorded programs copy small results, and batches that come at other addresses", () => {
    const program = `
      const device = cudaDevice();
      const weights = tensor(new Float32Array(1_100_000), [1000, 1100], { device });
      const batches = [1, 2, 3].map((n) => tensor(new Float32Array(1100).fill(n), [1100], { device }));
      const sums = compile((w, x) => w.mul(x).cumsum(0).sum(1));
      for (let i = 0; i < 6; i++) { sums(weights, batches[i % 3])[Symbol.dispose](); console.error("ran"); }`;
    const runs = printed(program, { PRETEND_TELLS: "1" }).split("ran\n").slice(0, 6);
    const told = runs.map((run) =>
      run
        .split("\n")
        .filter((line) => /^(launched|copied|replayed|made a graph)$/.test(line))
        .join(", "),
    );
    const launches = told[0]!;
    expect(launches).toMatch(/^launched, launched/);
    expect(told).toEqual([
      launches,
      launches,
      // The batch goes to its place before, the sums leave theirs behind.
      `copied, ${launches}, made a graph, replayed, copied`,
      ...[3, 4, 5].map(() => "copied, replayed, copied"),
    ]);
  });

  test("programs of one launch are given where their operands lie now, recorded ones the same places", () => {
    const program = `
      const device = cudaDevice();
      const addressOf = (t) => t.node.buffer(t.index).address;
      const batches = [1, 2, 3].map((n) => tensor(new Float32Array(1100).fill(n), [1100], { device }));
      const double = compile((x) => x.mul(2));
      let held = [];
      for (let i = 0; i < 12; i++) {
        const x = batches[(i * i) % 3];
        const y = double(x);
        console.error("expected", addressOf(x), addressOf(y));
        // Results come and go, so that they lie at other places in turn.
        held.push(y);
        if (i % 4 === 3) for (const one of held.splice(0, 1 + (i % 3))) one[Symbol.dispose]();
      }`;
    const text = printed(program, { PRETEND_WORDS: "8" });
    const runs = [...text.matchAll(/words (.*)\nexpected (\d+) (\d+)/g)].map(
      ([, words, ...addresses]) => [words!.split(" "), addresses] as const,
    );
    expect(runs.length).toBe(12);
    expect(new Set(runs.map(([, [, y]]) => y)).size).toBeGreaterThan(3);
    for (const [words, addresses] of runs) expect(words).toEqual(expect.arrayContaining(addresses));
  });

  test("a program that ran once holds no places for a recording", () => {
    const program = `
      const device = cudaDevice();
      const sums = compile((t) => [t.cumsum(0).mul(2), t.sum(0)]);
      for (let n = 1; n <= 40; n++) {
        const x = tensor(new Float32Array(10_000 * n), [10 * n, 1000], { device });
        for (const y of [x, ...sums(x)]) y[Symbol.dispose]();
      }
      await say(() => device.state().memory.live);`;
    const [live] = printed(program)
      .match(/(?<=^said ).*/gm)!
      .map(Number);
    // The arena; results of all lengths are 33 MB.
    expect(live).toBeLessThan(4e6);
  });

  test.each([1, 2, 3])("memory that somebody holds is given to nobody else (seed %i)", (seed) => {
    const program = `
      const device = cudaDevice();
      let state = ${seed};
      const random = (n) => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % n;
      const held = [];
      const functions = Array.from({ length: 6 }, (_, k) => compile((t) => [t.cumsum(0).mul(k + 1), t.add(k).sum(0)]));
      const faults = [];
      const refusals = { full: 0 };
      const check = async ({ x, mark }) => {
        const data = await x.data();
        if (data.some((value) => value !== mark)) faults.push("lost " + mark + ", found " + data.find((value) => value !== mark));
      };
      const waiting = [];
      // In functions of their own: this module would hold what its loops named last.
      const call = (what) => {
        const results = functions[random(6)](held[random(held.length)].x);
        if (what === 5) for (const y of results) y[Symbol.dispose]();
        if (what === 6) waiting.push(results[1].data());
      };
      for (let i = 0; i < 1500; i++) {
        try {
          const rows = 1 + random(30);
          const what = random(12);
          if (what < 4) held.push({ mark: i, x: tensor(new Float32Array(rows * 1000).fill(i), [rows, 1000], { device }) });
          else if (what < 7 && held.length) call(what);
          else if (what === 7 && held.length) held.splice(random(held.length), 1)[0].x[Symbol.dispose]();
          else if (what === 8 && held.length > 20) held.splice(0, 10);
          else if (what === 9 && held.length) waiting.push(check(held[random(held.length)]));
          else if (what === 10 && random(10) === 0) functions[random(6)].dispose();
          else if (what === 11 && random(8) === 0) device.releaseMemory();
          if (random(50) === 0) await Promise.all(waiting.splice(0));
        } catch (error) {
          if (!/out of memory|does not fit/.test(error.message)) throw error;
          refusals.full++;
          held.splice(0, 15);
        }
      }
      await Promise.all(waiting);
      await Promise.all(held.splice(0).map(check));
      console.log("faults", JSON.stringify(faults.slice(0, 3)), "refusals", refusals.full);
      for (const f of functions) f.dispose();
      device.releaseMemory();
      console.log("left", device.state().memory.live + device.state().memory.kept);`;
    const text = printed(program, { PRETEND_BYTES: "3000000" });
    expect(text).toMatch(/^faults \[\] refusals \d+$/m);
    expect(text).toMatch(/^left 0$/m);
  });

  test("what is asked back is taken anew by those who go on", () => {
    const program = `
      const device = cudaDevice();
      const x = tensor(new Float32Array(1_000_000).fill(1), [1000, 1000], { device });
      const sums = compile((t) => [t.cumsum(0).mul(t).sum(1), t.sum()]);
      const again = async () => { for (const y of sums(x)) await y.data(); };
      for (let i = 0; i < 3; i++) await again();
      const before = device.state().memory.live;
      await say(() => device.releaseMemory() > 4_000_000);
      await say(() => device.state().memory.live < before - 4_000_000);
      for (let i = 0; i < 3; i++) await again();
      await say(() => device.state().memory.live === before);
      await say(() => x.data().then((d) => d[7]));`;
    expect(printed(program).match(/(?<=^said ).*/gm)).toEqual(["true", "true", "true", "1"]);
  });

  test("a device of one's own gives everything back, and answers no more", () => {
    const program = `
      const free = cudaDevice();
      const before = free.state().memory.free;
      for (let i = 0; i < 20; i++) {
        using device = cudaDevice();
        const x = tensor(new Float32Array(1_000_000), [1000, 1000], { device });
        const sums = compile((t) => [t.cumsum(0).mul(t).sum(1), t.sum()]);
        for (let n = 0; n < 4; n++) for (const y of sums(x)) await y.data();
        if (i === 19) {
          device.dispose();
          await say(() => sums(x));
          await say(() => x.data());
          await say(() => tensor([1], { device }).data());
          for (const ask of ["state", "releaseMemory", "settled"]) await say(() => device[ask]());
        }
      }
      await say(() => before - free.state().memory.free);`;
    const text = printed(program, { PRETEND_TELLS: "1" });
    expect(text.match(/^(said|refused) .*/gm)).toEqual([
      expect.stringMatching(/device is used after it was disposed/),
      expect.stringMatching(/buffer is used after it was freed|device is used after it was disposed/),
      ...Array.from({ length: 4 }, () =>
        expect.stringMatching(/^refused DeviceError .cuda. the device is used after it was disposed/),
      ),
      "said 0",
    ]);
    const count = (what: string): number => text.split(what).length - 1;
    expect(count("made a graph")).toBe(count("dropped a graph"));
    expect(count("dropped a stream")).toBeGreaterThanOrEqual(20);
    expect(count("unloaded a kernel")).toBeGreaterThanOrEqual(40);
  });

  test("a program that cannot be loaded leaves no memory behind", () => {
    const program = `
      const odd = defineOp({ name: "odd-one", shape: ([x]) => [x], reference: ([x], [y]) => y.data.set(x.data), cost: () => ({ flops: 0, bytes: 0 }) });
      const device = cudaDevice();
      const view = { shape: [1000], strides: [1], offset: 0 };
      const operand = (buffer) => ({ buffer, dtype: "f32", view });
      const load = () => device.load({
        buffers: [
          { bytes: 4000, dtype: "f32", role: { kind: "constant", data: new Float32Array(1000) } },
          { bytes: 4000, dtype: "f32", role: { kind: "output", index: 0 } },
        ],
        steps: [{ kind: "fused", def: odd.def, params: {}, inputs: [operand(0)], outputs: [operand(1)] }],
        arenaBytes: 0, inputs: 0, outputs: 1, sites: [undefined], donated: [undefined],
      });
      setStrict(true);
      await say(load);
      console.log("live", device.stats.liveBytes);
      setStrict(false);
      load().dispose();
      console.log("live", device.stats.liveBytes);`;
    const text = printed(program);
    expect(text).toMatch(/no kernel on cuda \(strict mode\)/);
    expect(text.match(/live \d+/g)).toEqual(["live 0", "live 0"]);
  });

  test("graphs are recorded only as long as they are replayed, and dropped with their program", () => {
    const program = `
      const device = cudaDevice();
      const inputs = Array.from({ length: 20 }, () => tensor(new Float32Array(1_100_000), [1000, 1100], { device }));
      const sums = compile((t) => [t.sum(0), t.sum(1)]);
      const run = async (x) => { for (const y of sums(x)) await y.data(); };
      for (let round = 0; round < 5; round++) for (const x of inputs) await run(x);
      console.error("after rounds");
      for (let i = 0; i < 200; i++) await run(inputs[0]);
      for (let i = 0; i < 2; i++) await run(inputs[19]);
      sums.dispose();`;
    const [rounds, later] = printed(program, { PRETEND_TELLS: "1" }).split("after rounds") as [
      string,
      string,
    ];
    const count = (text: string, what: string): number => text.split(what).length - 1;
    // Twenty addresses in turn: those that fit are kept, the others are not recorded again and again.
    expect([count(rounds, "made a graph"), count(rounds, "dropped a graph")]).toEqual([16, 0]);
    expect([count(later, "made a graph"), count(later, "dropped a graph")]).toEqual([1, 17]);
  });

  test.each([
    ["record a program", { PRETEND_GRAPH: "2" }],
    ["replay one", { PRETEND_REPLAY: "2" }],
  ])("a device without room to %s launches, and variables keep their values", (_, environment) => {
    const program = `
      const device = cudaDevice();
      const v = new Variable(tensor(new Float32Array(3000).fill(5), [3, 1000], { device }));
      const step = compile((x) => { v.value = v.value.cumsum(0).add(x); return v.value.sum(1); });
      const x = tensor(new Float32Array(1000), [1000], { device });
      for (let i = 0; i < 6; i++) { step(x)[Symbol.dispose](); console.error("ran"); }
      await say(() => v.value.data().then((d) => d.length));`;
    const text = printed(program, { PRETEND_TELLS: "1", ...environment });
    const runs = text.split("ran\n").slice(0, 6);
    const launches = runs.map((run) => run.split("launched").length - 1);
    const [once] = launches as [number];
    expect(once).toBeGreaterThan(1);
    // The recording launches too; after it nothing is recorded any more.
    expect(launches).toEqual([once, 2 * once, once, once, once, once]);
    expect(text).toMatch(/^said 3000/m);
  });
});
