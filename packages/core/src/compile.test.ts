import { afterEach, describe, expect, test, vi } from "vitest";
import { leaks, Random, valuesOf } from "@everlong/testing";
import { gradients, valueAndGrad } from "./autodiff.ts";
import { compile } from "./compile.ts";
import { scan } from "./ops/control.ts";
import { full, iota, tensor, zeros } from "./ops/creation.ts";
import { add, div, exp, mul, sin, square, sub, tanh } from "./ops/elementwise.ts";
import { matmul } from "./ops/linalg.ts";
import { mean, sum } from "./ops/reduction.ts";
import * as random from "./random.ts";
import { realize } from "./realize.ts";
import { device, setDefaultDevice } from "./settings.ts";
import type { Tensor } from "./tensor.ts";
import { Variable } from "./variable.ts";

// The suite runs on other devices too: see @everlong/testing.
const tested = device(process.env["EVERLONG_TEST_DEVICE"] ?? "reference");
setDefaultDevice(tested);
const TOLERANCE = tested.defaultFloat === "f64" ? 1e-15 : 1e-6;
const noise = (shape: readonly number[], seed = 1): Tensor =>
  tensor(new Random(seed).normals(shape.reduce((a, b) => a * b, 1)), shape);

afterEach(() => vi.restoreAllMocks());

/** A small training step: two layers, momentum, a schedule held in a Variable. */
function makeTraining(): { step: (x: Tensor, y: Tensor) => { loss: Tensor }; state: Variable[] } {
  const w1 = new Variable(mul(noise([3, 4], 1), 0.5), { name: "w1" });
  const w2 = new Variable(mul(noise([4, 2], 2), 0.5), { name: "w2" });
  const momenta = [w1, w2].map((w) => new Variable(zeros(w.shape), { name: `momentum of ${w.name}` }));
  const rate = new Variable(tensor(0.1), { name: "rate" });
  const count = new Variable(tensor(0, { dtype: "i32" }), { name: "count" });
  const step = (x: Tensor, y: Tensor): { loss: Tensor } => {
    const weights = [w1, w2];
    const [loss, slopes] = valueAndGrad((w: readonly Tensor[]) =>
      mean(square(sub(matmul(tanh(matmul(x, w[0]!)), w[1]!), y))),
    )(weights.map((w) => w.value));
    weights.forEach((w, i) => {
      momenta[i]!.value = add(mul(momenta[i]!.value, 0.9), slopes[i]!);
      w.value = sub(w.value, mul(momenta[i]!.value, rate.value));
    });
    count.value = add(count.value, 1);
    rate.value = div(0.1, add(count.value, 1));
    return { loss };
  };
  return { step, state: [w1, w2, ...momenta, rate, count] };
}

describe("replay", () => {
  test("equals eager execution, step for step, bit for bit", async () => {
    const [eager, compiled] = [makeTraining(), makeTraining()];
    const run = compile(compiled.step);
    for (let i = 0; i < 5; i++) {
      const [x, y] = [noise([7, 3], 10 + i), noise([7, 2], 20 + i)];
      const a = eager.step(x, y);
      realize(a.loss, ...eager.state.map((v) => v.value));
      const b = run(x, y);
      expect(await valuesOf(b.loss)).toEqual(await valuesOf(a.loss));
    }
    for (const [i, v] of compiled.state.entries()) {
      expect(await valuesOf(v.value), v.name).toEqual(await valuesOf(eager.state[i]!.value));
    }
    expect(run.traces).toBe(1);
  });

  test("keeps the structure of results, passes static values and nulls through", async () => {
    const run = compile((x: { a: Tensor; list: readonly Tensor[] }, k: number, name: string | null) => ({
      sum: add(x.a, x.list[1]!),
      parts: [mul(x.list[0]!, k), { name, again: x.a }],
    }));
    const one = tensor([1]);
    const out = run({ a: one, list: [tensor([2]), tensor([3])] }, 4, null);
    expect(await out.sum.toArray()).toEqual([4]);
    expect(await (out.parts[0] as Tensor).toArray()).toEqual([8]);
    expect((out.parts[1] as { name: null }).name).toBeNull();
    expect(await (out.parts[1] as { again: Tensor }).again.toArray()).toEqual([1]);
  });

  test("an inner compiled function is traced into the outer one, and differentiates", async () => {
    const inner = compile((x: Tensor) => sin(x));
    const outer = compile((x: Tensor) => gradients(sum(inner(x)), [x])[0]!);
    expect(await outer(tensor([0, 1])).toArray()).toBeCloseToArray([1, Math.cos(1)], TOLERANCE);
    expect(inner.traces).toBe(0);
  });

  test("unrealised arguments are computed first", async () => {
    const run = compile((x: Tensor) => add(x, 1));
    expect(await run(add(tensor([1, 2]), 5)).toArray()).toEqual([7, 8]);
  });

  test("what depends on no argument is computed once", async () => {
    const table = noise([50]);
    const run = compile((x: Tensor) => add(x, sum(exp(sin(table)))));
    const before = tested.stats.launches;
    run(tensor([1]));
    const first = tested.stats.launches - before;
    run(tensor([2]));
    expect(tested.stats.launches - before - first).toBe(1);
    const want = (await valuesOf(table)).reduce((s, v) => s + Math.exp(Math.sin(v)), 0);
    expect([await run(tensor([0])).item()]).toBeCloseToArray([want], 10 * TOLERANCE);
  });
});

