// Recording: checks an operation's operands and adds its node to the graph.

import type { Device } from "./device.ts";
import { DeviceError, DTypeError, ShapeError } from "./errors.ts";
import { checkDType } from "./dtype.ts";
import { Node } from "./graph.ts";
import type { OpDef, TensorType } from "./op.ts";
import type { Examples, Operation, Primitive, PrimitiveParams } from "./primitives.ts";
import { bytesOf, shapeRules } from "./rules/shape.ts";
import { debugFlag, defaultDevice } from "./settings.ts";
import { show } from "./shape.ts";
import { Tensor } from "./tensor.ts";

/** Where a device does not say: a single buffer must be addressable by 32-bit kernels. */
const MOST_BYTES = 2 ** 32 - 2 ** 16;

/** Records a primitive on tensors of one device; returns its outputs. */
export function record<P extends Primitive>(
  name: P,
  params: PrimitiveParams[P],
  inputs: readonly Tensor[],
  on?: Device,
): Tensor[] {
  const device = on ?? inputs[0]?.device ?? defaultDevice();
  for (const t of inputs) {
    if (t.device !== device) {
      throw new DeviceError(
        nameOf({ name, params } as unknown as Operation),
        "tensors are on different devices",
        {
          got:
            device.name === t.device.name
              ? `two that are both called ${device.name}`
              : `${device.name} and ${t.device.name}`,
        },
      );
    }
  }
  const rule = shapeRules[name] as (i: readonly TensorType[], p: PrimitiveParams[P]) => TensorType[];
  const types = rule(
    inputs.map((t) => t.node.outputs[t.index]!),
    params,
  );
  const operation = { name, params } as unknown as Operation;
  for (const type of types) checkType(nameOf(operation), type, device);
  const node = new Node(operation, inputs, types, device, debugFlag("nan") ? callSite() : undefined);
  return types.map((_, i) => new Tensor(node, i));
}

/** {@link record} for primitives with one output. */
export function record1<P extends Primitive>(
  name: P,
  params: PrimitiveParams[P],
  inputs: readonly Tensor[],
  on?: Device,
): Tensor {
  return record(name, params, inputs, on)[0]!;
}

export const recordFused = (
  def: OpDef,
  inputs: readonly Tensor[],
  params: unknown,
  examples?: Examples,
): Tensor[] => record("fused", { def, params, ...(examples ? { examples } : {}) }, inputs);

/** What the user called: the function of an elementwise primitive, the name of a fused op. */
function nameOf(operation: Operation): string {
  switch (operation.name) {
    case "unary":
    case "binary":
    case "compare":
    case "reduce":
      return operation.params.fn;
    case "fused":
      return operation.params.def.name;
    default:
      return operation.name;
  }
}

function checkType(op: string, type: TensorType, device: Device): void {
  checkDType(op, type.dtype);
  if (!device.dtypes.includes(type.dtype)) {
    throw new DTypeError(op, `device ${device.name} has no ${type.dtype}`, {
      expected: device.dtypes.join(", "),
    });
  }
  const most = device.mostTensorBytes ?? MOST_BYTES;
  if (bytesOf(type) > most) {
    throw new ShapeError(op, "tensor is too large", {
      expected: `at most ${Math.ceil(most / 2 ** 30)} GiB in one tensor`,
      got: `${type.dtype}${show(type.shape)}, ${(bytesOf(type) / 2 ** 30).toFixed(2)} GiB`,
    });
  }
}

/** The first stack frame outside Everlong's own sources. */
function callSite(): string | undefined {
  const frames = (new Error().stack ?? "").split("\n").slice(1);
  const own = /[\\/]packages[\\/](core|kernels|nn|train|device-[a-z]+)[\\/]src[\\/](?!.*\.test\.ts)/;
  return frames
    .find((f) => !own.test(f) && !f.includes("node:internal"))
    ?.trim()
    .replace(/^at /, "");
}
