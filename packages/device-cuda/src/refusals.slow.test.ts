// What a user reads when something is missing, too old or too small, on a driver that pretends (`pretended-driver.c`).

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const hasCompiler = spawnSync("cc", ["--version"]).status === 0;
const folder = mkdtempSync(join(tmpdir(), "everlong-pretended-"));
const library = join(folder, "libcuda.so.1");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const PROGRAM = `
import { compile, defineOp, matmul, setStrict, tensor, Variable, zeros } from "@everlong/core";
import { cudaDevice } from "@everlong/device-cuda";
import { fftConv } from "@everlong/kernels";
const say = async (work) => {
  try {
    console.log("said", JSON.stringify(await work()));
  } catch (error) {
    console.log("refused", error.constructor.name, error.message);
  }
};
`;

/** What a program prints on the pretended machine. */
function printed(program: string, environment: Readonly<Record<string, string>> = {}): string {
  const source = fileURLToPath(new URL("./index.ts", import.meta.url));
  const args = ["--conditions=everlong-source", "--input-type=module-typescript", "-e", PROGRAM + program];
  const { stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: "utf8",
    cwd: join(source, "..", ".."),
    env: {
      ...process.env,
      LD_LIBRARY_PATH: folder,
      EVERLONG_NVRTC: library,
      EVERLONG_CUBLAS: "off",
      EVERLONG_CACHE: join(folder, "cache"),
      ...environment,
    },
  });
  return stdout + stderr;
}