describe("traces", () => {
  test("a schedule held in a Variable changes the rate 1,000 times in one trace", async () => {
    const rate = new Variable(tensor(1));
    const w = new Variable(tensor([0]));
    const run = compile(() => {
      w.value = add(w.value, rate.value);
    });
    for (let i = 0; i < 1000; i++) {
      rate.value = tensor(i);
      run();
    }
    expect(run.traces).toBe(1);
    expect(await w.value.toArray()).toEqual([(999 * 1000) / 2]);
  });
  test("another shape, dtype or static value retraces; an old one is found again", () => {
    const run = compile((x: Tensor, k: number) => mul(x, k));
    run(zeros([2]), 1);
    run(zeros([3]), 1);
    run(zeros([2], { dtype: "bf16" }), 1);
    run(zeros([2]), 2);
    expect(run.traces).toBe(4);
    run(zeros([3]), 1);
    expect(run.traces).toBe(4);
  });
  test("signatures in turn, with and without values, meet their own traces", async () => {
    const fn = compile((...given: readonly (Tensor | number)[]) =>
      given.reduce<Tensor>((total, x) => add(total, typeof x === "number" ? x : sum(x)), zeros([])),
    );
    const ramp = (n: number, dtype: "f32" | "i32" = "f32"): Tensor => {
      const t = iota([n], 0, { dtype });
      realize(t);
      return t;
    };
    const calls: readonly [readonly (Tensor | number)[], number, string][] = [
      [[ramp(4)], 6, "first"],
      [[ramp(4)], 6, "the same type"],
      [[ramp(5)], 10, "another shape"],
      [[ramp(5, "i32")], 10, "another dtype"],
      [[ramp(5)], 10, "as before"],
      [[ramp(5), 7], 17, "a number too"],
      [[ramp(5), ramp(4)], 16, "more tensors"],
      [[ramp(5)], 10, "fewer"],
      [[mul(ramp(5), 3)], 30, "no value yet"],
      [[3, ramp(5)], 13, "a number first"],
    ];
    const expected = new Map<string, number>();
    for (const [given, result, what] of [...calls, ...calls.toReversed()]) {
      expect([...(await valuesOf(fn(...given)))], what).toEqual([result]);
      expected.set(given.map((x) => (typeof x === "number" ? x : `${x.dtype}${x.shape[0]}`)).join(), result);
      expect(fn.traces).toBe(expected.size);
    }
    fn.dispose();
    expect([...(await valuesOf(fn(ramp(4))))]).toEqual([6]);
    expect(fn.traces).toBe(1);
  });
  test("a function that ran is traced into others all the same", async () => {
    const total = new Variable(tensor([0, 0]));
    const count = compile((x: Tensor) => (total.value = add(total.value, x)));
    const x = tensor([1, 2]);
    count(x);
    const twice = compile(() => mul(count(x), 2));
    for (const n of [2, 3, 4]) expect([...(await valuesOf(twice()))]).toEqual([2 * n, 4 * n]);
    expect([...(await valuesOf(total.value))]).toEqual([4, 8]);
    const double = compile((y: Tensor) => mul(y, 2));
    double(x);
    const [sums] = scan(
      (c: Tensor, y: Tensor) => [add(c, double(y)), null] as const,
      x,
      tensor([1, 2, 3, 4], [2, 2]),
    );
    expect([...(await valuesOf(sums))]).toEqual([9, 14]);
  });

  test("a plain number that keeps changing is warned about once", () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
    const run = compile((x: Tensor, k: number) => mul(x, k), { name: "scale" });
    for (let k = 0; k < 9; k++) run(zeros([2]), k);
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn.mock.calls[0]![0]).toMatch(/scale was traced 4 times.*Variable/);
  });
  test("the plan prints; dispose gives the memory back", () => {
    const before = tested.stats.liveBytes;
    const run = compile((x: Tensor) => sum(matmul(x, sin(x))), { name: "product" });
    const x = noise([3, 3]);
    run(x)[Symbol.dispose]();
    expect(run.plan()).toMatch(/product: \d+ steps, peak temporary memory \d+ bytes/);
    expect(run.plan()).toMatch(/matmul.*54 flop/);
    run.dispose();
    x[Symbol.dispose]();
    expect(tested.stats.liveBytes).toBeLessThanOrEqual(before);
    expect(run.traces).toBe(0);
  });
});

