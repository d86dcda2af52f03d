// The device "reference": float64 on the host, always present, plain enough to be believed. Other devices are tested
// against it. Buffers of every dtype are Float64Arrays whose values the dtype can hold.

import type { Buffer, Device, DeviceStats, Executable, Program } from "../device.ts";
import { DTYPES, type DType, type TypedArray } from "../dtype.ts";
import { DeviceError, invariant } from "../errors.ts";
import { registerDevice } from "../settings.ts";
import { describeStep } from "./describe.ts";
import { fromFloat64, prepareProgram, toFloat64 } from "./program.ts";

/** What the garbage collector finds without anyone having freed it leaves the account then. */
const forgotten = new FinalizationRegistry<{ readonly device: ReferenceDevice; readonly bytes: number }>(
  ({ device, bytes }) => device.account(-bytes),
);

class ReferenceBuffer implements Buffer {
  readonly device: ReferenceDevice;
  /** Bytes that the dtype takes elsewhere, so that accounting agrees between devices. */
  readonly bytes: number;
  #data: Float64Array | undefined;

  constructor(device: ReferenceDevice, bytes: number, data: Float64Array) {
    this.device = device;
    this.bytes = bytes;
    this.#data = data;
    device.account(bytes);
    forgotten.register(this, { device, bytes }, this);
  }

  get data(): Float64Array {
    if (!this.#data) throw new DeviceError("reference", "a freed or donated buffer is used");
    return this.#data;
  }

  /** Puts a result in the place of a donated value. */
  replace(data: Float64Array): void {
    invariant(this.#data, "a freed buffer is donated");
    this.#data = data;
  }

  free(): void {
    if (!this.#data) throw new DeviceError("reference", "a buffer is freed twice");
    this.#data = undefined;
    forgotten.unregister(this);
    this.device.account(-this.bytes);
  }
}

/** Float64 on the host. See `arithmetic.ts` for what every function means on every device. */
export class ReferenceDevice implements Device {
  readonly name = "reference";
  readonly defaultFloat = "f64";
  readonly dtypes: readonly DType[] = Object.keys(DTYPES) as DType[];
  #liveBytes = 0;
  #peakBytes = 0;
  #launches = 0;

  get stats(): DeviceStats {
    return { liveBytes: this.#liveBytes, peakBytes: this.#peakBytes, kernels: 0, launches: this.#launches };
  }

  /** Adds to the bytes held. */
  account(bytes: number): void {
    this.#liveBytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#liveBytes);
  }

  supports(): true {
    return true;
  }

  upload(data: TypedArray, dtype: DType): Buffer {
    return new ReferenceBuffer(this, data.length * DTYPES[dtype].bytes, toFloat64(data, dtype));
  }

  download(buffer: Buffer, dtype: DType, length: number): Promise<TypedArray> {
    return Promise.resolve(fromFloat64(own(this, buffer).data.subarray(0, length), dtype));
  }

  load(program: Program): Executable {
    const run = prepareProgram(program);
    const results = program.buffers
      .filter((b) => b.role.kind === "output")
      .sort((a, b) => (a.role as { index: number }).index - (b.role as { index: number }).index);
    this.account(program.arenaBytes);
    let disposed = false;
    const executable: Executable = {
      run: (inputs) => {
        if (disposed) throw new DeviceError("reference", "a disposed program is run");
        const args = inputs.map((b) => own(this, b));
        const outputs = results.map((b) => new Float64Array(b.bytes / DTYPES[b.dtype].bytes));
        run(
          args.map((b) => b.data),
          outputs,
        );
        this.#launches += program.steps.length;
        return outputs.map((data, i) => {
          const donated = program.donated[i];
          if (donated === undefined) return new ReferenceBuffer(this, results[i]!.bytes, data);
          const buffer = args[donated]!;
          invariant(buffer.bytes === results[i]!.bytes, "a donated buffer has the size of its output");
          buffer.replace(data);
          return buffer;
        });
      },
      describe: () => program.steps.map(describeStep).join("\n"),
      dispose: () => {
        if (!disposed) this.account(-program.arenaBytes);
        disposed = true;
        forgotten.unregister(executable);
      },
    };
    forgotten.register(executable, { device: this, bytes: program.arenaBytes }, executable);
    return executable;
  }
}

function own(device: ReferenceDevice, buffer: Buffer): ReferenceBuffer {
  if (buffer instanceof ReferenceBuffer && buffer.device === device) return buffer;
  throw new DeviceError("reference", "a buffer of another device", { got: buffer.device.name });
}

/** Makes `device("reference")` known. */
export function registerReference(): void {
  registerDevice("reference", () => new ReferenceDevice());
}
