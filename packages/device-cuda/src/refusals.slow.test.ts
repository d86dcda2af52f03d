// What a user reads when something is missing, too old or too small, on a driver that pretends (`pretended-driver.c`).

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { canPretend, PretendedMachine, type Printed } from "./pretended-machine.ts";

describe.skipIf(!canPretend)("on a machine that pretends", () => {
  let machine: PretendedMachine;
  beforeAll(() => void (machine = new PretendedMachine()));
  afterAll(() => machine.close());
  const printed: Printed = (...given) => machine.printed(...given);
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
      { EVERLONG_NVRTC: "/nowhere/libnvrtc.so", PRETEND_VERSION: "12080" },
      /NVRTC was not found: .* \(Debian\/Ubuntu: cuda-nvrtc-12-8\), "pip install nvidia-cuda-nvrtc-cu12", or "conda install cuda-nvrtc=12.8"/,
    ],
    [
      "an NVRTC newer than the driver",
      { PRETEND_VERSION: "12040" },
      /NVRTC that was found fits: expected 12.0 to 12.x for this driver \(CUDA 12.4\) and compute capability 9.0, got 13.0, newer than the driver. Update the driver, or install the CUDA toolkit \(Debian\/Ubuntu: cuda-nvrtc-12-4\), "pip install nvidia-cuda-nvrtc-cu12", or "conda install cuda-nvrtc=12.4"; or/,
    ],
    [
      "an old NVRTC",
      { PRETEND_NVRTC: "11" },
      /NVRTC that was found fits: .* got 11.0, older than 12.0. Install the CUDA toolkit \(Debian\/Ubuntu: cuda-nvrtc-13-0\), "pip install nvidia-cuda-nvrtc~=13.0", or "conda install cuda-nvrtc=13.0"; or/,
    ],
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
    const text = printed(open, { EVERLONG_CUBLAS: "on", LD_LIBRARY_PATH: `${machine.folder}:${broken}` });
    rmSync(broken, { recursive: true });
    expect(text).toMatch(/"cublas":false/);
    expect(text).toMatch(
      /cuBLAS cannot be used, products run on the package's kernels. libcublas.so.13: .*cublasCreate failed: got CUBLAS_STATUS_NOT_INITIALIZED.* libcublas.so.12/,
    );
  });

  test("a driver without a function is too old, or says which it lacks", () => {
    const old = new PretendedMachine("-DcuTensorMapEncodeTiled=absent");
    const [older, odd] = ["11040", "12040"].map((version) => old.printed(open, { PRETEND_VERSION: version }));
    old.close();
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

  test.each([
    ["{ ordinal: 0.5 }", /there is no such GPU: expected 0 to 0, got 0.5/],
    ["{ memoryLimit: -1 }", /memoryLimit is no number of bytes: expected more than 0, got -1/],
    ["{ memoryLimit: '8GB' }", /memoryLimit is no number of bytes: .* got 8GB/],
    ["{ memory: 3 }", /unknown option/],
  ])("options that cannot be: %s", (options, message) => {
    expect(printed(`await say(() => cudaDevice(${options}).name);`)).toMatch(message);
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
      /^refused DeviceError \[cuda\] the program does not fit the device's memory: expected at most .*, got a peak of 7\.50 GiB; largest: temp f32\[1000, 1000, 1000\] 3.73 GiB.* recompute\(\)/,
    );
    // What nobody holds any more made room for this one, and what is there still works.
    expect(lines[2]).toBe("said 1000000");
    expect(lines[4]).toBe("said 1000000");
  });

  test("a program that is refused needs more than there is, and names the steps whose kernels need much", () => {
    const program = `
      import { scan } from "@everlong/core";
      const device = cudaDevice();
      const u = zeros([1, 8, 1_048_576], { dtype: "f16", device });
      const k = zeros([8, 1_048_576], { device });
      await Promise.all([u, k].map((x) => x.data()));
      await say(() => compile((x, y) => fftConv(x, y))(u, k).data());
      const wide = zeros([4096, 1024], { device });
      await wide.data();
      await say(() => compile((x) => [x.add(1), x.add(2), x.add(3), x.add(4)])(wide));
      const held = [];
      const sums = compile((x) => [x.cumsum(0).mul(x).cumsum(1), x.add(1)]);
      const part = zeros([1280, 1024], { device });
      await say(() => { for (;;) held.push(sums(part)); });
      await say(() => held.length);
      for (const x of [u, k, ...held.flat()]) x[Symbol.dispose]();
      const bodies = compile((x) => scan((c, y) => [c.add(matmul(y, y)), c.sum()], x, x.reshape([1, ...x.shape]))[1]);
      await say(() => bodies(zeros([2600, 2600], { device })).data());`;
    const text = printed(program, { PRETEND_BYTES: "115000000" });
    const refused = [
      ...text.matchAll(
        /^refused DeviceError \[cuda\] the program does not fit the device's memory: expected at most ([\d.]+) MiB, got a peak of ([\d.]+) MiB; largest: (.*)\. Use a smaller batch/gm,
      ),
    ].map(([, most, peak, largest]) => ({ most: Number(most), peak: Number(peak), largest }));
    expect(refused.map(({ largest }) => largest)).toEqual([
      "scratch of fft-conv 128.01 MiB, input 1 f32[8388608] 32.00 MiB, input 0 f16[8388608] 16.00 MiB",
      "input 0 f32[4194304] 16.00 MiB, output 0 f32[4096, 1024] 16.00 MiB, output 1 f32[4096, 1024] 16.00 MiB",
      expect.stringMatching(/^input 0 f32.1310720. 5.00 MiB, (temp|output \d) .* 5.00 MiB$/),
      expect.stringMatching(/^scratch of scan x1 of \d+ steps/),
    ]);
    for (const { most, peak } of refused) expect(peak).toBeGreaterThan(most);
    // All that there is but for tables and others' tensors: inputs, outputs and temporaries that have their memory already count.
    const all = 115e6 / 2 ** 20 - 0.04;
    const runs = Number(/^said (\d+)$/m.exec(text)![1]);
    expect(runs).toBeGreaterThan(1);
    expect(refused[0]!.most).toBeCloseTo(all, 1);
    expect(refused[1]!.most).toBeCloseTo(all - 48, 1);
    expect(refused[2]!.most).toBeCloseTo(all - 48 - 16 - 10 * runs, 1);
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

  test("a launch that fails names its step, and the debug switch is recommended", () => {
    const program = `
      const x = tensor(new Float32Array([1, 2]), [2], { device: cudaDevice() });
      await say(() => x.add(1).data());`;
    expect(printed(program, { PRETEND_LAUNCH: "700" })).toMatch(
      /refused DeviceError \[cuda\] step 0 \(loop add\) cannot be launched: got .*CUDA_ERROR_ILLEGAL_ADDRESS.*EVERLONG_DEBUG=kernels.* Grid 1 x 1 x 1/,
    );
  });

  test("under debugging the launch that fails is named, whichever of its step or of a scan's body it is", () => {
    const program = `
      import { scan } from "@everlong/core";
      const device = cudaDevice();
      const x = tensor(new Float32Array(3000), [3, 1000], { device });
      await x.data();
      await say(() => compile((t) => fftConv(t.reshape([1, 3, 1000]), t).sum())(x).data());
      await say(() => compile((t) => scan((c, y) => [c.add(y).cumsum(0), c], t.sum(0), t)[0])(x).data());`;
    const at = (launch: number): (string | undefined)[] => {
      const debugged = { EVERLONG_DEBUG: "kernels", PRETEND_BREAKS: `${launch}` };
      const lines = [...printed(program, debugged).matchAll(/^(?:refused \w+ \[cuda\] (.*?): got|said)/gm)];
      return lines.map(([, what]) => what);
    };
    // Of the convolution two launches, of the next one's scan two steps.
    const [first, second] = [1, 2].map((n) => at(n)[0]);
    const [fifth, sixth] = [5, 6].map((n) => at(n)[1]);
    for (const name of [first, second])
      expect(name).toMatch(/^step 0 \(fft-conv\) failed on the device in \w+$/);
    expect(first).not.toBe(second);
    expect(fifth).toBe("step 0 (loop add) of a scan's body failed on the device in loop");
    expect(sixth).toBe("step 1 (cumulative) of a scan's body failed on the device in cumulative");
  });

  test("a product of the library that fails names its step", () => {
    const folder = mkdtempSync(join(tmpdir(), "everlong-failing-"));
    const source = join(folder, "failing.c");
    const names = ["cublasCreate_v2", "cublasDestroy_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2"];
    const functions = [
      ...names.map((n) => `int ${n}() { return 0; }`),
      "int cublasGemmStridedBatchedEx() { return 13; }",
    ];
    writeFileSync(source, functions.join("\n"));
    execFileSync("cc", ["-shared", "-fPIC", "-w", "-o", join(folder, "libcublas.so.13"), source]);
    const program = `
      const x = tensor(new Float32Array(9), [3, 3], { device: cudaDevice() });
      await say(() => compile((t) => matmul(t.exp(), t).add(1))(x).data());`;
    const text = printed(program, { EVERLONG_CUBLAS: "on", LD_LIBRARY_PATH: `${machine.folder}:${folder}` });
    rmSync(folder, { recursive: true });
    expect(text).toMatch(
      /^refused DeviceError \[cuda\] step 1 \(matmul\) cannot be launched: got .*cublasGemmStridedBatchedEx failed: got CUBLAS_STATUS_EXECUTION_FAILED/m,
    );
  });

  // A kernel that is launched beside the end of the one in front has to wait for it, which PTX for GPUs before Hopper does not.
  test.each([
    ["NVRTC's kernels on Hopper", "9", false, /^launched beside$/],
    ["the package's kernels for Hopper", "9", true, /^launched beside$/],
    ["the package's PTX on a newer GPU", "10", true, /^launched$/],
  ])("%s", (_, major, embedded, second) => {
    const program = `
      import { mkdirSync, writeFileSync } from "node:fs";
      import { EmbeddedKernels, embeddedFile, embeddedTarget, packKernels, sourcesDigest } from "./src/embedded-kernels.ts";
      const folder = "${machine.folder}";
      writeFileSync(embeddedFile(embeddedTarget(${major}0), folder), packKernels(new Map(), "none", sourcesDigest()));
      const { open } = EmbeddedKernels;
      EmbeddedKernels.open = (arch) => open.call(EmbeddedKernels, arch, folder);
      EmbeddedKernels.prototype.find = () => new Uint8Array(8);
      const x = tensor(new Float32Array(3000), [3, 1000], { device: cudaDevice() });
      await say(() => compile((t) => t.cumsum(0).mul(t).sum(1))(x).data().then((d) => d.length));`;
    const text = printed(program, {
      PRETEND_TELLS: "1",
      PRETEND_MAJOR: major,
      ...(embedded ? { EVERLONG_NVRTC: "/nowhere/libnvrtc.so" } : {}),
    });
    expect(text).toMatch(/^said 3$/m);
    expect(text.includes("Without it only")).toBe(embedded);
    const launches = [...text.matchAll(/^(beside the one in front:\n)?launched$/gm)].map(([, beside]) =>
      beside ? "launched beside" : "launched",
    );
    expect(launches[0]).toBe("launched");
    expect(launches.length).toBeGreaterThan(1);
    for (const how of launches.slice(1)) expect(how).toMatch(second);
  });
});
