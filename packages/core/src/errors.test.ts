// The messages that users meet: what is wrong, what was expected, what was given, what to do.

import { afterEach, describe, expect, test } from "vitest";
import {
  checkOptions,
  checkSizes,
  ConfigError,
  DataError,
  DeviceError,
  DTypeError,
  EverlongError,
  invariant,
  nearest,
  ShapeError,
} from "./errors.ts";
import { realize } from "./realize.ts";
import {
  defaultDevice,
  device,
  deviceNames,
  registerDevice,
  setDebug,
  setDefaultDevice,
  withDevice,
  debugFlag,
} from "./settings.ts";
import {
  add,
  atan2,
  concat,
  defineOp,
  einsum,
  exp,
  fft,
  flip,
  full,
  irfft,
  Complex,
  iota,
  less,
  logSumExp,
  matmul,
  max,
  softmax,
  mean,
  pad,
  permute,
  reshape,
  scatterAdd,
  slice,
  sort,
  split,
  squeeze,
  stack,
  sum,
  take,
  takeAlong,
  tensor,
  unsqueeze,
  vmap,
  where,
  zeros,
  broadcastTo,
  argmax,
  cumsum,
  and,
  sin,
  segmentSum,
  oneHot,
  depthwiseConv1d,
  arange,
  type Device,
  type Tensor,
} from "./index.ts";

setDefaultDevice(device("reference"));
afterEach(() => setDebug());

describe("the base class", () => {
  test("puts op, facts and hint into one sentence each, and keeps them as fields", () => {
    const error = new ShapeError("matmul", "inner sizes differ", {
      expected: "3",
      got: "4",
      hint: "Transpose one.",
    });
    expect(error.message).toBe("[matmul] inner sizes differ: expected 3, got 4. Transpose one.");
    expect(error).toMatchObject({
      name: "ShapeError",
      op: "matmul",
      expected: "3",
      got: "4",
      hint: "Transpose one.",
    });
    expect(error).toBeInstanceOf(EverlongError);
    expect(new DataError("npy", "is cut short").message).toBe("[npy] is cut short.");
    expect(new DataError("npy", "x", { cause: error }).cause).toBe(error);
    expect(() => invariant(false, "no node")).toThrow("[internal] no node.");
  });
  test("i32 does not number more positions than it holds", () => {
    expect(() => iota([3, 2 ** 31 + 1], 1)).toThrow(
      "[iota] positions along the axis do not fit 32-bit integers: expected at most 2147483648 elements, got 2147483649.",
    );
    expect(() => iota([2 ** 31 + 1, 1], 1)).toThrow("[iota] tensor is too large");
    expect(() => iota([2 ** 31 + 1], 0, { dtype: "f32" })).toThrow("[iota] tensor is too large");
  });
  test("sizes are whole numbers of at least 1", () => {
    for (const dim of [0, 7.5, -1, Number.NaN])
      expect(() => checkSizes("Linear", { count: 3, dim })).toThrow(
        `[Linear] dim has a wrong value: expected a whole number of at least 1, got ${dim}.`,
      );
    expect(() => checkSizes("Linear", { dim: 1 })).not.toThrow();
  });
  test("unknown options name the nearest known one", () => {
    expect(() => checkOptions("adam", { learningrate: 1 }, ["learningRate", "decay"])).toThrow(
      '[adam] unknown option "learningrate": expected one of learningRate, decay. Did you mean "learningRate"?',
    );
    expect(() => checkOptions("relu", { slope: 1 }, [])).toThrow(
      '[relu] unknown option "slope": expected no options.',
    );
    expect(() => checkOptions("adam", { decay: 1 }, ["learningRate", "decay"])).not.toThrow();
    expect(nearest("Foo", ["PPO", "DQN"])).toBeUndefined();
    expect(nearest("PP0", ["PPO", "DQN"])).toBe("PPO");
    expect(nearest("xyzzy", ["learningRate", "decay"])).toBeUndefined();
  });
});

