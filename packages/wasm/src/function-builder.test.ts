import { describe, expect, test } from "vitest";
import { ModuleBuilder } from "./module-builder.ts";
import type { FunctionBuilder } from "./function-builder.ts";
import type { Value, Vec } from "./values.ts";

const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536, shared: true });
const f32 = new Float32Array(memory.buffer);

function exportsOf(module: ModuleBuilder): Record<string, (...args: number[]) => number> {
  const bytes = module.bytes();
  expect(WebAssembly.validate(bytes)).toBe(true);
  return new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } }).exports as never;
}

describe("control flow", () => {
  test("loops, branches, calls and results", () => {
    const module = new ModuleBuilder({ width: 1, relaxed: true });
    const collatz = module.define("collatz", { params: ["i32"], result: "i32", exported: true }, (f, n) => {
      const steps = f.variable("i32", 0);
      f.block((done) => {
        f.doWhile(() => {
          f.brIf(done, f.i32.eq(n, 1));
          f.if(
            f.i32.and(n, 1),
            () => f.set(n, f.i32.add(f.i32.mul(n, 3), 1)),
            () => f.set(n, f.i32.shrU(n, 1)),
          );
          f.advance(steps, 1);
          return 1;
        });
      });
      return steps;
    });
    module.define("sum", { params: ["i32"], result: "i32", exported: true }, (f, end) => {
      const total = f.variable("i32", 0);
      f.loop(1, end, 1, (i) => f.advance(total, f.call(collatz, i) as Value<"i32">));
      return total;
    });
    const { collatz: run, sum } = exportsOf(module);
    expect(run!(27)).toBe(111);
    expect(sum!(10)).toBe([0, 1, 7, 2, 5, 8, 16, 3, 19].reduce((a, b) => a + b));
    expect(sum!(1)).toBe(0);
  });

  test("a continue label goes to the next round without the loop's end", () => {
    const module = new ModuleBuilder({ width: 1, relaxed: true });
    module.define("odds", { params: ["i32"], result: "i32", exported: true }, (f, n) => {
      const i = f.variable("i32", 0);
      const count = f.variable("i32", 0);
      f.doWhile((next) => {
        f.advance(i, 1);
        f.brIf(next, f.i32.eqz(f.i32.and(i, 1)));
        f.advance(count, 1);
        return f.i32.ltS(i, n);
      });
      return count;
    });
    expect(exportsOf(module)["odds"]!(9)).toBe(5);
  });

  test("recursion", () => {
    const module = new ModuleBuilder({ width: 1, relaxed: true });
    module.define("factorial", { params: ["i32"], result: "i32", exported: true }, (f, n) => {
      f.if(f.i32.ltS(n, 2), () => f.return(1));
      return f.i32.mul(n, f.call(module.find("factorial")!, f.i32.sub(n, 1)) as Value<"i32">);
    });
    expect(exportsOf(module)["factorial"]!(10)).toBe(3628800);
  });

  test("while may run zero times", () => {
    const module = new ModuleBuilder({ width: 1, relaxed: true });
    module.define("halvings", { params: ["i32"], result: "i32", exported: true }, (f, n) => {
      const count = f.variable("i32", 0);
      f.while(
        () => f.i32.gtU(n, 1),
        () => {
          f.set(n, f.i32.shrU(n, 1));
          f.advance(count, 1);
        },
      );
      return count;
    });
    expect([0, 1, 2, 1000].map((n) => exportsOf(module)["halvings"]!(n))).toEqual([0, 0, 1, 9]);
  });

  test("early return", () => {
    const module = new ModuleBuilder({ width: 1, relaxed: true });
    module.define("sign", { params: ["i32"], result: "i32", exported: true }, (f, n) => {
      f.if(f.i32.ltS(n, 0), () => f.return(-1));
      return f.select(f.i32.gtS(n, 0), 1, 0);
    });
    expect([-5, 0, 9].map((n) => exportsOf(module)["sign"]!(n))).toEqual([-1, 0, 1]);
  });
});