describe.skipIf(!hasCompiler)("on a machine that pretends", () => {
  beforeAll(() => {
    const from = fileURLToPath(new URL("./pretended-driver.c", import.meta.url));
    execFileSync("cc", ["-shared", "-fPIC", "-w", "-o", library, from]);
  });
  const open = "await say(() => cudaDevice().state());";

  test("the device opens", () => {
    expect(printed(open)).toMatch(
      /^said .*"gpu":"Pretended GPU","capability":"9.0","driver":"13.0","nvrtc":"13.0","cublas":false/,
    );
  });

  test.each([
    [
      "an old driver",
      { PRETEND_VERSION: "11080" },
      /the driver is too old: expected CUDA 12.0 or newer, got CUDA 11.8/,
    ],
    [
      "an old GPU",
      { PRETEND_MAJOR: "7" },
      /the GPU is too old: expected compute capability 8.0 \(Ampere\) or newer, got 7 \(Pretended GPU\)/,
    ],
    [
      "no GPU, at once",
      { PRETEND_INIT: "100" },
      /^refused DeviceError \[cuda\] the driver sees no GPU. CUDA_VISIBLE_DEVICES may hide it/,
    ],
    [
      "no GPU",
      { PRETEND_GPUS: "0" },
      /there is no such GPU: expected a GPU; the driver sees none, got 0. CUDA_VISIBLE_DEVICES may hide it/,
    ],
    [
      "no NVRTC",
      { EVERLONG_NVRTC: "/nowhere/libnvrtc.so" },
      /NVRTC was not found: .*pip install nvidia-cuda-nvrtc/,
    ],
    [
      "an NVRTC newer than the driver",
      { PRETEND_VERSION: "12040" },
      /NVRTC that was found fits: expected 12.0 to 12.x for this driver \(CUDA 12.4\) and compute capability 9.0, got 13.0, newer than the driver. Update the driver/,
    ],
    ["an old NVRTC", { PRETEND_NVRTC: "11" }, /NVRTC that was found fits: .* got 11.0, older than 12.0/],
    [
      "a GPU that NVRTC does not know",
      { PRETEND_MAJOR: "12" },
      /NVRTC that was found fits: .* got 13.0, which does not know compute capability 12.0/,
    ],
    [
      "a name for cuBLAS that is none",
      { EVERLONG_CUBLAS: "fast" },
      /EVERLONG_CUBLAS is not known: expected on, off or tf32, got fast/,
    ],
  ])("%s", (_, environment, message) => {
    expect(printed(open, environment)).toMatch(message);
  });

  test("a cuBLAS that does not work is done without", () => {
    const broken = mkdtempSync(join(tmpdir(), "everlong-broken-"));
    const source = join(broken, "broken.c");
    const names = [
      "cublasCreate_v2",
      "cublasDestroy_v2",
      "cublasSetStream_v2",
      "cublasSetWorkspace_v2",
      "cublasGemmStridedBatchedEx",
    ];
    writeFileSync(source, names.map((name) => `int ${name}() { return 1; }`).join("\n"));
    for (const version of [12, 13])
      execFileSync("cc", ["-shared", "-fPIC", "-w", "-o", join(broken, `libcublas.so.${version}`), source]);
    const text = printed(open, { EVERLONG_CUBLAS: "on", LD_LIBRARY_PATH: `${folder}:${broken}` });
    rmSync(broken, { recursive: true });
    expect(text).toMatch(/"cublas":false/);
    expect(text).toMatch(
      /cuBLAS cannot be used, products run on the package's kernels. libcublas.so.13: .*cublasCreate failed: got CUBLAS_STATUS_NOT_INITIALIZED.* libcublas.so.12/,
    );
  });

  test("a driver without a function is too old, or says which it lacks", () => {
    const old = mkdtempSync(join(tmpdir(), "everlong-old-"));
    const from = fileURLToPath(new URL("./pretended-driver.c", import.meta.url));
    const args = [
      "-shared",
      "-fPIC",
      "-w",
      "-DcuTensorMapEncodeTiled=absent",
      "-o",
      join(old, "libcuda.so.1"),
      from,
    ];
    execFileSync("cc", args);
    const [older, odd] = ["11040", "12040"].map((version) =>
      printed(open, { PRETEND_VERSION: version, LD_LIBRARY_PATH: old }),
    );
    rmSync(old, { recursive: true });
    expect(older).toMatch(/the driver is too old: expected CUDA 12.0 or newer, got CUDA 11.4/);
    expect(odd).toMatch(/the driver lacks a function: got .*cuTensorMapEncodeTiled/);
  });

  test("one GPU is open, any number of times", () => {
    const program = "for (const ordinal of [1, 1, 0]) await say(() => cudaDevice({ ordinal }).name);";
    const lines = printed(program, { PRETEND_GPUS: "2" }).split("\n");
    expect(lines.slice(0, 2)).toEqual(['said "cuda:1"', 'said "cuda:1"']);
    expect(lines[2]).toMatch(
      /a process uses one GPU: expected GPU 1, which is open, got GPU 0. Start a process for each/,
    );
  });

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

  test.each([
    ["{ ordinal: 0.5 }", /there is no such GPU: expected 0 to 0, got 0.5/],
    ["{ memoryLimit: -1 }", /memoryLimit is no number of bytes: expected more than 0, got -1/],
    ["{ memoryLimit: '8GB' }", /memoryLimit is no number of bytes: .* got 8GB/],
    ["{ memory: 3 }", /unknown option/],
  ])("options that cannot be: %s", (options, message) => {
    expect(printed(`await say(() => cudaDevice(${options}).name);`)).toMatch(message);
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
        }
      }
      await say(() => before - free.state().memory.free);`;
    const text = printed(program, { PRETEND_TELLS: "1" });
    expect(text.match(/^(said|refused) .*/gm)).toEqual([
      expect.stringMatching(/device is used after it was disposed/),
      expect.stringMatching(/buffer is used after it was freed|device is used after it was disposed/),
      expect.stringMatching(/device is used after it was disposed/),
      "said 0",
    ]);
    const count = (what: string): number => text.split(what).length - 1;
    expect(count("made a graph")).toBe(count("dropped a graph"));
    expect(count("dropped a stream")).toBeGreaterThanOrEqual(20);
    expect(count("unloaded a kernel")).toBeGreaterThanOrEqual(40);
  });

  test("another GPU than there is", () => {
    expect(printed("await say(() => cudaDevice({ ordinal: 3 }));")).toMatch(
      /^refused DeviceError \[cuda\] there is no such GPU: expected 0 to 0, got 3/,
    );
  });

  test("a tensor that does not fit names itself, a program its largest tensors", () => {
    const program = `
      const device = cudaDevice();
      await say(() => zeros([3000, 1000], { device, dtype: "f32" }).add(1).data().then(() => "fits"));
      await say(() => tensor(new Float32Array(7_000_000), [7, 1000, 1000], { device }).data());
      const x = tensor(new Float32Array(1_000_000), [1000, 1000], { device });
      const wide = compile((t) => matmul(t.reshape([1, 1000, 1000]), t.reshape([1, 1000, 1000])).add(t.reshape([1000, 1, 1000])).sum(-1));
      await say(() => wide(x).data().then((d) => d.length));
      const big = compile((t) => t.reshape([1000, 1, 1000]).add(t).cumsum(-1).sum());
      await say(() => big(x).data());
      await say(() => x.add(1).data().then((d) => d.length));`;
    const lines = printed(program, { PRETEND_BYTES: "24000000" }).trim().split("\n");
    expect(lines[1]).toMatch(
      /^refused DeviceError \[cuda\] out of memory for f32\[7000000\]: expected at most .* MiB in all, .* held by this process's tensors and programs\), got 26.70 MiB. Use a smaller batch/,
    );
    expect(lines[3]).toMatch(
      /^refused DeviceError \[cuda\] the program does not fit the device's memory: expected at most .*, got a peak of 7\.45 GiB; largest: temp f32\[1000, 1000, 1000\] 3.73 GiB.* recompute\(\)/,
    );
    // What nobody holds any more made room for this one, and what is there still works.
    expect(lines[2]).toBe("said 1000000");
    expect(lines[4]).toBe("said 1000000");
  });

  test("strict mode has no silent fallback, and otherwise it is said once", () => {
    const program = `
      const odd = defineOp({ name: "odd-one", shape: ([x]) => [x], reference: ([x], [y]) => y.data.set(x.data), cost: () => ({ flops: 0, bytes: 0 }) });
      const x = tensor(new Float32Array([1, 2]), [2], { device: cudaDevice() });
      setStrict(true);
      await say(() => odd([x], {})[0].data());
      setStrict(false);
      for (let i = 0; i < 2; i++) await say(() => odd([x], {})[0].data().then((d) => [...d]));`;
    const text = printed(program);
    expect(text).toMatch(
      /refused DeviceError \[odd-one\] no kernel on cuda \(strict mode\): got no CUDA kernel. Turn strict mode off/,
    );
    expect(text.match(/runs its float64 reference on the host/g)).toHaveLength(1);
    expect(text.match(/said \[1,2\]/g)).toHaveLength(2);
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

  test("a launch that fails names its step, and the debug switch is recommended", () => {
    const program = `
      const x = tensor(new Float32Array([1, 2]), [2], { device: cudaDevice() });
      await say(() => x.add(1).data());`;
    expect(printed(program, { PRETEND_LAUNCH: "700" })).toMatch(
      /refused DeviceError \[cuda\] step 0 \(loop add\) cannot be launched: got .*CUDA_ERROR_ILLEGAL_ADDRESS.*EVERLONG_DEBUG=kernels.* Grid 1 x 1 x 1/,
    );
  });
});