type Case = readonly [string, () => unknown, new (...args: never[]) => Error, string | RegExp];
const i32 = (...values: number[]): Tensor => tensor(new Int32Array(values));
const x = zeros([2, 3]);
const cases: readonly Case[] = [
  [
    "add",
    () => add(x, zeros([4])),
    ShapeError,
    "[add] shapes do not broadcast: expected sizes that are equal or 1, counted from the last axis, got [2, 3] and [4].",
  ],
  [
    "matmul",
    () => matmul(x, zeros([4, 5])),
    ShapeError,
    "[matmul] inner sizes differ: got a is [2, 3], b is [4, 5] (3 != 4).",
  ],
  [
    "matmul, transposed",
    () => matmul(x, zeros([4, 3])),
    ShapeError,
    /Did you mean matmul\(a, b.transpose\(\)\)\?/,
  ],
  [
    "matmul of a scalar",
    () => matmul(tensor(1), x),
    ShapeError,
    "[matmul] needs matrices: got [] and [2, 3].",
  ],
  [
    "matmul of integers",
    () => matmul(i32(1, 2), i32(1, 2)),
    DTypeError,
    /\[matmul\] needs a float tensor: got i32/,
  ],
  [
    "matmul batches",
    () => matmul(zeros([2, 2, 3]), zeros([3, 3, 2])),
    ShapeError,
    /\[matmul\] shapes do not broadcast.*\[2\] and \[3\]/,
  ],
  [
    "reshape",
    () => reshape(x, [4]),
    ShapeError,
    "[reshape] sizes differ: expected 6 elements as in [2, 3], got 4 in [4].",
  ],
  [
    "reshape with -1",
    () => reshape(x, [-1, 4]),
    ShapeError,
    /\[reshape\] sizes differ: expected 6 elements as in \[2, 3\], got \[-1, 4\]/,
  ],
  [
    "permute",
    () => permute(x, [0, 0]),
    ShapeError,
    /\[permute\] not an order of the axes: expected a permutation of 0..1, got \[0, 0\]/,
  ],
  [
    "broadcastTo",
    () => broadcastTo(x, [2, 4]),
    ShapeError,
    /\[broadcastTo\] cannot repeat to this shape.*got \[2, 4\]/,
  ],
  [
    "broadcastTo fewer axes",
    () => broadcastTo(x, [3]),
    ShapeError,
    /fewer axes than the tensor: expected at least 2, got \[3\]/,
  ],
  [
    "slice index",
    () => slice(x, [2]),
    ShapeError,
    "[slice] index out of range on axis 0: expected -2..1, got 2.",
  ],
  [
    "slice rank",
    () => slice(x, [0, 0, 0]),
    ShapeError,
    "[slice] too many indices: expected at most 2 for [2, 3], got 3.",
  ],
  ["slice step", () => slice(x, [{ step: 0 }]), ShapeError, /step must be a non-zero integer: got 0/],
  [
    "flip",
    () => flip(x, 2),
    ShapeError,
    "[flip] axis out of range: expected an integer in -2..1 for rank 2, got 2.",
  ],
  ["pad", () => pad(x, [[0, -1]]), ShapeError, /\[pad\] needs counts: expected non-negative integers/],
  [
    "pad rank",
    () =>
      pad(x, [
        [0, 0],
        [0, 0],
        [1, 1],
      ]),
    ShapeError,
    /\[pad\] more widths than axes: expected at most 2, got 3/,
  ],
  [
    "concat",
    () => concat([x, zeros([2, 4])], 0),
    ShapeError,
    /\[concat\] parts must match outside axis 0: expected \[2, 3\], got \[2, 4\]/,
  ],
  [
    "concat dtypes",
    () => concat([x, zeros([2, 3], { dtype: "i32" })]),
    DTypeError,
    "[concat] dtypes differ: expected f64, got i32.",
  ],
  ["concat of nothing", () => concat([]), ShapeError, "[concat] nothing to join."],
  ["stack of nothing", () => stack([]), ShapeError, "[stack] nothing to join."],
  [
    "split",
    () => split(x, 2, 1),
    ShapeError,
    /\[split\] parts do not add up on axis 1: expected 3, got \[1.5, 1.5\]/,
  ],
  ["squeeze", () => squeeze(x, 0), ShapeError, "[squeeze] axis 0 is not 1: got [2, 3]."],
  ["unsqueeze", () => unsqueeze(x, 3), ShapeError, /\[unsqueeze\] axis out of range/],
  ["sum axes", () => sum(x, [0, 0]), ShapeError, "[sum] an axis is named twice: got [0, 0]."],
  ["sum axis", () => sum(x, 0.5), ShapeError, /\[sum\] axis out of range.*got 0.5/],
  [
    "max of nothing",
    () => max(zeros([2, 0]), 1),
    ShapeError,
    "[max] has no elements to compare: got [2, 0].",
  ],
  [
    "argmax of nothing",
    () => argmax(zeros([0])),
    ShapeError,
    "[argmax] has no elements to compare: got [0].",
  ],
  ["cumsum of bools", () => cumsum(tensor([true])), DTypeError, "[cumsum] needs numbers: got bool."],
  [
    "add of bools",
    () => add(tensor([true]), tensor([true])),
    DTypeError,
    /\[add\] needs numbers: got bool. Cast it first: x.cast\("i32"\)/,
  ],
  ["and of floats", () => and(x, x), DTypeError, "[and] needs an integer or bool tensor: got f64."],
  [
    "take",
    () => take(x, tensor([0.5])),
    DTypeError,
    /\[take\] needs integer indices: expected i32 or u8, got f64/,
  ],
  [
    "takeAlong",
    () => takeAlong(x, reshape(i32(0, 0, 0), [3, 1])),
    ShapeError,
    /\[gather\] indices must match outside axis 1: expected \[2, 3\], got \[3, 1\]/,
  ],
  [
    "take from nothing",
    () => take(zeros([0]), i32(0)),
    ShapeError,
    "[gather] nothing to pick from: got [0].",
  ],
  [
    "scatterAdd",
    () => scatterAdd(zeros([3]), i32(0), tensor([1, 2])),
    ShapeError,
    "[scatter] updates and indices differ: expected [1], got [2].",
  ],
  [
    "segmentSum",
    () => segmentSum(x, i32(0), 2),
    ShapeError,
    "[segmentSum] one id per row: expected [2], got [1].",
  ],
  ["oneHot", () => oneHot(x, 3), DTypeError, /\[oneHot\] needs integer indices/],
  ["where", () => where(less(x, 1), zeros([2]), x), ShapeError, /\[where\] shapes do not broadcast/],
  ["fft of nothing", () => fft(zeros([0])), ShapeError, "[fft] needs at least one point: got n = 0."],
  ["fft length", () => fft(x, { n: 2.5 }), ShapeError, "[fft] needs at least one point: got n = 2.5."],
  [
    "irfft of one bin",
    () => irfft(Complex.from(zeros([1]))),
    ShapeError,
    /\[irfft\] needs at least one point: got n = 0/,
  ],
  [
    "depthwiseConv1d",
    () => depthwiseConv1d(x, x),
    ShapeError,
    /\[depthwiseConv1d\] expected x \[B, T, D\] and w \[D, W\]: got \[2, 3\] and \[2, 3\]/,
  ],
  [
    "einsum text",
    () => einsum("ij;jk", x),
    ShapeError,
    /\[einsum\] cannot read the equation: expected like "ij,jk->ik"/,
  ],
  [
    "einsum terms",
    () => einsum("ij,jk->ik", x),
    ShapeError,
    "[einsum] terms and tensors differ in number: expected 2, got 1.",
  ],
  [
    "einsum sizes",
    () => einsum("ij,jk->ik", x, x),
    ShapeError,
    '[einsum] sizes of "j" differ: expected 3, got 2.',
  ],
  [
    "einsum ranks",
    () => einsum("ijk->i", x),
    ShapeError,
    '[einsum] term "ijk" has another rank: expected 3 axes, got [2, 3].',
  ],
  ["einsum output", () => einsum("ij->k", x), ShapeError, '[einsum] output axis "k" is in no input.'],
  [
    "a ragged tensor",
    () => tensor([[1, 2], [3]]),
    ShapeError,
    "[tensor] ragged nesting: expected 2 items at depth 1, got 1.",
  ],
  [
    "a tensor of texts",
    () => tensor(["a"] as never),
    DTypeError,
    '[tensor] values are no numbers: expected numbers, booleans, nested arrays of them, or a typed array, got "a".',
  ],
  ["a tensor of nothing", () => tensor([[1], [undefined]] as never), DTypeError, /got undefined\./],
  [
    "a dtype that is none",
    () => tensor([1], { dtype: "float32" as never }),
    DTypeError,
    "[tensor] unknown dtype: expected bool, u8, i32, f16, bf16, f32, f64, got float32.",
  ],
  [
    "softmax along no axis",
    () => softmax(x, 3),
    ShapeError,
    "[softmax] axis out of range: expected an integer in -2..1 for rank 2, got 3.",
  ],
  ["a cast to none", () => tensor([1]).cast("half" as never), DTypeError, /\[cast\] unknown dtype/],
  ["a ragged tensor, deeper", () => tensor([1, [2]]), ShapeError, "[tensor] ragged nesting."],
  [
    "data and shape",
    () => tensor(new Float64Array(5), [2, 3]),
    ShapeError,
    "[tensor] data and shape differ in size: expected 6 elements for [2, 3], got 5.",
  ],
  [
    "a negative size",
    () => zeros([2, -1]),
    ShapeError,
    "[full] not a shape: expected non-negative integers, got [2, -1].",
  ],
  [
    "an unknown dtype",
    () => full([1], 0, { dtype: "f8" as never }),
    DTypeError,
    /\[full\] unknown dtype: expected bool, u8, i32.*got f8/,
  ],
  [
    "a huge tensor",
    () => zeros([2 ** 20, 2 ** 12]),
    ShapeError,
    /\[full\] tensor is too large: expected at most 4 GiB in one tensor, got f64\[1048576, 4096\], 32.00 GiB/,
  ],
  [
    "positions beyond 32 bits",
    () => argmax(zeros([2 ** 31 + 1], { dtype: "u8" }), 0),
    ShapeError,
    "[argmax] positions along the axis do not fit 32-bit integers: expected at most 2147483648 elements, got 2147483649.",
  ],
  [
    "an odd typed array",
    () => tensor(new BigInt64Array(1) as never),
    DTypeError,
    /\[tensor\] unsupported typed array.*got BigInt64Array/,
  ],
  ["arange without a step", () => arange(0, 3, 0), ShapeError, "[arange] step must not be 0."],
  [
    "a leaf that is no tensor",
    () => vmap((a: Tensor) => ({ a, b: 3 as never }))(x),
    ConfigError,
    "[tree] a leaf is not a tensor: expected tensors in arrays and objects, got number.",
  ],
  [
    "an unknown device",
    () => device("tpu"),
    DeviceError,
    /\[device\] unknown device: expected one of .*reference.*, got "tpu". Import the package/,
  ],
];
test.each(cases)("%s", (_, run, type, message) => {
  let error: unknown;
  try {
    run();
  } catch (e) {
    error = e;
  }
  expect(error).toBeInstanceOf(type);
  if (typeof message === "string") expect((error as Error).message).toBe(message);
  else expect((error as Error).message).toMatch(message);
});

