// cuBLASLt, where it is installed: products that add a bias and another matrix in passing. The library's choice of a kernel is asked for once
// per shape and kept.

import { DeviceError } from "@everlong/core";
import type { CudaMatrix, CudaProduct } from "@everlong/kernels/cuda";
import type { Handle } from "./driver.ts";
import { bindLibrary } from "./shared-library.ts";
import { libraryCandidates } from "./search-libraries.ts";

const SIGNATURES = {
  create: "int cublasLtCreate(void *)",
  destroy: "int cublasLtDestroy(uint64_t)",
  descCreate: "int cublasLtMatmulDescCreate(void *, int, int)",
  descSet: "int cublasLtMatmulDescSetAttribute(uint64_t, int, void *, uint64_t)",
  layoutCreate: "int cublasLtMatrixLayoutCreate(void *, int, uint64_t, uint64_t, int64_t)",
  layoutSet: "int cublasLtMatrixLayoutSetAttribute(uint64_t, int, void *, uint64_t)",
  preferenceCreate: "int cublasLtMatmulPreferenceCreate(void *)",
  preferenceSet: "int cublasLtMatmulPreferenceSetAttribute(uint64_t, int, void *, uint64_t)",
  heuristic:
    "int cublasLtMatmulAlgoGetHeuristic(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, int, void *, void *)",
  matmul:
    "int cublasLtMatmul(uint64_t, uint64_t, void *, uint64_t, uint64_t, uint64_t, uint64_t, void *, uint64_t, uint64_t, uint64_t, uint64_t, void *, uint64_t, uint64_t, uint64_t)",
} as const;

// Numbers of the library's header (cublasLt.h).
const DATA_TYPE = { f32: 0, f16: 2, bf16: 14 } as const;
const DESC = { transA: 3, transB: 4, epilogue: 7, biasPointer: 8 } as const;
const LAYOUT = { batchCount: 5, batchStride: 6 } as const;
const MOST_WORKSPACE = 1;
const EPILOGUE_BIAS = 4;
/** cublasLtMatmulHeuristicResult_t: 64 bytes of algorithm, workspace, state, waves. */
const RESULT_BYTES = 128;
const STATE_AT = 72;

/** A product made ready. */
interface Plan {
  readonly desc: Handle;
  readonly a: Handle;
  readonly b: Handle;
  readonly c: Handle;
  readonly algorithm: Uint8Array;
}

const STATUS: Readonly<Record<number, string>> = {
  1: "NOT_INITIALIZED",
  3: "ALLOC_FAILED",
  7: "INVALID_VALUE",
  8: "ARCH_MISMATCH",
  11: "MAPPING_ERROR",
  13: "EXECUTION_FAILED",
  14: "INTERNAL_ERROR",
  15: "NOT_SUPPORTED",
};

/** The error of a failed call of cuBLAS or cuBLASLt. */
export const statusError = (call: string, code: number): DeviceError =>
  new DeviceError("cuda", `${call} failed`, {
    got: `CUBLAS_STATUS_${STATUS[code] ?? code}`,
    hint: "EVERLONG_CUBLAS=off leaves the library out.",
  });

const bytes = (n: number): ArrayBuffer => new ArrayBuffer(n);

export class CublasLt {
  private readonly fn: ReturnType<typeof bindLibrary<keyof typeof SIGNATURES>>;
  private readonly handle: Handle;
  private readonly stream: Handle;
  private readonly workspace: { readonly address: Handle; readonly bytes: number };
  private readonly compute: (dtype: CudaProduct["dtype"]) => number;
  private preference: Handle | undefined;
  private readonly plans = new Map<string, Plan | undefined>();
  private readonly cell = new BigUint64Array(bytes(8));
  private readonly one = new Float32Array(bytes(4)).fill(1);
  private readonly zero = new Float32Array(bytes(4));

  private constructor(
    fn: CublasLt["fn"],
    stream: Handle,
    workspace: CublasLt["workspace"],
    compute: CublasLt["compute"],
  ) {
    [this.fn, this.stream, this.workspace, this.compute] = [fn, stream, workspace, compute];
    this.check("cublasLtCreate", fn.create(this.cell));
    this.handle = Number(this.cell[0]);
  }

  /** The library, or undefined when there is none. @param compute the library's number of how a dtype is multiplied */
  static open(
    stream: Handle,
    workspace: { readonly address: Handle; readonly bytes: number },
    compute: (dtype: CudaProduct["dtype"]) => number,
  ): CublasLt | undefined {
    for (const path of libraryCandidates(["libcublasLt.so.13", "libcublasLt.so.12"])) {
      try {
        return new CublasLt(bindLibrary(path, SIGNATURES), stream, workspace, compute);
      } catch (error) {
        if (error instanceof DeviceError) throw error;
      }
    }
    return undefined;
  }

