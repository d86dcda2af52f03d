import { beforeEach, expect, test, vi } from "vitest";
import { Driver, ERROR_NOT_READY, ERROR_OUT_OF_MEMORY } from "./driver.ts";

/** What calls of the library answer, 0 where nothing is said, and the names of all that were bound. */
const library = vi.hoisted(() => ({
  answers: new Map<string, number>(),
  names: new Set<string>(),
  called: [] as string[],
}));

vi.mock("./shared-library.ts", () => ({
  koffi: () => ({
    address: () => 4096n,
    view: () => new TextEncoder().encode("CUDA_ERROR_OF_TEST\0".padEnd(64, "\0")).buffer,
  }),
  bindLibrary: (_: string, signatures: Record<string, string>) =>
    Object.fromEntries(
      Object.keys(signatures).map((name) => {
        library.names.add(name);
        return [
          name,
          (...given: unknown[]) => {
            library.called.push(name);
            const [to] = given;
            if (name === "cuDriverGetVersion") (to as Int32Array)[0] = 13_000;
            // A text of the driver's, and handles.
            if (name === "cuGetErrorName") (given[1] as BigUint64Array)[0] = 4096n;
            else if (to instanceof BigUint64Array) to[0] = 77n;
            return library.answers.get(name) ?? 0;
          },
        ];
      }),
    ),
}));

beforeEach(() => {
  library.answers.clear();
  library.called.length = 0;
});

const map = { dtype: "bf16", sizes: [64, 100], strides: [128], box: [64, 64] } as const;
const one = [1, 1, 1] as const;
const words = new BigUint64Array(1);

/** Every call that must not fail in silence, with what makes it. */
const CALLS: readonly (readonly [string, (driver: Driver) => unknown])[] = [
  ["cuInit", () => new Driver()],
  ["cuDeviceGetCount", (d) => d.deviceCount()],
  ["cuDeviceGetName", (d) => d.deviceName(0)],
  ["cuDeviceGetAttribute", (d) => d.attribute(0, 75)],
  ["cuDevicePrimaryCtxRetain", (d) => d.openContext(0)],
  ["cuCtxSetCurrent", (d) => d.openContext(0)],
  ["cuStreamCreate", (d) => d.createStream()],
  ["cuStreamDestroy", (d) => d.dropStream(1)],
  ["cuStreamWaitEvent", (d) => d.waitOn(1, 2)],
  ["cuStreamSynchronize", (d) => d.synchronize(1)],
  ["cuMemAlloc", (d) => d.allocate(512)],
  ["cuMemFree", (d) => d.free(1)],
  ["cuMemGetInfo", (d) => d.memoryInfo()],
  ["cuMemAllocHost", (d) => d.allocateHost(64)],
  ["cuMemFreeHost", (d) => d.freeHost(1)],
  ["cuMemcpyHtoDAsync", (d) => d.copyToDevice(1, 2, 3, 4)],
  ["cuMemcpyDtoHAsync", (d) => d.copyToHost(1, 2, 3, 4)],
  ["cuMemcpyDtoDAsync", (d) => d.copyOnDevice(1, 2, 3, 4)],
  ["cuMemsetD8Async", (d) => d.fill(1, 255, 3, 4)],
  ["cuEventCreate", (d) => d.createEvent()],
  ["cuEventDestroy", (d) => d.dropEvent(1)],
  ["cuEventRecord", (d) => d.record(1, 2)],
  ["cuEventQuery", (d) => d.isDone(1)],
  ["cuEventSynchronize", (d) => d.waitFor(1)],
  ["cuEventElapsedTime", (d) => d.elapsed(1, 2)],
  ["cuModuleLoadData", (d) => d.loadModule(new Uint8Array(8))],
  ["cuModuleUnload", (d) => d.unloadModule(1)],
  ["cuModuleGetFunction", (d) => d.getFunction(1, "kernel")],
  ["cuFuncSetAttribute", (d) => d.allowShared(1, 100_000)],
  ["cuTensorMapEncodeTiled", (d) => d.encodeTileMap(map, 4096)],
  ["cuStreamBeginCapture", (d) => d.capture(1, () => {})],
  ["cuStreamEndCapture", (d) => d.capture(1, () => {})],
  ["cuGraphInstantiate", (d) => d.capture(1, () => {})],
  ["cuGraphDestroy", (d) => d.capture(1, () => {})],
  ["cuGraphLaunch", (d) => d.replay(1, 2)],
  ["cuGraphExecDestroy", (d) => d.dropGraph(1)],
];