describe.each([1, 2] as const)("locals, width %i", (width) => {
  test("outer values survive inner loops that reuse locals; accumulators restart", () => {
    const module = new ModuleBuilder({ width, relaxed: true });
    const lanes = 4 * width;
    // out[row] = scale * sum over columns of a[row][column], with many temporaries in between
    module.define(
      "rows",
      { params: ["i32", "i32", "i32", "i32"], exported: true },
      (f, a, out, rows, columns) => {
        const scale = f.f32x4.add(f.f32x4.constant(1), f.mem.vec.load(a));
        f.loop(0, rows, 1, () => {
          const acc = f.vecVariable(0);
          const early = f.f32x4.mul(scale, 2);
          f.loop(0, columns, 1, () => {
            const x = f.mem.vec.load(a);
            const y = f.f32x4.mul(f.f32x4.add(x, x), 0.5);
            f.setVec(acc, f.f32x4.add(acc, y));
            f.advance(a, 16 * width);
          });
          f.mem.vec.store(out, 0, f.f32x4.mul(acc, f.f32x4.mul(early, 0.5)));
          f.advance(out, 16 * width);
        });
      },
    );
    const [rows, columns] = [3, 5];
    const [A, OUT] = [1024, 32768];
    for (let i = 0; i < rows * columns * lanes; i++) f32[A / 4 + i] = (i % 17) - 8;
    exportsOf(module)["rows"]!(A, OUT, rows, columns);
    for (let r = 0; r < rows; r++)
      for (let lane = 0; lane < lanes; lane++) {
        let sum = 0;
        for (let c = 0; c < columns; c++) sum += f32[A / 4 + (r * columns + c) * lanes + lane]!;
        expect(f32[OUT / 4 + r * lanes + lane]).toBe(sum * (1 + f32[A / 4 + lane]!));
      }
  });

  test("thousands of values need few locals", () => {
    const module = new ModuleBuilder({ width, relaxed: true });
    module.define("chain", { params: ["i32"], exported: true }, (f, at) => {
      let x = f.mem.vec.load(at);
      for (let i = 0; i < 2_000; i++) x = f.f32x4.add(x, 1);
      f.mem.vec.store(at, 0, x);
    });
    f32.fill(0.5, 256, 264);
    exportsOf(module)["chain"]!(1024);
    expect(f32[256 + 4 * width - 1]).toBe(2_000.5);
  });

  test("a vector variable changed in one arm of a branch", () => {
    const module = new ModuleBuilder({ width, relaxed: true });
    module.define("pick", { params: ["i32", "i32"], exported: true }, (f, at, which) => {
      const v = f.vecVariable(1);
      f.if(which, () => {
        const twice = f.f32x4.mul(f.mem.vec.load(at), 2);
        f.setVec(v, twice);
      });
      f.mem.vec.store(at, 0, f.f32x4.add(v, 1));
    });
    const { pick } = exportsOf(module);
    f32.fill(3, 256, 264);
    pick!(1024, 1);
    expect(f32[256]).toBe(7);
    pick!(1024, 0);
    expect(f32[256]).toBe(2);
  });
});

describe("mistakes", () => {
  test("wrong operand types, part counts and duplicate names are refused", () => {
    const module = new ModuleBuilder({ width: 2, relaxed: true });
    module.define("bad", { params: ["i32", "f32"] }, (f, i, x) => {
      expect(() => f.i32.add(i, x as never)).toThrow("expected i32, got f32");
      expect(() => f.f32x4.add(f.f32x4.constant(1), f.f32x4.constant(1, 1))).toThrow(
        "expected 2 parts, got 1",
      );
    });
    expect(() => module.define("bad", { params: [] }, () => {})).toThrow("already defined");
    expect(() => module.define("none", { params: [], result: "i32" }, () => {})).toThrow("must give back");
  });
});

describe("halves of stored pairs as arguments", () => {
  const emit = (body: (f: FunctionBuilder, pair: Vec, call: (half: Vec) => void) => void): void => {
    const module = new ModuleBuilder({ width: 2, relaxed: true });
    const callee = module.define("callee", { params: ["v128"] }, () => {});
    module.define("caller", { params: ["i32"] }, (f, at) => {
      const x = f.mem.vec.load(at);
      body(f, f.f32x4.mul(x, x), (half) => f.call(callee, half.parts[0]!));
    });
  };
  const refusal = /call callee: an argument is half of a pair that is also stored/;

  test("are refused, whichever comes first", () => {
    expect(() => emit((f, pair, call) => [f.mem.vec.store(0, 0, pair), call(f.part(pair, 0))])).toThrow(
      refusal,
    );
    expect(() => emit((f, pair, call) => [call(f.part(pair, 1)), f.mem.vec.store(0, 0, pair)])).toThrow(
      refusal,
    );
    expect(() =>
      emit((f, pair, call) => {
        const sum = f.vecVariable(pair);
        f.mem.vec.store(0, 0, sum);
        call(f.part(sum, 0));
      }),
    ).toThrow(refusal);
  });
  test("copies, single vectors and halves that are not stored pass", () => {
    emit((f, pair, call) => {
      f.mem.vec.store(0, 0, pair);
      call(f.v128.or(f.part(pair, 0), f.part(pair, 0)));
    });
    emit((f, pair, call) => {
      f.mem.vec.store(0, 0, f.part(pair, 0));
      call(f.part(pair, 0));
    });
    emit((_, pair, call) => call({ parts: [pair.parts[1]!] }));
  });
});
