// A device where there is no GPU: every step is lowered to CUDA as on an H100, its kernels are collected, and its values come from the
// reference. It shows that code is generated for whatever a program holds, and feeds that code to compilers.

import {
  DTYPES,
  runStepReference,
  writeElement,
  type Buffer,
  type Device,
  type DeviceStats,
  type DType,
  type Executable,
  type Program,
  type ScanStep,
  type Step,
  type TypedArray,
} from "@everlong/core";
import { H100, type CudaProduct, type CudaStep, type CudaTarget } from "@everlong/kernels/cuda";
import { foldSums } from "./fold-sums.ts";
import { joinedKernel } from "./join-launches.ts";
import { lower } from "./lowering.ts";

class HostBuffer implements Buffer {
  readonly device: Device;
  data: TypedArray;

  constructor(device: Device, data: TypedArray) {
    this.device = device;
    this.data = data;
  }

  get bytes(): number {
    return this.data.byteLength;
  }

  free(): void {}
}

export interface LoweringOptions {
  /** What to lower for. Default: an H100. */
  readonly target?: CudaTarget;
  /** Whether values are computed; zeros otherwise. Default true. */
  readonly computes?: boolean;
}

export class LoweringDevice implements Device {
  readonly name = "cuda-lowering";
  readonly target: CudaTarget;
  private readonly computes: boolean;
  readonly defaultFloat = "f32";
  readonly dtypes: readonly DType[] = ["f32", "f16", "bf16", "i32", "u8", "bool"];
  readonly mostTensorBytes: number = Number.MAX_SAFE_INTEGER;
  readonly stats: DeviceStats = { liveBytes: 0, peakBytes: 0, kernels: 0, launches: 0 };
  /** Every kernel that was asked for, by key. */
  readonly kernels: Map<string, CudaStep["kernel"]> = new Map();

  constructor({ target = H100, computes = true }: LoweringOptions = {}) {
    this.target = target;
    this.computes = computes;
  }

  supports(step: Step): true | string {
    if (step.kind === "scan") {
      for (const inner of step.body.steps) {
        const answer = this.supports(inner);
        if (answer !== true) return answer;
      }
      return true;
    }
    const lowered = lower(step, this.target);
    return typeof lowered === "string" ? lowered : true;
  }

  upload(data: TypedArray, dtype: DType): Buffer {
    const host = DTYPES[dtype].array(data.length);
    if (host.constructor === data.constructor) host.set(data as never);
    else for (let i = 0; i < data.length; i++) writeElement(dtype, host, i, data[i]!);
    return new HostBuffer(this, host);
  }

  download(buffer: Buffer, _dtype: DType, length: number): Promise<TypedArray> {
    return Promise.resolve((buffer as HostBuffer).data.slice(0, length));
  }

  load(program: Program): Executable {
    this.collect(program);
    return {
      run: (inputs) => {
        const storage = program.buffers.map((b): TypedArray => {
          if (!this.computes) return this.fresh(b.dtype, b.role.kind === "output" ? b.bytes : 0);
          if (b.role.kind === "input") return (inputs[b.role.index] as HostBuffer).data.slice();
          if (b.role.kind === "constant") return b.role.data;
          return this.fresh(b.dtype, b.bytes);
        });
        if (this.computes) for (const step of program.steps) this.runStep(step, storage);
        const results: Buffer[] = [];
        program.buffers.forEach((b, i) => {
          if (b.role.kind === "output") results[b.role.index] = new HostBuffer(this, storage[i]!);
        });
        return results;
      },
      describe: () => "",
      dispose: () => {},
    };
  }

  /** Memory for a buffer of a program. */
  protected fresh(dtype: DType, bytes: number): TypedArray {
    return DTYPES[dtype].array(bytes / DTYPES[dtype].bytes);
  }

  protected runStep(step: Step, storage: TypedArray[]): void {
    runStepReference(step, storage);
  }

  private collect(program: Program): void {
    const add = (s: CudaStep | CudaProduct): void => {
      if ("library" in s) s.otherwise.forEach(add);
      else {
        this.kernels.set(s.kernel.key, s.kernel);
        if (s.blockFunction) {
          const joined = joinedKernel(s);
          this.kernels.set(joined.key, joined);
        }
      }
    };
    for (const step of program.steps) if (step.kind === "scan") this.collect((step as ScanStep).body);
    const single = program.steps.map((step) => (step.kind === "scan" ? undefined : lower(step, this.target)));
    // With the vendor's library and without.
    const folded = [true, false].map((fuses) => foldSums(program, single, this.target, () => fuses));
    for (const lowered of [single, ...folded].flat())
      if (lowered && typeof lowered !== "string") lowered.steps.forEach(add);
  }
}
