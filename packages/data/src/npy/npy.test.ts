import { ConfigError, DataError } from "@everlong/core";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NPY_DTYPES, type NpyDType } from "./dtype.ts";
import { type NpyArray, parseNpy, writeNpy } from "./npy.ts";
import { parseNpz, writeNpz } from "./npz.ts";
import { parsePythonLiteral } from "./python-literal.ts";

/** An .npy file with the given header text, right or wrong. */
function file(header: string, data: readonly number[] = [], version = 1): Uint8Array {
  const text = new TextEncoder().encode(header);
  const start = version === 1 ? 10 : 12;
  const bytes = new Uint8Array(start + text.length + data.length);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0]);
  const view = new DataView(bytes.buffer);
  if (version === 1) view.setUint16(8, text.length, true);
  else view.setUint32(8, text.length, true);
  bytes.set(text, start);
  bytes.set(data, start + text.length);
  return bytes;
}

const header = (descr: string, shape: string, fortran = "False"): string =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`;

const values = (array: NpyArray): number[] => Array.from(array.data as ArrayLike<number | bigint>, Number);

describe("reading", () => {
  test.each([
    ["<f4", [0, 0, 0x20, 0xc1], [-10]],
    [">f4", [0xc1, 0x20, 0, 0], [-10]],
    ["<f8", [0, 0, 0, 0, 0, 0, 0xf8, 0x3f], [1.5]],
    ["<f2", [0, 0x3e], [1.5]],
    [">i2", [0xff, 0xfe], [-2]],
    ["<i8", [0xfe, 255, 255, 255, 255, 255, 255, 255], [-2]],
    [">u4", [0, 0, 1, 2], [258]],
    ["|u1", [200], [200]],
    ["|i1", [200], [-56]],
    ["|b1", [1], [1]],
    [">c8", [0x3f, 0x80, 0, 0, 0x40, 0, 0, 0], [1, 2]],
  ])("%s", (descr, bytes, expected) => {
    for (const version of [1, 2, 3]) {
      const array = parseNpy(file(header(descr, "(1,)"), bytes, version));
      expect(array.shape).toEqual([1]);
      expect(array.dtype).toBe(descr.slice(1));
      expect(values(array)).toEqual(expected);
    }
  });

  test("column-major arrays come out row-major", () => {
    const array = parseNpy(file(header("|u1", "(2, 3)", "True"), [1, 4, 2, 5, 3, 6]));
    expect(values(array)).toEqual([1, 2, 3, 4, 5, 6]);
    const cube = parseNpy(file(header(">u2", "(2, 1, 2)", "True"), [0, 1, 0, 3, 0, 2, 0, 4]));
    expect(values(cube)).toEqual([1, 2, 3, 4]);
  });

  test("scalars, empty arrays, Python 2's long sizes", () => {
    expect(parseNpy(file(header("|u1", "()"), [7]))).toEqual({
      dtype: "u1",
      shape: [],
      data: new Uint8Array([7]),
    });
    expect(parseNpy(file(header("<f8", "(0, 3)"))).data.length).toBe(0);
    expect(parseNpy(file(header("|u1", "(2L,)"), [1, 2])).shape).toEqual([2]);
  });
});

describe("malformed files are one DataError that says what is wrong", () => {
  const cases: [string, Uint8Array, RegExp][] = [
    ["empty", new Uint8Array(0), /not an \.npy file/],
    ["foreign", new TextEncoder().encode("PK\x03\x04 not numpy at all"), /not an \.npy file/],
    [
      "version 9",
      file(header("|u1", "(1,)"), [0]).with(6, 9),
      /unknown \.npy version: expected 1, 2 or 3, got 9/,
    ],
    ["header cut off", file(header("|u1", "(1,)")).subarray(0, 30), /header is cut off/],
    ["data cut off", file(header("<f4", "(2,)"), [0, 0, 0, 0]), /file is cut off/],
    ["trailing bytes", file(header("|u1", "(1,)"), [0, 0]), /bytes after the array/],
    ["pickled objects", file(header("|O", "(1,)"), [0]), /Python objects.*pickled/],
    ["strings", file(header("<U2", "(1,)"), [0]), /unsupported element type.*"<U2"/],
    [
      "records",
      file("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }"),
      /unsupported element/,
    ],
    ["inherited type", file(header("<toString", "(1,)")), /unsupported element type/],
    ["no dictionary", file("3\n"), /header is malformed/],
    ["None", file("None\n"), /header is malformed/],
    ["not Python", file("{'descr': <f4>}\n"), /header is malformed/],
    ["unclosed", file("{'descr': '<f4'"), /header is malformed/],
    ["no shape", file("{'descr': '<f4', 'fortran_order': False}"), /expected descr, fortran_order and shape/],
    ["negative size", file(header("|u1", "(-1,)")), /header is malformed/],
    ["order not a boolean", file(header("|u1", "(1,)", "0"), [0]), /header is malformed/],
    ["impossible size", file(header("<f8", "(99999999999, 99999999999)")), /cut off/],
  ];
  test.each(cases)("%s", (_, bytes, message) => {
    expect(() => parseNpy(bytes, "f")).toThrow(DataError);
    expect(() => parseNpy(bytes, "f")).toThrow(message);
  });

  test("every truncation and any damaged byte", () => {
    const good = writeNpy({ dtype: "f4", shape: [3], data: new Float32Array(3) });
    for (let n = 0; n < good.length; n++) expect(() => parseNpy(good.subarray(0, n))).toThrow(DataError);
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), (at, value) => {
        try {
          parseNpy(good.with(at, value));
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("writing", () => {
  test("numpy's own bytes", () => {
    const bytes = writeNpy({ dtype: "f4", shape: [1, 2], data: new Float32Array([1, -10]) });
    const text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }".padEnd(117) + "\n";
    expect(bytes).toEqual(file(text, [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc1]));
  });

  test("reads back what was written, with the data at a multiple of 64", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...(Object.keys(NPY_DTYPES) as NpyDType[])),
        fc.array(fc.nat(4), { maxLength: 4 }),
        (dtype, shape) => {
          const type = NPY_DTYPES[dtype];
          const buffer = new ArrayBuffer(shape.reduce((n, s) => n * s, type.bytes * type.parts));
          new Uint8Array(buffer).forEach((_, i, all) => (all[i] = (i * 7) % 60));
          const array: NpyArray = { dtype, shape, data: type.view(buffer) };
          const bytes = writeNpy(array);
          expect((bytes.length - buffer.byteLength) % 64).toBe(0);
          expect(parseNpy(bytes)).toEqual(array);
        },
      ),
    );
  });

  test("a shape too long for version 1", () => {
    const shape = Array.from({ length: 30_000 }, () => 1);
    const bytes = writeNpy({ dtype: "u1", shape, data: new Uint8Array([5]) });
    expect(bytes[6]).toBe(2);
    expect(parseNpy(bytes).shape.length).toBe(30_000);
  });

  test("refuses data that disagree with dtype or shape", () => {
    expect(() => writeNpy({ dtype: "f4", shape: [2], data: new Float32Array(3) })).toThrow(/of 2 numbers/);
    expect(() => writeNpy({ dtype: "f8", shape: [3], data: new Float32Array(3) })).toThrow(DataError);
    expect(() => writeNpy({ dtype: "c8", shape: [2], data: new Float32Array(2) })).toThrow(/of 4 numbers/);
  });
});

describe("npz", () => {
  const arrays: Record<string, NpyArray> = {
    inputs: { dtype: "i8", shape: [2, 2], data: new BigInt64Array([1n, 2n, 3n, 4n]) },
    scale: { dtype: "f4", shape: [], data: new Float32Array([2]) },
  };

  test("reads back what was written", () => {
    const npz = parseNpz(writeNpz(arrays));
    expect(npz.names).toEqual(["inputs", "scale"]);
    for (const name of npz.names) expect(npz.get(name)).toEqual(arrays[name]);
    expect(writeNpz(arrays)).toEqual(writeNpz(arrays));
  });

  test("an archive that numpy compressed", () => {
    const npz = parseNpz(Buffer.from(COMPRESSED, "base64"));
    expect(values(npz.get("x"))).toEqual([0, 1, 2, 3]);
  });

  test("foreign and truncated archives, unknown names", () => {
    const bytes = writeNpz(arrays);
    expect(() => parseNpz(new Uint8Array(40))).toThrow(DataError);
    expect(() => parseNpz(bytes.subarray(0, bytes.length - 30), "f.npz")).toThrow(
      /f\.npz.*not a whole \.npz/,
    );
    expect(() => parseNpz(bytes).get("input")).toThrow(ConfigError);
    expect(() => parseNpz(bytes).get("input")).toThrow(/Did you mean "inputs"/);
  });

  test("damage inside is an error of ours", () => {
    const good = Buffer.from(COMPRESSED, "base64");
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), (at, value) => {
        const bad = Uint8Array.from(good).with(at, value);
        try {
          const npz = parseNpz(bad);
          for (const name of npz.names) npz.get(name);
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

test("Python literals", () => {
  expect(parsePythonLiteral(`{"a": (1, -2, 3L), 'b': [True, None,], 'c': ()}`)).toEqual({
    a: [1, -2, 3],
    b: [true, null],
    c: [],
  });
  for (const bad of ["", "{", "{'a' 1}", "{1: 2}", "(1 2)", "1 2", "abc", "__import__('os')", "'a"]) {
    expect(() => parsePythonLiteral(bad)).toThrow(SyntaxError);
  }
});

/** np.savez_compressed(x=np.arange(4, dtype="<i2")) */
const COMPRESSED =
  "UEsDBBQAAAAIAAAAIQDSEDZmTAAAAIgAAAAFABQAeC5ucHkBABAAiAAAAAAAAABMAAAAAAAAAJvsF+obEMnIUMZQrZ6SWpxcpG6l" +
  "oG6TaaSuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5GiY6mjoKtQoUAC4GBkYGJgZmBgBQSwECFAMUAAAACAAAACEA0hA2" +
  "ZkwAAACIAAAABQAAAAAAAAAAAAAAgAEAAAAAeC5ucHlQSwUGAAAAAAEAAQAzAAAAgwAAAAAA";