test.each(CALLS)("%s that fails is told by its name and the driver's", (name, call) => {
  const driver = new Driver();
  expect(() => call(driver)).not.toThrow();
  for (const code of [1, 700]) {
    library.answers.set(name, code);
    expect(() => call(driver)).toThrow(
      new RegExp(
        `${name}\\b.* failed: got CUDA_ERROR_OF_TEST${code === 700 ? ".*EVERLONG_DEBUG=kernels" : "\\.$"}`,
      ),
    );
  }
});

test("no call is left out", () => {
  const driver = new Driver();
  // Launches give their code back, for those who know the step.
  for (const [name, early] of [
    ["cuLaunchKernel", false],
    ["cuLaunchKernelEx", true],
  ] as const) {
    library.answers.set(name, 719);
    expect(driver.launch(1, one, one, 0, 2, words, early)).toBe(719);
    expect(library.called.at(-1)).toBe(name);
  }
  const others = ["cuLaunchKernel", "cuLaunchKernelEx", "cuGetErrorName", "cuDriverGetVersion"];
  expect([...CALLS.map(([name]) => name), ...others].toSorted()).toEqual([...library.names].toSorted());
});

test("what is not over is no failure, and neither is a device without room", () => {
  const driver = new Driver();
  library.answers.set("cuEventQuery", ERROR_NOT_READY);
  expect(driver.isDone(1)).toBe(false);
  library.answers.set("cuMemAlloc", ERROR_OUT_OF_MEMORY);
  expect(driver.allocate(512)).toBeUndefined();
  library.answers.set("cuGraphInstantiate", ERROR_OUT_OF_MEMORY);
  expect(driver.capture(1, () => {})).toBeUndefined();
  library.answers.set("cuGraphLaunch", ERROR_OUT_OF_MEMORY);
  expect(driver.replay(1, 2)).toBe(false);
});

test("room is made once for what needs it, but not while a graph is recorded", () => {
  const driver = new Driver();
  let asked = 0;
  driver.relieve = () => {
    asked++;
    library.answers.clear();
  };
  library.answers.set("cuModuleLoadData", ERROR_OUT_OF_MEMORY);
  expect(driver.loadModule(new Uint8Array(8))).toBe(77);
  library.answers.set("cuLaunchKernel", ERROR_OUT_OF_MEMORY);
  expect(driver.launch(1, one, one, 0, 2, words)).toBe(0);
  expect(asked).toBe(2);
  driver.capture(1, () => {
    library.answers.set("cuLaunchKernel", ERROR_OUT_OF_MEMORY);
    expect(driver.launch(1, one, one, 0, 2, words)).toBe(ERROR_OUT_OF_MEMORY);
  });
  expect(asked).toBe(2);
});

test("a recording that fails is ended and thrown away, and the failure is what is told", () => {
  const driver = new Driver();
  const work = (): void => {
    throw new Error("of the work");
  };
  expect(() => driver.capture(1, work)).toThrow("of the work");
  expect(library.called.slice(-2)).toEqual(["cuStreamEndCapture", "cuGraphDestroy"]);
  // Room can be made again.
  driver.relieve = () => library.answers.clear();
  library.answers.set("cuLaunchKernel", ERROR_OUT_OF_MEMORY);
  expect(driver.launch(1, one, one, 0, 2, words)).toBe(0);
});
