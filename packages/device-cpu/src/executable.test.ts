import {
  compile,
  defineOp,
  device,
  grad,
  NumericError,
  scan,
  setDebug,
  setStrict,
  tensor,
  Variable,
  withDevice,
  type LoopStep,
  type PrimitiveStep,
  type Program,
  type ReduceStep,
  type ScanStep,
  type Tensor,
} from "@everlong/core";

import { afterAll, describe, expect, test, vi } from "vitest";
import { cpuDevice } from "./index.ts";
import {
  compareWithReference,
  packed,
  programOf,
  randomSource,
  randomStorage,
  runProgram,
} from "./step-harness.ts";

const cpu = cpuDevice({ threads: 1, poison: true });
const two = cpuDevice({ threads: 2, poison: true });
afterAll(() => two.dispose());

/** out = tanh(a) + b over packed buffers. */
const mix = (n: number, a: number, b: number, out: number): LoopStep => ({
  kind: "loop",
  shape: [n],
  args: [packed(a, [n]), packed(b, [n])],
  code: [
    { op: "load", dtype: "f32", arg: 0 },
    { op: "unary", dtype: "f32", fn: "tanh", a: 0 },
    { op: "load", dtype: "f32", arg: 1 },
    { op: "binary", dtype: "f32", fn: "add", a: 1, b: 2 },
  ],
  outputs: [{ operand: packed(out, [n]), value: 3 }],
});
const f32 = (length: number) => ({ dtype: "f32", length }) as const;

describe("scans", () => {
  // carry' = tanh(carry) + x_t; y_t = tanh(x_t) + constant
  const body = (n: number): Program =>
    programOf(
      [f32(n), f32(n), f32(n)],
      [f32(n), f32(n)],
      [mix(n, 0, 1, 5), mix(n, 5, 1, 3), mix(n, 1, 2, 4)],
      [f32(n)],
    );
  const scanProgram = (n: number, length: number, reverse: boolean): Program => {
    const step: ScanStep = {
      kind: "scan",
      body: body(n),
      length,
      carries: 1,
      sequences: 1,
      reverse,
      inputs: [packed(0, [n]), packed(1, [length, n]), packed(2, [n])],
      outputs: [packed(3, [n]), packed(4, [length, n])],
    };
    return programOf([f32(n), f32(length * n), f32(n)], [f32(n), f32(length * n)], [step]);
  };
  for (const reverse of [false, true]) {
    test(`agree with the reference${reverse ? ", reversed" : ""}, over even, odd and no steps`, async () => {
      for (const length of [0, 1, 2, 7, 10]) {
        const n = 13;
        const data = [n, length * n, n].map((size, i) => randomStorage("f32", size, randomSource(i)));
        expect(await compareWithReference(cpu, scanProgram(n, length, reverse), data)).toBeLessThan(200);
      }
    });
  }
  test("nest", async () => {
    const [n, inner, outer] = [5, 3, 4];
    const nested: ScanStep = {
      kind: "scan",
      body: body(n),
      length: inner,
      carries: 1,
      sequences: 1,
      reverse: false,
      inputs: [packed(0, [n]), packed(1, [inner, n]), packed(2, [n])],
      outputs: [packed(3, [n]), packed(4, [inner, n])],
    };
    const middle = programOf([f32(n), f32(inner * n), f32(n)], [f32(n), f32(inner * n)], [nested]);
    const step: ScanStep = {
      kind: "scan",
      body: middle,
      length: outer,
      carries: 1,
      sequences: 1,
      reverse: true,
      inputs: [packed(0, [n]), packed(1, [outer, inner, n]), packed(2, [n])],
      outputs: [packed(3, [n]), packed(4, [outer, inner, n])],
    };
    const program = programOf(
      [f32(n), f32(outer * inner * n), f32(n)],
      [f32(n), f32(outer * inner * n)],
      [step],
    );
    const data = [n, outer * inner * n, n].map((size, i) => randomStorage("f32", size, randomSource(i)));
    expect(await compareWithReference(cpu, program, data)).toBeLessThan(400);
  });
});

