import { beforeEach, expect, test, vi } from "vitest";
import type { CudaMatrix, CudaProduct } from "@everlong/kernels/cuda";
import { CublasLt } from "./cublas-lt.ts";

/** The library, which knows what its objects were told and tells what it is asked to multiply. */
const library = vi.hoisted(() => ({
  multiplied: [] as Record<string, unknown>[],
  refuses: 0,
  asked: 0,
  fails: "",
}));

vi.mock("./search-libraries.ts", () => ({ libraryCandidates: () => ["/nowhere/libcublasLt.so.13"] }));
vi.mock("./shared-library.ts", () => ({
  bindLibrary: () => {
    const objects = new Map<number, Record<string, unknown>>();
    let next = 10;
    const make = (to: BigUint64Array, about: Record<string, unknown>): number => {
      objects.set(next, about);
      to[0] = BigInt(next++);
      return 0;
    };
    const set = (object: number, attribute: number, value: ArrayBufferView, bytes: number): number => {
      const at = new DataView(value.buffer);
      const found = bytes === 8 ? Number(at.getBigInt64(0, true)) : at.getInt32(0, true);
      objects.get(object)![`attribute ${attribute}`] = found;
      return 0;
    };
    const number = (value: ArrayBufferView): number => new DataView(value.buffer).getFloat32(0, true);
    const functions: Record<string, (...given: never[]) => number> = {
      create: (to: BigUint64Array) => make(to, {}),
      destroy: () => 0,
      descCreate: (to: BigUint64Array, compute: number, scale: number) => make(to, { compute, scale }),
      descSet: set,
      layoutCreate: (to: BigUint64Array, type: number, rows: number, columns: number, leading: number) =>
        make(to, { type, rows, columns, leading }),
      layoutSet: set,
      preferenceCreate: (to: BigUint64Array) => make(to, {}),
      preferenceSet: set,
      heuristic: (...given: unknown[]) => {
        library.asked++;
        (given[8] as Uint8Array).fill(library.asked, 0, 64);
        (given[9] as Int32Array)[0] = 1;
        return library.refuses;
      },
      matmul: (...given: unknown[]) => {
        const [, desc, alpha, a, la, b, lb, beta, c, lc, d, ld, algorithm, workspace, bytes, stream] =
          given as number[];
        const of = (handle: number | undefined): unknown => ({ ...objects.get(handle!) });
        library.multiplied.push({
          desc: of(desc),
          alpha: number(alpha as never),
          a,
          b,
          beta: number(beta as never),
          c,
          d,
          layouts: [la, lb, lc, ld].map(of),
          algorithm: (algorithm as unknown as Uint8Array)[63],
          workspace: [workspace, bytes],
          stream,
        });
        return 0;
      },
    };
    return Object.fromEntries(
      Object.entries(functions).map(([name, f]) => [
        name,
        (...given: never[]) => (library.fails === name ? 13 : f(...given)),
      ]),
    );
  },
}));

beforeEach(() => {
  library.multiplied.length = 0;
  Object.assign(library, { refuses: 0, asked: 0, fails: "" });
});

const matrix = (leading: number, transposed = false): CudaMatrix => ({
  word: { input: 0 },
  leading,
  batchStride: 1000 + leading,
  transposed,
});
/** `[2, 5, 3]` times `[2, 3, 4]`, the second one transposed. */
const product = (more: Partial<CudaProduct> = {}): CudaProduct => ({
  library: "gemm",
  dtype: "bf16",
  m: 5,
  n: 4,
  k: 3,
  batch: 2,
  a: matrix(3),
  b: matrix(7, true),
  c: matrix(4),
  otherwise: [],
  ...more,
});
const word = { input: 2 };
const opened = (): CublasLt => CublasLt.open(99, { address: 5000, bytes: 64 }, () => 68)!;
const [A, B, C] = [2 ** 40, 2 ** 41, 2 ** 42];
const EPILOGUE = "attribute 7";
const BIAS = "attribute 8";

test("a bias is where the call says, call by call, and the other matrix is added", () => {
  const light = opened();
  const both = product({ bias: word, added: word });
  const one = product({ bias: word });
  for (const [i, bias] of [2 ** 33, 2 ** 45, 2 ** 33 + 512].entries()) {
    light.multiply(both, A, B, C, { bias, added: 2 ** 44 + i });
    light.multiply(one, A, B, C, { bias: bias + 16, added: undefined });
  }
  light.multiply(product({ added: word }), A, B, C, { bias: undefined, added: 2 ** 43 });
  const told = library.multiplied.map(({ desc, beta, c, d }) => {
    const { [EPILOGUE]: epilogue, [BIAS]: bias } = desc as Record<string, number>;
    return [epilogue, bias, beta, c, d];
  });
  expect(told).toEqual([
    ...[2 ** 33, 2 ** 45, 2 ** 33 + 512].flatMap((bias, i) => [
      [4, bias, 1, 2 ** 44 + i, C],
      [4, bias + 16, 0, C, C],
    ]),
    [undefined, undefined, 1, 2 ** 43, C],
  ]);
});

test("a row-major product is the library's of the other order, with the choice that was made for its sizes", () => {
  const light = opened();
  light.multiply(product({ bias: word }), A, B, C, { bias: 16, added: undefined });
  light.multiply(product({ bias: word, m: 6 }), A, B, C, { bias: 16, added: undefined });
  light.multiply(product({ bias: word }), A, B, C, { bias: 16, added: undefined });
  expect(library.asked).toBe(2);
  expect(library.multiplied.map(({ algorithm }) => algorithm)).toEqual([1, 2, 1]);
  const [first] = library.multiplied;
  const layout = (rows: number, columns: number, leading: number): object => ({
    type: 14,
    rows,
    columns,
    leading,
    "attribute 5": 2,
    "attribute 6": 1000 + leading,
  });
  expect(first).toMatchObject({
    desc: { compute: 68, scale: 0, "attribute 3": 1, "attribute 4": 0 },
    alpha: 1,
    a: B,
    b: A,
    // Column-major: b transposed is [4, 3] with rows of 3; a is [3, 5], c is [4, 5].
    layouts: [layout(3, 4, 7), layout(3, 5, 3), layout(4, 5, 4), layout(4, 5, 4)],
    workspace: [5000, 64],
    stream: 99,
  });
});

test("what the library has no kernel for is not its own, and a failure is told", () => {
  const light = opened();
  library.refuses = 15;
  expect(light.fuses(product({ bias: word }))).toBe(false);
  library.refuses = 0;
  // Kept: the same product is not asked for again.
  expect(light.fuses(product({ bias: word }))).toBe(false);
  expect(light.fuses(product({ added: word }))).toBe(true);
  library.fails = "descSet";
  const more = { bias: 16, added: undefined };
  const kept = product({ bias: word, m: 9 });
  expect(() => light.fuses(kept)).toThrow(
    /cublasLtMatmulDescSetAttribute failed: got CUBLAS_STATUS_EXECUTION_FAILED/,
  );
  library.fails = "";
  light.fuses(kept);
  library.fails = "descSet";
  expect(() => light.multiply(kept, A, B, C, more)).toThrow(/DescSetAttribute failed/);
  library.fails = "matmul";
  expect(() => light.multiply(kept, A, B, C, more)).toThrow(/cublasLtMatmul failed/);
});
