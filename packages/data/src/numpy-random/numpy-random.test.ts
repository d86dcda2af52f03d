// Numbers drawn by numpy 1.24.2, whole for short draws and as checksums for long ones.

import { ConfigError } from "@everlong/core";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { defaultRng, type Generator, type IntegerDType } from "./generator.ts";
import { shuffleInPlace } from "./bounded.ts";
import { PCG64_DATA, pcg64Module } from "./pcg64-module.ts";
import { stepPcg64 } from "./pcg64-step.ts";
import { Pcg64 } from "./pcg64.ts";
import { RandomState } from "./random-state.ts";
import { SeedSequence } from "./seed-sequence.ts";

/** FNV-1a over the values as doubles. */
function checksum(values: ArrayLike<number>): number {
  let h = 0x811c9dc5;
  for (const byte of new Uint8Array(Float64Array.from(values).buffer)) h = Math.imul(h ^ byte, 0x01000193);
  return h >>> 0;
}

const list = (values: ArrayLike<number>): number[] => Array.from(values);

describe("SeedSequence", () => {
  test.each([
    [0, [2968811710, 3677149159, 745650761, 2884920346]],
    [12345, [2688385916, 3048105090, 4196366895, 3152189807]],
    [2n ** 100n + 17n, [4169797766, 657946250, 3411088093, 1926100589]],
    [
      [1, 2n ** 40n, 3, 4, 5, 6],
      [3122356525, 643704665, 3839167119, 618749596],
    ],
  ])("words of %s", (entropy, words) => {
    expect(list(new SeedSequence(entropy).words(4))).toEqual(words);
  });

  test("children differ from each other and from later children", () => {
    const parent = new SeedSequence(7);
    const words = parent.spawn(2).map((s) => list(s.words(2)));
    expect(words).toEqual([
      [1201125462, 788422957],
      [3618983171, 941218350],
    ]);
    expect(list(parent.spawn(1)[0]!.words(2))).not.toEqual(words[0]);
  });

  test("refuses what is no seed", () => {
    expect(() => new SeedSequence(-1)).toThrow(ConfigError);
    expect(() => new SeedSequence(1.5)).toThrow(ConfigError);
    expect(() => new SeedSequence(2 ** 60)).toThrow(/bigint above 2\^53/);
  });
});

describe("PCG64", () => {
  test.each([
    [
      0,
      ["11749869230777074271", "4976686463289251617", "755828109848996024"],
      [0.6369616873214543, 0.2697867137638703],
    ],
    [
      12345,
      ["4193609425186963869", "5843160025838961886", "14708796524633321433"],
      [0.22733602246716966, 0.31675833970975287],
    ],
  ])("seed %d", (seed, raw, doubles) => {
    const bits = new Pcg64(seed);
    expect(raw.map(() => `${bits.uint64()}`)).toEqual(raw);
    expect(list(defaultRng(seed).random(2))).toEqual(doubles);
  });

  test("the state after some draws is numpy's, and continues the stream", () => {
    const rng = defaultRng(12345);
    rng.random(300);
    rng.integers(0, 5);
    expect(rng.state).toEqual({
      state: 312587301678238424244276008402745809276n,
      inc: 268209174141567072605526753992732310247n,
      half: 705084128,
    });
    fc.assert(
      fc.property(fc.nat(600), fc.boolean(), (draws, half) => {
        const one = defaultRng(1);
        one.random(draws);
        if (half) one.integers(0, 9);
        const two = defaultRng(one.state);
        expect(list(two.integers(0, 9, 7))).toEqual(list(one.integers(0, 9, 7)));
        expect(two.state).toEqual(one.state);
      }),
    );
  });

  test("the generator satisfies its own recurrence in 128-bit arithmetic", () => {
    const rng = new Pcg64(99);
    const { state, inc } = rng.state;
    const next = BigInt.asUintN(128, state * 0x2360ed051fc65da44385df649fccf645n + inc);
    const folded = BigInt.asUintN(64, next >> 64n) ^ BigInt.asUintN(64, next);
    const turn = next >> 122n;
    expect(rng.uint64()).toBe(BigInt.asUintN(64, (folded >> turn) | (folded << (64n - turn))));
    expect(rng.state.state).toBe(next);
  });
});