describe("devices", () => {
  const open = (name: string): void =>
    registerDevice(
      name,
      () =>
        ({
          ...Object.create(device("reference")),
          name,
          defaultFloat: "f32",
          dtypes: ["f32", "i32", "bool"],
        }) as never,
    );
  test("tensors on different devices do not mix; a dtype must be on the device", () => {
    open("core-test-small");
    const other = full([2], 1, { device: device("core-test-small") });
    expect(other.dtype).toBe("f32");
    expect(() => add(other, zeros([2], { dtype: "f32" }))).toThrow(
      "[add] tensors are on different devices: got core-test-small and reference.",
    );
    const namesake = Object.create(other.device) as Device;
    expect(() => add(other, full([2], 1, { device: namesake }))).toThrow(
      "[add] tensors are on different devices: got two that are both called core-test-small.",
    );
    expect(() => full([2], 1, { device: other.device, dtype: "f64" })).toThrow(
      "[full] device core-test-small has no f64: expected f32, i32, bool.",
    );
  });
  test("withDevice restores the default, also after errors and across awaits", async () => {
    open("core-test-other");
    const before = defaultDevice();
    expect(withDevice("core-test-other", () => defaultDevice().name)).toBe("core-test-other");
    expect(() =>
      withDevice("core-test-other", () => {
        throw new Error("x");
      }),
    ).toThrow("x");
    expect(defaultDevice()).toBe(before);
    const later = withDevice("core-test-other", async () => {
      await Promise.resolve();
      return defaultDevice().name;
    });
    expect(await later).toBe("core-test-other");
    expect(defaultDevice()).toBe(before);
    expect(deviceNames()).toContain("core-test-other");
  });
  test("debug flags are checked", () => {
    setDebug("plan");
    expect([debugFlag("plan"), debugFlag("nan")]).toEqual([true, false]);
  });
});