  private check(call: string, code: number): void {
    if (code !== 0) throw statusError(call, code);
  }

  dispose(): void {
    this.check("cublasLtDestroy", this.fn.destroy(this.handle));
  }

  private made(call: string, make: (cell: BigUint64Array) => number): Handle {
    this.check(call, make(this.cell));
    return Number(this.cell[0]);
  }

  /** Whether the library has a kernel for a product. */
  fuses(p: CudaProduct): boolean {
    return this.planOf(p) !== undefined;
  }

  private planOf(p: CudaProduct): Plan | undefined {
    const matrix = (m: CudaMatrix): string => `${m.leading},${m.batchStride},${m.transposed}`;
    const key = [p.dtype, p.m, p.n, p.k, p.batch, ...[p.a, p.b, p.c].map(matrix), !!p.bias, !!p.added].join();
    if (!this.plans.has(key)) this.plans.set(key, this.plan(p));
    return this.plans.get(key);
  }

  /** Row-major c = a b is column-major c^T = b^T a^T. */
  private plan(p: CudaProduct): Plan | undefined {
    const { fn } = this;
    const desc = this.made("cublasLtMatmulDescCreate", (cell) =>
      fn.descCreate(cell, this.compute(p.dtype), DATA_TYPE.f32),
    );
    const set = (attribute: number, value: number): void =>
      this.check(
        "cublasLtMatmulDescSetAttribute",
        fn.descSet(desc, attribute, new Int32Array(bytes(4)).fill(value), 4),
      );
    set(DESC.transA, p.b.transposed ? 1 : 0);
    set(DESC.transB, p.a.transposed ? 1 : 0);
    if (p.bias) set(DESC.epilogue, EPILOGUE_BIAS);
    const layout = (m: CudaMatrix, rows: number, columns: number): Handle => {
      // A transposed matrix lies with the other axis dense.
      const [dense, other] = m.transposed ? [rows, columns] : [columns, rows];
      const made = this.made("cublasLtMatrixLayoutCreate", (cell) =>
        fn.layoutCreate(cell, DATA_TYPE[p.dtype], dense, other, m.leading),
      );
      if (p.batch > 1) {
        const count = new Int32Array(bytes(4)).fill(p.batch);
        const stride = new BigInt64Array(bytes(8)).fill(BigInt(m.batchStride));
        this.check("cublasLtMatrixLayoutSetAttribute", fn.layoutSet(made, LAYOUT.batchCount, count, 4));
        this.check("cublasLtMatrixLayoutSetAttribute", fn.layoutSet(made, LAYOUT.batchStride, stride, 8));
      }
      return made;
    };
    const [a, b, c] = [layout(p.b, p.k, p.n), layout(p.a, p.m, p.k), layout(p.c, p.m, p.n)];
    this.preference ??= this.newPreference();
    const result = new Uint8Array(bytes(RESULT_BYTES));
    const found = new Int32Array(bytes(4));
    const code = fn.heuristic(this.handle, desc, a, b, c, c, this.preference, 1, result, found);
    const state = new DataView(result.buffer).getInt32(STATE_AT, true);
    return code === 0 && found[0]! > 0 && state === 0
      ? { desc, a, b, c, algorithm: result.slice(0, 64) }
      : undefined;
  }

  private newPreference(): Handle {
    const { fn } = this;
    const made = this.made("cublasLtMatmulPreferenceCreate", (cell) => fn.preferenceCreate(cell));
    const most = new BigUint64Array(bytes(8)).fill(BigInt(this.workspace.bytes));
    this.check("cublasLtMatmulPreferenceSetAttribute", fn.preferenceSet(made, MOST_WORKSPACE, most, 8));
    return made;
  }

  /** c = a b, plus the bias on every row and the added matrix where there are any. */
  multiply(
    p: CudaProduct,
    a: Handle,
    b: Handle,
    c: Handle,
    { bias, added }: { readonly bias: Handle | undefined; readonly added: Handle | undefined },
  ): void {
    const plan = this.planOf(p)!;
    const { fn } = this;
    if (bias !== undefined) {
      this.cell[0] = BigInt(bias);
      this.check("cublasLtMatmulDescSetAttribute", fn.descSet(plan.desc, DESC.biasPointer, this.cell, 8));
    }
    this.check(
      "cublasLtMatmul",
      fn.matmul(
        this.handle,
        plan.desc,
        this.one,
        b,
        plan.a,
        a,
        plan.b,
        added === undefined ? this.zero : this.one,
        added ?? c,
        plan.c,
        c,
        plan.c,
        plan.algorithm,
        this.workspace.address,
        this.workspace.bytes,
        this.stream,
      ),
    );
  }
}