describe("PCG64 in WebAssembly", () => {
  const words = fc.array(fc.integer(), { minLength: 4, maxLength: 4 });

  test("steps as the JavaScript does, from any state", () => {
    const module = pcg64Module()!;
    fc.assert(
      fc.property(words, words, fc.nat(40), (state, inc, count) => {
        const expected = new Uint32Array(2 * count);
        const after = Int32Array.from(state);
        stepPcg64(after, Int32Array.from(inc), expected);
        const head = new Int32Array(module.memory.buffer, 0, 8);
        head.set([...state, ...inc]);
        module.fill(count);
        expect(new Uint32Array(module.memory.buffer, PCG64_DATA, 2 * count)).toEqual(expected);
        expect(head.subarray(0, 4)).toEqual(after);
      }),
    );
  });

  test("shuffles as the JavaScript does, and leaves the stream where it does", () => {
    fc.assert(
      fc.property(fc.nat(3000), fc.nat(600), fc.nat(2 ** 31), (length, before, seed) => {
        const [one, two] = [new Pcg64(seed), new Pcg64(seed)];
        for (let i = 0; i < before; i++) one.uint32();
        for (let i = 0; i < before; i++) two.uint32();
        const expected = Int32Array.from({ length }, (_, i) => i);
        shuffleInPlace(one, expected);
        const order = new Int32Array(length);
        two.permute(order);
        expect(order).toEqual(expected);
        expect(two.state).toEqual(one.state);
        expect([two.uint32(), two.uint32(), two.double()]).toEqual([
          one.uint32(),
          one.uint32(),
          one.double(),
        ]);
      }),
    );
  });
});

describe("integers", () => {
  type Case = [IntegerDType, number, number, number[], number, number];
  const cases: Case[] = [
    ["int64", 0, 10, [9, 5, 7, 5, 1], 2, 4122882534],
    [
      "int64",
      -5,
      2 ** 33,
      [4346770393, 4854100153, 4397324607, 8351017347, 5281977768],
      7652243017,
      2921412343,
    ],
    [
      "int64",
      0,
      2 ** 32,
      [4115325593, 2173385197, 3254087975, 2427050077, 763719178],
      1240759816,
      2495055926,
    ],
    [
      "int64",
      0,
      2 ** 32 - 3,
      [4115325590, 2173385195, 3254087972, 2427050075, 763719177],
      1240759815,
      2831256151,
    ],
    [
      "int32",
      -(2 ** 31),
      2 ** 31,
      [1967841945, 25901549, 1106604327, 279566429, -1383764470],
      -906723832,
      2682734321,
    ],
    ["int32", -100, 300_000, [287447, 151759, 227271, 169483, 53262], 86594, 3682259511],
    [
      "uint32",
      0,
      2 ** 32,
      [4115325593, 2173385197, 3254087975, 2427050077, 763719178],
      1240759816,
      2495055926,
    ],
    ["int16", -300, 300, [231, 274, -165, 3, -35], -51, 2345878877],
    ["uint16", 0, 65536, [58009, 62794, 14829, 33163, 28967], 42569, 1227584614],
    ["uint8", 0, 200, [119, 176, 57, 191, 44], 10, 720283347],
    ["int8", -128, 128, [25, 98, -54, 117, 109], -50, 4203363370],
    ["bool", 0, 2, [1, 0, 0, 1, 1], 0, 3893289029],
  ];
  test.each(cases)("%s in [%d, %d)", (dtype, low, high, first, last, many) => {
    const rng = defaultRng(99);
    expect(list(rng.integers(low, high, 5, { dtype }))).toEqual(first);
    expect(rng.integers(low, high, 999, { dtype })[998]).toBe(last);
    expect(checksum(defaultRng(5).integers(low, high, 20_000, { dtype }))).toBe(many);
    const closed = defaultRng(5).integers(low, high - 1, 20_000, { dtype, endpoint: true });
    expect(checksum(closed)).toBe(many);
  });

  test("one value takes no bits", () => {
    const rng = defaultRng(1);
    expect(list(rng.integers(4, 5, 3))).toEqual([4, 4, 4]);
    expect(rng.random()).toBe(defaultRng(1).random());
  });

  test("refuses empty and impossible ranges", () => {
    const rng = defaultRng(1);
    expect(() => rng.integers(5, 5)).toThrow(ConfigError);
    expect(() => rng.integers(0, 257, 1, { dtype: "uint8" })).toThrow(/for uint8/);
    expect(() => rng.integers(0, 2 ** 60)).toThrow(ConfigError);
    expect(() => rng.integers(0, 2, -1)).toThrow(ConfigError);
  });
});

describe("normal numbers", () => {
  test("short draws", () => {
    const rng = defaultRng(5);
    expect(list(rng.standardNormal(3))).toEqual([
      -0.8019314252534474, -1.324358995628145, -0.24836162209524854,
    ]);
    expect(list(rng.normal(2, 3, 2))).toEqual([3.2613357141965644, 5.408139597468928]);
    expect(rng.random()).toBe(0.38336888078551823);
    expect(() => rng.normal(0, -1)).toThrow(ConfigError);
  });

  test("long draws, strips' edges included", () => {
    const normals = defaultRng(77).standardNormal(200_000);
    expect(checksum(normals.filter((x) => Math.abs(x) < 3.65))).toBe(2250689655);
    // the tail goes through log1p, which may differ from C's in the last bit
    const tail = normals.filter((x) => Math.abs(x) >= 3.65);
    expect(tail.length).toBe(50);
    expect(Math.abs(tail.reduce((a, b) => a + b) / 16.72767511335476 - 1)).toBeLessThan(1e-13);
  });
});

