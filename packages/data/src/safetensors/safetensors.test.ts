import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError, DataError } from "@everlong/core";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SAFETENSORS_DTYPES, type SafetensorsDType } from "./dtype.ts";
import { openSafetensors, parseSafetensors, type StoredTensor } from "./reader.ts";
import { openShardedSafetensors, parseShardIndex } from "./sharded.ts";
import { saveSafetensors, writeSafetensors } from "./writer.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "safetensors-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** A file with the given header text and data bytes, right or wrong. */
function file(header: string | object, data: number[] = [], length?: number): Uint8Array {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length ?? json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}

const entry = (dtype: string, shape: unknown, data_offsets: unknown): object => ({
  dtype,
  shape,
  data_offsets,
});

describe("reading", () => {
  test("every dtype, from a layout written by hand", () => {
    const bytes = file(
      {
        __metadata__: { format: "pt" },
        f64: entry("F64", [1], [0, 8]),
        i64: entry("I64", [1], [8, 16]),
        f32: entry("F32", [], [16, 20]),
        i32: entry("I32", [1, 1], [20, 24]),
        bf16: entry("BF16", [1], [24, 26]),
        f16: entry("F16", [1], [26, 28]),
        i16: entry("I16", [1], [28, 30]),
        i8: entry("I8", [1], [30, 31]),
        u8: entry("U8", [2], [31, 33]),
        bool: entry("BOOL", [2], [33, 35]),
        none: entry("F32", [0, 3], [35, 35]),
      },
      Array.from(
        Buffer.from(
          "000000000000f83f" +
            "feffffffffffffff" +
            "000020c1" +
            "ffffffff" +
            "803f" +
            "003e" +
            "0080" +
            "ff" +
            "07c8" +
            "0100",
          "hex",
        ),
      ),
    );
    const st = parseSafetensors(bytes);
    const value = (name: string): unknown[] => Array.from(st.get(name).data as ArrayLike<unknown>);
    expect(st.header.metadata).toEqual({ format: "pt" });
    expect(value("f64")).toEqual([1.5]);
    expect(value("i64")).toEqual([-2n]);
    expect(value("f32")).toEqual([-10]);
    expect(st.get("f32").shape).toEqual([]);
    expect(value("i32")).toEqual([-1]);
    expect(value("bf16")).toEqual([0x3f80]);
    expect(value("f16")).toEqual([1.5]);
    expect(value("i16")).toEqual([-32768]);
    expect(value("i8")).toEqual([-1]);
    expect(value("u8")).toEqual([7, 200]);
    expect(value("bool")).toEqual([1, 0]);
    expect(st.get("none")).toMatchObject({ shape: [0, 3], data: new Float32Array(0) });
  });

  test("aligned tensors are views of the bytes, others copies", () => {
    const bytes = writeSafetensors({ x: { dtype: "F32", shape: [2], data: new Float32Array([1, 2]) } });
    expect(parseSafetensors(bytes).get("x").data.buffer).toBe(bytes.buffer);
    const shifted = new Uint8Array(bytes.length + 1).subarray(1);
    shifted.set(bytes);
    expect(Array.from(parseSafetensors(shifted).get("x").data as Float32Array)).toEqual([1, 2]);
  });

  test("an unknown name suggests the nearest", () => {
    const bytes = writeSafetensors({
      "layers.0.weight": { dtype: "U8", shape: [1], data: new Uint8Array(1) },
    });
    expect(() => parseSafetensors(bytes).get("layers.0.weigth")).toThrow(ConfigError);
    expect(() => parseSafetensors(bytes).get("layers.0.weigth")).toThrow('Did you mean "layers.0.weight"?');
  });
});