describe("values", () => {
  test("item needs one element; a freed tensor says so", async () => {
    await expect(zeros([2]).item()).rejects.toThrow("[item] needs exactly one element: got [2].");
    const t = tensor([1, 2]);
    t[Symbol.dispose]();
    await expect(t.data()).rejects.toThrow(/freed/);
    t[Symbol.dispose]();
  });
  test("strings name dtype, shape and device", () => {
    expect(String(zeros([2, 3], { dtype: "bf16" }))).toBe("Tensor(bf16[2, 3] on reference)");
    expect([iota([2, 3], 0).rank, iota([2, 3], 0).size]).toEqual([2, 6]);
  });
  test("realising several trees at once, unused outputs included", async () => {
    const base = tensor([3, 1, 2]);
    const { values, indices } = sort(sin(exp(base)));
    realize({ values, list: [mean(base)] }, [logSumExp(base)]);
    expect(values.node.inputs).toHaveLength(0);
    expect((await indices.data()).length).toBe(3);
    expect(await atan2(base, 1).data()).toHaveLength(3);
  });
  test("a device says how large a tensor may be", () => {
    const roomy = Object.create(device("reference"), { mostTensorBytes: { value: 2 ** 36 } }) as Device;
    expect(zeros([2 ** 20, 2 ** 12], { device: roomy, dtype: "f64" }).size).toBe(2 ** 32);
    expect(() => zeros([2 ** 30, 9], { device: roomy, dtype: "f64" })).toThrow(
      /too large: expected at most 64 GiB in one tensor, got f64\[1073741824, 9\], 72.00 GiB/,
    );
  });
  test("an op that checks its inputs", () => {
    const op = defineOp<{ readonly n: number }>({
      name: "core-test-checked",
      shape: ([t], { n }) => {
        if (t!.shape[0] !== n)
          throw new ShapeError("core-test-checked", "wrong length", {
            expected: `${n}`,
            got: `${t!.shape[0]}`,
          });
        return [t!];
      },
      reference: ([a], [b]) => b!.data.set(a!.data),
      cost: () => ({ flops: 0, bytes: 0 }),
    });
    expect(() => op([tensor([1])], { n: 2 })).toThrow("[core-test-checked] wrong length: expected 2, got 1.");
  });
});