describe("executables", () => {
  test("of different arenas share one region, in any order", async () => {
    const make = (n: number): Program =>
      programOf([f32(n), f32(n)], [f32(n)], [mix(n, 0, 1, 3), mix(n, 3, 0, 2)], [f32(n)]);
    const small = cpu.load(make(100));
    const run = async (executable: typeof small, n: number): Promise<unknown> => {
      const inputs = [1, 2].map((s) => cpu.upload(randomStorage("f32", n, randomSource(s)), "f32"));
      const [out] = executable.run(inputs);
      const data = await cpu.download(out!, "f32", n);
      for (const b of [...inputs, out!]) b.free();
      return data;
    };
    const first = await run(small, 100);
    const large = cpu.load(make(50_000));
    const wanted = await runProgram(
      cpu,
      make(50_000),
      [1, 2].map((s) => randomStorage("f32", 50_000, randomSource(s))),
    );
    expect(await run(large, 50_000)).toEqual(wanted[0]);
    expect(await run(small, 100)).toEqual(first);
    large.dispose();
    expect(await run(small, 100)).toEqual(first);
    small.dispose();
  });

  test("say what they run", () => {
    const executable = cpu.load(programOf([f32(100), f32(100)], [f32(100)], [mix(100, 0, 1, 2)]));
    expect(executable.describe()).toMatch(
      /^ {2}0 loop tanh\+add \[100\]: 1 units, 1.17 KiB, 200 flop\narena 0 B/,
    );
    executable.dispose();
    expect(() => executable.run([])).toThrow(/disposed/);
  });

  test("give donated memory back as the output", async () => {
    const program = { ...programOf([f32(64), f32(64)], [f32(64)], [mix(64, 0, 1, 2)]), donated: [0] };
    const executable = cpu.load(program);
    const [a, b] = [1, 2].map((s) => cpu.upload(randomStorage("f32", 64, randomSource(s)), "f32")) as [
      never,
      never,
    ];
    const before = cpu.stats.liveBytes;
    const [out] = executable.run([a, b]);
    expect(cpu.stats.liveBytes).toBe(before);
    expect(() => executable.run([a, b])).toThrow(/freed or donated/);
    out!.free();
    executable.dispose();
  });

  test("that cannot fit are refused with their peak and largest buffers", () => {
    const tiny = cpuDevice({ threads: 1, heapLimit: 2 ** 22 });
    const n = 2 ** 19;
    const program = programOf([f32(n), f32(n)], [f32(n)], [mix(n, 0, 1, 3), mix(n, 3, 0, 2)], [f32(n)]);
    expect(() => tiny.load(program)).toThrow(
      /does not fit the device.s memory: expected at most 4.00 MiB, got a peak of 8.00 MiB; largest: .*f32\[524288\] 2.00 MiB/,
    );
  });

  test("name the step that made the first NaN", () => {
    setDebug("nan");
    try {
      const program = { ...programOf([f32(4), f32(4)], [f32(4)], [mix(4, 0, 1, 2)]), sites: ["model.ts:12"] };
      const executable = cpu.load(program);
      const data = [new Float32Array([1, 2, NaN, 4]), new Float32Array(4)].map((d) => cpu.upload(d, "f32"));
      expect(() => executable.run(data)).toThrow(NumericError);
      expect(() => executable.run(data)).toThrow(
        /step 0 \(loop tanh\+add\) made the first NaN, at \[2\].*model.ts:12/,
      );
    } finally {
      setDebug();
    }
  });
});

test("unreachable buffers make room before memory runs out", async () => {
  const small = cpuDevice({ threads: 1, heapLimit: 2 ** 26 });
  for (let i = 0; i < 40; i++) {
    small.upload(new Float32Array(2 ** 21), "f32");
    // A buffer cannot be collected in the task that made it.
    await new Promise((resolve) => setTimeout(resolve));
  }
  expect(small.stats.peakBytes).toBeLessThanOrEqual(2 ** 26);
});

test("addresses beyond 2 GiB work on every kind of kernel", async () => {
  const far = cpuDevice({ threads: 2 });
  const ballast = far.heap.allocate(2 ** 31 + 4096, "a test");
  const [rows, columns] = [300, 70];
  const n = rows * columns;
  const transpose: LoopStep = {
    kind: "loop",
    shape: [columns, rows],
    args: [{ buffer: 0, dtype: "f32", view: { shape: [columns, rows], strides: [1, columns], offset: 0 } }],
    code: [{ op: "load", dtype: "f32", arg: 0 }],
    outputs: [{ operand: packed(2, [columns, rows]), value: 0 }],
  };
  const sum = (axis: number, from: number, to: number, shape: readonly number[]): ReduceStep => ({
    kind: "reduce",
    shape,
    axes: [axis],
    fn: "sum",
    args: [packed(from, shape)],
    code: [{ op: "load", dtype: "f32", arg: 0 }],
    output: packed(
      to,
      shape.filter((_, a) => a !== axis),
    ),
  });
  const product: PrimitiveStep = {
    kind: "primitive",
    primitive: { name: "matmul", params: {} },
    inputs: [packed(2, [columns, rows]), packed(0, [rows, columns])],
    outputs: [packed(5, [columns, columns])],
  };
  const program = programOf(
    [f32(n), f32(n)],
    [f32(n), f32(columns), f32(rows), f32(columns * columns)],
    [transpose, sum(0, 0, 3, [rows, columns]), sum(1, 1, 4, [rows, columns]), product],
  );
  const data = [1, 2].map((s) => randomStorage("f32", n, randomSource(s)));
  expect(await compareWithReference(far, program, data, 60)).toBeLessThan(30);
  expect(await runProgram(far, program, data)).toEqual(await runProgram(cpu, program, data));
  far.heap.free(ballast);
  far.dispose();
});