describe("choice, shuffle, permutation", () => {
  test("short draws", () => {
    const rng = defaultRng(3);
    const p = [0.1, 0.2, 0.3, 0.4];
    expect(list(rng.choice(10, 6))).toEqual([8, 0, 1, 2, 1, 8]);
    expect(list(rng.choice(10, 6, { replace: false }))).toEqual([2, 9, 4, 3, 0, 7]);
    expect(list(rng.choice(10, 6, { replace: false, shuffle: false }))).toEqual([3, 0, 6, 7, 8, 9]);
    expect(list(rng.choice(4, 8, { p }))).toEqual([2, 2, 3, 3, 1, 3, 3, 1]);
    expect(list(rng.choice(4, 3, { p, replace: false }))).toEqual([0, 3, 1]);
    expect(rng.choice(7)).toBe(3);
    expect(rng.choice(4, undefined, { p })).toBe(2);
  });

  test("large populations: a shuffled tail, Floyd's method, and the bound between them", () => {
    const rng = defaultRng(3);
    expect(checksum(rng.choice(20_000, 1000, { replace: false }))).toBe(595352629);
    expect(checksum(rng.choice(20_000, 300, { replace: false }))).toBe(4176479082);
    expect(checksum(rng.choice(20_000, 1500, { replace: false, shuffle: false }))).toBe(1567963744);
  });

  test("shuffles", () => {
    const rng = defaultRng(3);
    const items = [0, 1, 2, 3, 4, 5, 6, 7];
    rng.shuffle(items);
    expect(items).toEqual([6, 7, 2, 1, 4, 5, 3, 0]);
    expect(list(rng.permutation(9))).toEqual([0, 4, 8, 5, 1, 6, 2, 3, 7]);
    expect(checksum(rng.permutation(5000))).toBe(55866096);
  });

  const wrong: [string, (rng: Generator) => unknown][] = [
    ["no items", (rng) => rng.choice(0)],
    ["too many items", (rng) => rng.choice(3, 4, { replace: false })],
    ["weights of another length", (rng) => rng.choice(3, 1, { p: [0.5, 0.5] })],
    ["weights of another sum", (rng) => rng.choice(2, 1, { p: [0.5, 0.6] })],
    ["negative weights", (rng) => rng.choice(2, 1, { p: [1.5, -0.5] })],
    ["too few positive weights", (rng) => rng.choice(3, 2, { p: [1, 0, 0], replace: false })],
  ];
  test.each(wrong)("refuses %s", (_, draw) => {
    expect(() => draw(defaultRng(1))).toThrow(ConfigError);
  });
});

describe("the legacy stream", () => {
  test("short draws", () => {
    const legacy = new RandomState(0);
    expect(list(legacy.randint(0, 10, 8))).toEqual([5, 0, 3, 3, 7, 9, 3, 5]);
    expect(list(legacy.randint(-3, 2 ** 40, 3))).toEqual([1041261508385, 377492290627, 832329121251]);
    expect(list(legacy.random(2))).toEqual([0.8121687287754932, 0.4799771723750573]);
    const normals = [1.1253141037750505, -0.35899555156937407, 1.2206080970461388];
    list(legacy.randn(3)).forEach((x, i) => expect(Math.abs(x / normals[i]! - 1)).toBeLessThan(1e-15));
    expect(list(legacy.permutation(7))).toEqual([5, 1, 4, 2, 6, 3, 0]);
    expect(list(legacy.choice(9, 4))).toEqual([3, 3, 3, 7]);
    expect(list(legacy.choice(9, 4, { replace: false }))).toEqual([5, 4, 2, 3]);
    expect(list(legacy.choice(3, 5, { p: [0.2, 0.3, 0.5] }))).toEqual([1, 0, 2, 1, 0]);
    expect(list(legacy.choice(3, 2, { p: [0.2, 0.3, 0.5], replace: false }))).toEqual([1, 0]);
  });

  test("seeds of several words, long draws", () => {
    const legacy = new RandomState([5, 6, 7]);
    expect(list(legacy.randint(0, 2 ** 32, 3))).toEqual([381269180, 443986373, 2269789907]);
    expect(checksum(legacy.random(2000))).toBe(1893974355);
    expect(checksum(new RandomState(2 ** 32 - 1).randint(0, 1000, 5000))).toBe(2203812998);
  });

  test("refuses seeds and ranges that numpy refuses", () => {
    expect(() => new RandomState(-1)).toThrow(ConfigError);
    expect(() => new RandomState(2 ** 32)).toThrow(ConfigError);
    expect(() => new RandomState([])).toThrow(/empty/);
    expect(() => new RandomState(0).randint(3, 3)).toThrow(ConfigError);
  });
});