describe("malformed files are one DataError that says what is wrong", () => {
  const x = (dtype: string, shape: unknown, offsets: unknown): object => ({
    x: entry(dtype, shape, offsets),
  });
  const cases: [string, Uint8Array, RegExp][] = [
    ["empty", new Uint8Array(0), /cut off: expected at least 8 bytes, got 0/],
    ["7 bytes", new Uint8Array(7), /cut off/],
    ["length past the end", file("{}", [], 3), /cut off: expected 11 bytes, got 10/],
    ["huge length", file("{}", [], 2 ** 40), /implausible/],
    ["foreign (zip)", new TextEncoder().encode("PK\x03\x04 some zip archive, long enough"), /implausible/],
    ["not JSON", file("{nope}"), /not valid JSON/],
    ["not UTF-8", file("{}").map((b, i) => (i === 8 ? 0xff : b)), /not valid JSON/],
    ["an array", file("[]"), /not a JSON object/],
    ["leading space", file(" {}"), /not a JSON object/],
    ["null", file("null"), /not a JSON object/],
    ["entry not an object", file({ x: 3 }), /"x" is not described/],
    ["unknown dtype", file(x("F8_E4M3", [1], [0, 1]), [0]), /unknown dtype: expected U64.*got "F8_E4M3"/],
    ["inherited dtype", file(x("toString", [1], [0, 1]), [0]), /unknown dtype/],
    ["missing dtype", file({ x: { shape: [], data_offsets: [0, 4] } }), /unknown dtype.*got none/],
    ["negative size", file(x("U8", [-1], [0, 1]), [0]), /malformed shape/],
    ["fractional size", file(x("U8", [0.5], [0, 1]), [0]), /malformed shape/],
    ["shape not an array", file(x("U8", 1, [0, 1]), [0]), /malformed shape/],
    ["offsets reversed", file(x("U8", [1], [1, 0]), [0]), /malformed data_offsets/],
    ["one offset", file(x("U8", [1], [0]), [0]), /malformed data_offsets/],
    ["size mismatch", file(x("F32", [2], [0, 4]), [0, 0, 0, 0]), /expected 8 bytes for F32 \[2\], got 4/],
    ["size overflow", file(x("F32", [2 ** 30, 2 ** 30], [0, 4]), [0, 0, 0, 0]), /disagrees with its shape/],
    ["out of range", file(x("F32", [2], [0, 8]), [0, 0, 0, 0]), /passes the end/],
    [
      "hole at the start",
      file(x("U8", [1], [1, 2]), [0, 0]),
      /unused bytes before it: expected offset 0, got 1/,
    ],
    [
      "overlap",
      file({ a: entry("U8", [2], [0, 2]), b: entry("U8", [2], [1, 3]) }, [0, 0, 0]),
      /"b" overlaps/,
    ],
    ["trailing bytes", file(x("U8", [1], [0, 1]), [0, 0]), /bytes after the last tensor/],
    ["bytes but no tensors", file("{}", [1]), /bytes after the last tensor/],
    ["metadata not strings", file({ __metadata__: { n: 1 } }), /__metadata__ "n" is not a string/],
    ["metadata not an object", file({ __metadata__: [] }), /__metadata__ is not an object/],
    [
      "duplicate name",
      file(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061" :{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        [0],
      ),
      /"a" is listed twice/,
    ],
  ];
  test.each(cases)("%s", (_, bytes, message) => {
    expect(() => parseSafetensors(bytes, "f")).toThrow(DataError);
    expect(() => parseSafetensors(bytes, "f")).toThrow(message);
  });

  test("a BOOL that is neither 0 nor 1", () => {
    const st = parseSafetensors(file(x("BOOL", [1], [0, 1]), [2]));
    expect(() => st.get("x")).toThrow(DataError);
  });

  test("every truncation of a good file", () => {
    const bytes = writeSafetensors({ x: { dtype: "F32", shape: [3], data: new Float32Array(3) } });
    for (let n = 0; n < bytes.length; n++) {
      expect(() => parseSafetensors(bytes.subarray(0, n))).toThrow(DataError);
    }
  });

  test("random damage never escapes as another kind of error", () => {
    const good = writeSafetensors({
      x: { dtype: "F32", shape: [3], data: new Float32Array(3) },
      y: { dtype: "U8", shape: [2, 1], data: new Uint8Array(2) },
    });
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), (at, value) => {
        const bad = good.slice();
        bad[at] = value;
        try {
          parseSafetensors(bad).all();
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("writing", () => {
  const sample = (dtype: SafetensorsDType, shape: number[], fill: number[]): StoredTensor => {
    const bytes = new Uint8Array(shape.reduce((n, s) => n * s, SAFETENSORS_DTYPES[dtype].bytes));
    bytes.forEach((_, i) => (bytes[i] = dtype === "BOOL" ? i & 1 : (fill[i % fill.length] ?? 0)));
    const data = SAFETENSORS_DTYPES[dtype].view(
      bytes.buffer,
      0,
      bytes.length / SAFETENSORS_DTYPES[dtype].bytes,
    );
    return { dtype, shape, data };
  };
  const tensors = fc.dictionary(
    fc.string({ maxLength: 12 }).filter((s) => s !== "__metadata__" && s !== "__proto__" && s.isWellFormed()),
    fc.record({
      dtype: fc.constantFrom(...(Object.keys(SAFETENSORS_DTYPES) as SafetensorsDType[])),
      shape: fc.array(fc.nat(4), { maxLength: 3 }),
      fill: fc.array(fc.nat(255), { minLength: 1, maxLength: 9 }),
    }),
    { maxKeys: 6 },
  );

  test("reads back what was written, in any order of insertion, to the same bytes", () => {
    fc.assert(
      fc.property(tensors, (specs) => {
        const named = Object.entries(specs).map(([n, s]) => [n, sample(s.dtype, s.shape, s.fill)] as const);
        const bytes = writeSafetensors(new Map(named), { metadata: { b: "2", a: "1" } });
        expect(writeSafetensors(new Map(named.toReversed()), { metadata: { a: "1", b: "2" } })).toEqual(
          bytes,
        );
        const back = parseSafetensors(bytes);
        expect(back.names.length).toBe(named.length);
        for (const [name, tensor] of named) {
          expect(back.get(name).shape).toEqual(tensor.shape);
          const [got, want] = [back.get(name).data, tensor.data];
          expect(Buffer.from(got.buffer, got.byteOffset, got.byteLength)).toEqual(
            Buffer.from(want.buffer, want.byteOffset, want.byteLength),
          );
        }
      }),
    );
  });

  test("the exact bytes of a small file", () => {
    const bytes = writeSafetensors(
      {
        b: { dtype: "U8", shape: [1], data: new Uint8Array([9]) },
        a: { dtype: "F32", shape: [1], data: new Float32Array([1]) },
      },
      { metadata: { format: "pt" } },
    );
    const json =
      '{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' +
      '"b":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}}';
    const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
    expect(bytes).toEqual(file(padded, [0, 0, 0x80, 0x3f, 9]));
  });

  test("refuses data that disagrees with shape or dtype", () => {
    const f32 = new Float32Array(2);
    expect(() => writeSafetensors({ x: { dtype: "F32", shape: [3], data: f32 } })).toThrow(
      /expected 3 elements/,
    );
    expect(() => writeSafetensors({ x: { dtype: "F16", shape: [2], data: f32 } })).toThrow(
      /expected Float16Array/,
    );
    expect(() => writeSafetensors({ __metadata__: { dtype: "F32", shape: [2], data: f32 } })).toThrow(
      DataError,
    );
  });
});

describe("files", () => {
  const x: StoredTensor = {
    dtype: "F32",
    shape: [4, 3],
    data: Float32Array.from({ length: 12 }, (_, i) => i),
  };
  const y: StoredTensor = { dtype: "BF16", shape: [3], data: new Uint16Array([1, 2, 3]) };

  test("one tensor or some rows at a time", async () => {
    const path = join(folder, "a.safetensors");
    await saveSafetensors(path, { x, y });
    await using st = await openSafetensors(path);
    expect(st.names).toEqual(["x", "y"]);
    expect(await st.read("y")).toEqual(y);
    const rows = await st.readRows("x", 1, 3);
    expect(rows).toEqual({ dtype: "F32", shape: [2, 3], data: new Float32Array([3, 4, 5, 6, 7, 8]) });
    await expect(st.readRows("x", 3, 5)).rejects.toThrow(/rows of tensor "x" out of range/);
    expect([...(await st.readAll()).keys()]).toEqual(["x", "y"]);
  });

  test("absent, truncated, shrunk and unwritable files", async () => {
    const path = join(folder, "b.safetensors");
    await expect(openSafetensors(path)).rejects.toThrow(DataError);
    await expect(openSafetensors(folder)).rejects.toThrow(DataError);
    await writeFile(path, writeSafetensors({ x }).subarray(0, 100));
    await expect(openSafetensors(path)).rejects.toThrow(DataError);
    await saveSafetensors(path, { x });
    await using st = await openSafetensors(path);
    await truncate(path, st.header.tensors.get("x")!.begin + 5);
    await expect(st.read("x")).rejects.toThrow(/file ends early/);
    await expect(saveSafetensors(join(folder, "no", "x"), { x })).rejects.toThrow(DataError);
  });

  test("sharded models", async () => {
    await saveSafetensors(join(folder, "model-1.safetensors"), { x });
    await saveSafetensors(join(folder, "model-2.safetensors"), { y });
    const index = join(folder, "model.safetensors.index.json");
    const map = {
      x: "model-1.safetensors",
      y: "model-2.safetensors",
      z: "model-2.safetensors",
      w: "gone.safetensors",
    };
    await writeFile(index, JSON.stringify({ metadata: { total_size: 54 }, weight_map: map }));
    await using model = await openShardedSafetensors(index);
    expect(model.index.metadata).toEqual({ total_size: 54 });
    expect(await model.read("y")).toEqual(y);
    expect(await model.read("x")).toEqual(x);
    await expect(model.read("q")).rejects.toThrow(ConfigError);
    await expect(model.read("z")).rejects.toThrow(/does not hold/);
    await expect(model.read("w")).rejects.toThrow(/cannot open file/);
  });

  test.each([
    ["not JSON", "{", /not valid JSON/],
    ["no map", "{}", /not a safetensors index/],
    ["null", "null", /not a safetensors index/],
    ["a path out of the folder", '{"weight_map":{"x":"../secret"}}', /unusable file/],
    ["not a name", '{"weight_map":{"x":3}}', /unusable file/],
  ])("shard index: %s", (_, text, message) => {
    expect(() => parseShardIndex(text)).toThrow(DataError);
    expect(() => parseShardIndex(text)).toThrow(message);
  });
});