describe("variables", () => {
  test("reads after an assignment see the new value; the outside sees it after the run", async () => {
    const v = new Variable(tensor([1]));
    const run = compile(() => {
      const old = v.value;
      v.value = add(v.value, 10);
      v.value = mul(v.value, 2);
      return [old, v.value];
    });
    const [old, now] = run();
    expect([await old!.toArray(), await now!.toArray(), await v.value.toArray()]).toEqual([[1], [22], [22]]);
  });
  test("swapping two variables", async () => {
    const [a, b] = [new Variable(tensor([1, 2])), new Variable(tensor([3, 4]))];
    const run = compile(() => {
      [a.value, b.value] = [b.value, a.value];
    });
    run();
    expect([await a.value.toArray(), await b.value.toArray()]).toEqual([
      [3, 4],
      [1, 2],
    ]);
    run();
    run();
    expect([await a.value.toArray(), await b.value.toArray()]).toEqual([
      [3, 4],
      [1, 2],
    ]);
  });
  test("two variables that start from one tensor do not share fate", async () => {
    const start = tensor([1, 2]);
    const [a, b] = [new Variable(start), new Variable(start)];
    const run = compile(() => {
      a.value = add(a.value, 1);
    });
    run();
    run();
    expect([await a.value.toArray(), await b.value.toArray()]).toEqual([
      [3, 4],
      [1, 2],
    ]);
  });
  test("two variables assigned one value do not share fate", async () => {
    const [a, b] = [new Variable(tensor([1])), new Variable(tensor([2]))];
    const both = compile((x: Tensor) => {
      const y = mul(x, 2);
      a.value = y;
      b.value = y;
    });
    const one = compile(() => {
      a.value = add(a.value, 1);
    });
    both(tensor([5]));
    one();
    expect([await a.value.toArray(), await b.value.toArray()]).toEqual([[11], [10]]);
  });
  test("a tensor that was also passed as an argument survives", async () => {
    const v = new Variable(tensor([1, 2]));
    const run = compile((x: Tensor) => {
      v.value = add(v.value, x);
    });
    run(v.value);
    expect(await v.value.toArray()).toEqual([2, 4]);
  });
  test("a stale handle to a donated value says what happened", async () => {
    const v = new Variable(tensor([1, 2]));
    const stale = v.value;
    compile(() => {
      v.value = add(v.value, 1);
    })();
    await expect(stale.data()).rejects.toThrow(/not available.*freed or donated/);
  });
  test("keep their shape and dtype", () => {
    const v = new Variable(tensor([1, 2]), { name: "bias" });
    expect(() => (v.value = tensor([1]))).toThrow(
      "[bias] a variable keeps its shape: expected [2], got [1].",
    );
    expect(() => (v.value = zeros([2], { dtype: "i32" }))).toThrow(
      `[bias] a variable keeps its dtype: expected ${tested.defaultFloat}, got i32.`,
    );
  });
  test("random keys advance", async () => {
    const key = new Variable(random.key(3), { trainable: false });
    const draw = compile(() => {
      const [next, use] = random.splitKey(key.value);
      key.value = next!;
      return random.uniform(use!, [4]);
    });
    const first = await draw().toArray();
    expect(await draw().toArray()).not.toEqual(first);
    key.value = random.key(3);
    expect(await draw().toArray()).toEqual(first);
  });
});

describe("memory", () => {
  test("live bytes are flat over 1,000 compiled training steps", async () => {
    const { step } = makeTraining();
    const run = compile(step);
    const [x, y] = [noise([7, 3]), noise([7, 2])];
    await leaks(() => run(x, y).loss[Symbol.dispose](), { device: tested, steps: 1000 });
  });
  test("an accumulated eager loss holds no history", async () => {
    let total = tensor(0);
    const x = noise([5]);
    await leaks(
      async () => {
        const before = total;
        total = add(total, sum(square(x)));
        await total.data();
        before[Symbol.dispose]();
      },
      { device: tested, steps: 200 },
    );
    expect(total.node.inputs).toHaveLength(0);
  });
  test("a scan of any length needs one body", () => {
    const run = compile((xs: Tensor) =>
      scan((c: Tensor, x: Tensor) => [add(c, x), c] as const, tensor([0]), xs),
    );
    const short = run(zeros([4, 1]));
    const long = run(zeros([400, 1]));
    expect([short[1].shape, long[1].shape]).toEqual([
      [4, 1],
      [400, 1],
    ]);
  });
});

describe("errors", () => {
  test("a function that computes nothing, or is async, or takes a function", () => {
    expect(() => compile(() => 3)()).toThrow(/computes nothing.*tensor result/);
    expect(() => compile(async () => tensor([1]), { name: "late" })()).toThrow(
      "[late] a compiled function cannot be async",
    );
    const take = compile(((f: () => void) => tensor([f.length])) as unknown as (x: Tensor) => Tensor);
    expect(() => take((() => {}) as unknown as Tensor)).toThrow(
      "[compile] cannot take a function as an argument. Close over it instead.",
    );
  });
  test("an argument of a trace that leaks out", async () => {
    let leaked: Tensor | undefined;
    compile(
      (x: Tensor) => {
        leaked = add(x, 1);
        return mul(x, full([1], 2));
      },
      { name: "leaky" },
    )(iota([1], 0, { dtype: tested.defaultFloat }));
    await expect(leaked!.data()).rejects.toThrow(/argument 0 of leaky.*outside/);
  });
});
