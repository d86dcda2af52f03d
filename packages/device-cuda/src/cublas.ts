// cuBLAS, where it is installed: matrix products in float32 (TF32 only when asked for), f16 and bf16, all with float32 sums.

import { ConfigError, DeviceError } from "@everlong/core";
import type { CudaMatrix, CudaProduct } from "@everlong/kernels/cuda";
import { CublasLt, statusError } from "./cublas-lt.ts";
import type { Driver, Handle } from "./driver.ts";
import { bindLibrary } from "./shared-library.ts";
import { libraryCandidates } from "./search-libraries.ts";

const SIGNATURES = {
  cublasCreate: "int cublasCreate_v2(void *)",
  cublasDestroy: "int cublasDestroy_v2(uint64_t)",
  cublasSetStream: "int cublasSetStream_v2(uint64_t, uint64_t)",
  cublasSetWorkspace: "int cublasSetWorkspace_v2(uint64_t, uint64_t, uint64_t)",
  cublasGemm:
    "int cublasGemmStridedBatchedEx(uint64_t, int, int, int, int, int, void *, uint64_t, int, int, int64_t, uint64_t, int, int, int64_t, void *, uint64_t, int, int, int64_t, int, int, int)",
} as const;

const DATA_TYPE = { f32: 0, f16: 2, bf16: 14 } as const;
const COMPUTE_32F = 68;
const COMPUTE_32F_FAST_TF32 = 77;
const WORKSPACE = 32 * 1024 * 1024;
/** Sizes are 32-bit integers; matrices may have more elements than these count. */
const MOST_SIZE = 2 ** 31 - 1;
/** Products of one call: what a grid's third axis holds, which not every version of the library goes beyond. */
const MOST_BATCH = 65_535;

export class Cublas {
  private readonly fn: ReturnType<typeof bindLibrary<keyof typeof SIGNATURES>>;
  private readonly handle: Handle;
  private readonly compute: Readonly<Record<CudaProduct["dtype"], number>>;
  private readonly light: CublasLt | undefined;
  private readonly giveWorkspace: () => void = () => {};
  private readonly one = new Float32Array(new ArrayBuffer(4)).fill(1);
  private readonly zero = new Float32Array(new ArrayBuffer(4));

  private constructor(fn: Cublas["fn"], driver: Driver, stream: Handle, tf32: boolean) {
    this.fn = fn;
    this.compute = { f32: tf32 ? COMPUTE_32F_FAST_TF32 : COMPUTE_32F, f16: COMPUTE_32F, bf16: COMPUTE_32F };
    const cell = new BigUint64Array(new ArrayBuffer(8));
    this.check("cublasCreate", fn.cublasCreate(cell));
    this.handle = Number(cell[0]);
    this.check("cublasSetStream", fn.cublasSetStream(this.handle, stream));
    // A workspace of ours: one of the library's own may not be taken while a graph is recorded.
    const workspace = driver.allocate(WORKSPACE);
    if (workspace === undefined) return;
    this.giveWorkspace = () => driver.free(workspace);
    this.check("cublasSetWorkspace", fn.cublasSetWorkspace(this.handle, workspace, WORKSPACE));
    // Of one stream, so that both may use the same.
    this.light = CublasLt.open(
      stream,
      { address: workspace, bytes: WORKSPACE },
      (dtype) => this.compute[dtype],
    );
  }

  /**
   * The library, or undefined when there is none. `EVERLONG_CUBLAS=off` leaves it out; `EVERLONG_CUBLAS=tf32` rounds the operands of
   * float32 products to 10 bits after the point, for the tensor cores: relative errors of about 3e-4 instead of 1e-6.
   */
  static open(driver: Driver, stream: Handle): Cublas | undefined {
    const asked = process.env["EVERLONG_CUBLAS"] ?? "on";
    if (!["on", "off", "tf32"].includes(asked)) {
      throw new ConfigError("cuda", "EVERLONG_CUBLAS is not known", {
        expected: "on, off or tf32",
        got: asked,
      });
    }
    if (asked === "off") return undefined;
    const failures: string[] = [];
    for (const path of libraryCandidates(["libcublas.so.13", "libcublas.so.12"])) {
      let fn: Cublas["fn"];
      try {
        fn = bindLibrary(path, SIGNATURES);
      } catch {
        continue;
      }
      try {
        return new Cublas(fn, driver, stream, asked === "tf32");
      } catch (error) {
        // A library that is newer than the driver, say.
        failures.push(`${path}: ${(error as DeviceError).message}`);
      }
    }
    if (failures.length > 0)
      console.warn(
        `[cuda] cuBLAS cannot be used, products run on the package's kernels. ${failures.join(" ")}`,
      );
    return undefined;
  }

  private check(call: string, code: number): void {
    if (code !== 0) throw statusError(call, code);
  }

  /** Closes the library, behind all work. */
  dispose(): void {
    this.light?.dispose();
    this.check("cublasDestroy", this.fn.cublasDestroy(this.handle));
    this.giveWorkspace();
  }

  /** Whether a product can add its bias and its other matrix in passing. */
  fuses(p: CudaProduct): boolean {
    return p.batch <= MOST_BATCH && this.has(p) && (this.light?.fuses(p) ?? false);
  }

  /** Whether the library knows numbers as large as a product's sizes. */
  has(p: CudaProduct): boolean {
    return Math.max(p.m, p.n, p.k, p.a.leading, p.b.leading, p.c.leading) <= MOST_SIZE;
  }

  /** Row-major c = a b is column-major c^T = b^T a^T. */
  multiply(
    p: CudaProduct,
    a: Handle,
    b: Handle,
    c: Handle,
    more: { readonly bias: Handle | undefined; readonly added: Handle | undefined },
  ): void {
    if (more.bias !== undefined || more.added !== undefined) {
      this.light!.multiply(p, a, b, c, more);
      return;
    }
    const bytes = p.dtype === "f32" ? 4 : 2;
    for (let first = 0; first < p.batch; first += MOST_BATCH) {
      const at = (from: Handle, { batchStride }: CudaMatrix): Handle => from + first * batchStride * bytes;
      this.multiplySome(p, Math.min(MOST_BATCH, p.batch - first), at(a, p.a), at(b, p.b), at(c, p.c));
    }
  }

  private multiplySome(p: CudaProduct, batch: number, a: Handle, b: Handle, c: Handle): void {
    const type = DATA_TYPE[p.dtype];
    this.check(
      "cublasGemmStridedBatchedEx",
      this.fn.cublasGemm(
        this.handle,
        p.b.transposed ? 1 : 0,
        p.a.transposed ? 1 : 0,
        p.n,
        p.m,
        p.k,
        this.one,
        b,
        type,
        p.b.leading,
        p.b.batchStride,
        a,
        type,
        p.a.leading,
        p.a.batchStride,
        this.zero,
        c,
        type,
        p.c.leading,
        p.c.batchStride,
        batch,
        this.compute[p.dtype],
        -1,
      ),
    );
  }
}