describe("fused ops without a kernel", () => {
  const { def } = defineOp<{ readonly factor: number }>({
    name: "test-scale-rows",
    shape: ([x]) => [x!],
    reference: ([x], [y], { factor }) => y!.data.set(x!.data.map((v) => v * factor)),
    cost: () => ({ flops: 0, bytes: 0 }),
  });
  const program = programOf(
    [{ dtype: "bf16", length: 40 }],
    [{ dtype: "bf16", length: 20 }],
    [
      {
        kind: "fused",
        def,
        params: { factor: 3 },
        inputs: [{ buffer: 0, dtype: "bf16", view: { shape: [4, 5], strides: [1, 8], offset: 2 } }],
        outputs: [packed(1, [4, 5], "bf16")],
      },
    ],
  );
  const data = [randomStorage("bf16", 40, randomSource(1))];

  test("run their reference and say so once", async () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
    setStrict(false);
    try {
      expect(await compareWithReference(cpu, program, data)).toBe(0);
      expect(await compareWithReference(cpu, program, data)).toBe(0);
      expect(warn.mock.calls).toEqual([
        [
          expect.stringMatching(
            /^\[test-scale-rows\] runs its float64 reference on the CPU, slowly: .*no WebAssembly source\.$/,
          ),
        ],
      ]);
    } finally {
      setStrict(true);
      warn.mockRestore();
    }
  });

  test("are refused in strict mode, with the reason", () => {
    expect(() => cpu.load(program)).toThrow(
      /\[test-scale-rows\] no kernel on cpu \(strict mode\): got test-scale-rows has no WebAssembly source/,
    );
    expect(cpu.supports(program.steps[0]!)).toMatch(/no WebAssembly source/);
  });
});

describe("through tensors", () => {
  const shape = [6, 9];
  /** A scalar function with products, reductions, views, gathers and a scan. */
  const loss = (w: Tensor, x: Tensor): Tensor => {
    const h = x.matmul(w).tanh();
    const [last, steps] = scan(
      (carry: Tensor, row: Tensor): [Tensor, Tensor] => {
        const next = carry.mul(0.5).add(row);
        return [next, next.square()];
      },
      h.mean(0),
      h,
    ) as unknown as [Tensor, Tensor];
    return steps.transpose().softmax().mul(last.unsqueeze(1)).sum().add(h.cumsum(0).max(1).mean());
  };

  test("values and gradients agree with the reference, compiled or not", async () => {
    const w = randomStorage("f32", 81, randomSource(1));
    const x = randomStorage("f32", 54, randomSource(2));
    const gradientOn = async (name: string): Promise<number[]> =>
      withDevice(name, async () => {
        const [tw, tx] = [tensor(w, [9, 9]), tensor(x, shape)];
        return [...(await grad(loss)(tw, tx).data())];
      });
    const want = await gradientOn("reference");
    const got = await gradientOn("cpu");
    got.forEach((g, i) => expect(g).toBeCloseTo(want[i]!, 4));
    const step = compile((a: Tensor, b: Tensor) => grad(loss)(a, b));
    const compiled = await withDevice("cpu", async () => [
      ...(await step(tensor(w, [9, 9]), tensor(x, shape)).data()),
    ]);
    compiled.forEach((g, i) => expect(g).toBeCloseTo(want[i]!, 4));
    step.dispose();
  });

  test("a thousand steps leave live bytes flat", async () => {
    await withDevice("cpu", async () => {
      const on = device("cpu");
      const w = new Variable(tensor(randomStorage("f32", 81, randomSource(1)), [9, 9]));
      const x = tensor(randomStorage("f32", 54, randomSource(2)), shape);
      const step = compile((input: Tensor) => {
        const g = grad(loss)(w.value, input);
        w.value = w.value.sub(g.mul(0.01));
        return g.square().sum();
      });
      let live = 0;
      for (let i = 0; i < 1000; i++) {
        using out = step(x);
        await out.data();
        if (i === 10) live = on.stats.liveBytes;
      }
      expect(on.stats.liveBytes).toBeLessThanOrEqual(live);
      step.dispose();
    });
  });
});
