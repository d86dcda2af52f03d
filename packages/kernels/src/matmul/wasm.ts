// The matrix product on the CPU: how a call is cut into units, and the sources of `matmul` and `linear`.

import { named } from "../inputs.ts";
import type {
  ArgWord,
  WasmCall,
  WasmLowering,
  WasmSource,
  WasmStep,
  WasmTarget,
  WasmView,
} from "../wasm-step.ts";
import { ACTIVATIONS, type LinearParams } from "./op.ts";
import {
  buildGather,
  buildProduct,
  GATHER_ARGS,
  PRODUCT_ARGS,
  type GatherArg,
  type ProductArg,
} from "./wasm-block.ts";
import { buildDots, DOT_ARGS, DOT_ROWS, type DotArg } from "./wasm-dots.ts";
import { epilogueKey, isPlain, type Epilogue } from "./wasm-epilogue.ts";
import { tileOf } from "./wasm-tile.ts";

/** One operand: where it is and its strides in elements. Batch axes come first; size-1 axes are broadcast. */
interface Operand {
  readonly word: (byteOffset: number) => ArgWord;
  readonly view: WasmView;
}

export interface ProductRequest {
  /** `[..., M, K]` */
  readonly a: Operand;
  /** `[..., K, N]` */
  readonly b: Operand;
  /** Index of the output `[..., M, N]`. */
  readonly output: number;
  readonly epilogue: Epilogue;
  /** Address of the bias `[N]`. */
  readonly bias?: ArgWord;
  /** Index of the output for the value before the activation. */
  readonly keep?: number;
}

const PLAIN: Epilogue = { activation: "none", bias: false, keep: false };
/** A right operand up to this many bytes is read again for every block of rows without leaving the last cache. */
const SMALL_RIGHT = 6 * 2 ** 20;
/** Bytes of A that a unit packs at a time where B is small. */
const LEFT_BLOCK = 72 * 1024;
const bytesOf = (elements: number): number => 4 * elements;
const roundUp = (n: number, to: number): number => Math.ceil(n / to) * to;
const strideOf = (view: WasmView, axis: number): number => (view.shape[axis] === 1 ? 0 : view.strides[axis]!);

/** Batch axes of both operands, merged where both step evenly: sizes with byte strides, at most three, padded in front. */
function batchAxes(a: WasmView, b: WasmView): { size: number; a: number; b: number }[] | undefined {
  const rank = Math.max(a.shape.length, b.shape.length) - 2;
  const merged: { size: number; a: number; b: number }[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const own = (v: WasmView): { size: number; stride: number } => {
      const i = axis - (rank + 2 - v.shape.length);
      return i < 0 ? { size: 1, stride: 0 } : { size: v.shape[i]!, stride: bytesOf(strideOf(v, i)) };
    };
    const [x, y] = [own(a), own(b)];
    const size = x.size === 1 ? y.size : x.size;
    if (size === 1) continue;
    const last = merged.at(-1);
    if (last && last.a === x.stride * size && last.b === y.stride * size) {
      merged[merged.length - 1] = { size: last.size * size, a: x.stride, b: y.stride };
    } else merged.push({ size, a: x.stride, b: y.stride });
  }
  if (merged.length > 3) return undefined;
  while (merged.length < 3) merged.unshift({ size: 1, a: 0, b: 0 });
  return merged;
}

const words = <K extends string>(order: readonly K[], values: { readonly [P in K]: ArgWord }): ArgWord[] =>
  order.map((name) => values[name]);

/**
 * Steps of one product with its epilogue. The order of every sum depends on the inner size and the shape alone.
 * @returns a reason where the batch axes are too scattered.
 */
export function productSteps(request: ProductRequest, target: WasmTarget): WasmLowering | string {
  const { epilogue } = request;
  // one column: the transposed product has its results contiguous too, and rows to spare for the lanes
  const flip = request.b.view.shape.at(-1) === 1 && request.a.view.shape.at(-2)! > 1 && isPlain(epilogue);
  const a = flip ? transposedOperand(request.b) : request.a;
  const b = flip ? transposedOperand(request.a) : request.b;
  const tile = tileOf(target);
  const [rows, inner] = a.view.shape.slice(-2) as [number, number];
  const columns = b.view.shape.at(-1)!;
  const batch = batchAxes(a.view, b.view);
  if (!batch) return "more than three batch axes that do not merge";
  const count = batch.reduce((n, axis) => n * axis.size, 1);
  const key = `${target.width}${target.relaxed ? "r" : "s"}`;
  const output = (index: number): ArgWord => ({ output: index });

  const contiguousInner = a.view.strides.at(-1) === 1 && b.view.strides.at(-2) === 1;
  if (rows <= DOT_ROWS && contiguousInner) {
    const columnsPerUnit = Math.max(4, 4 * Math.ceil(16384 / Math.max(1, inner * rows)));
    const columnBlocks = Math.ceil(columns / columnsPerUnit);
    const values: { readonly [K in DotArg]: ArgWord } = {
      a: a.word(bytesOf(a.view.offset)),
      b: b.word(bytesOf(b.view.offset)),
      c: output(request.output),
      rows,
      columns,
      inner,
      aRow: bytesOf(a.view.strides.at(-2)!),
      bColumn: bytesOf(b.view.strides.at(-1)!),
      columnsPerUnit,
      columnBlocks,
      batch1: batch[1]!.size,
      batch2: batch[2]!.size,
      aBatch0: batch[0]!.a,
      aBatch1: batch[1]!.a,
      aBatch2: batch[2]!.a,
      bBatch0: batch[0]!.b,
      bBatch1: batch[1]!.b,
      bBatch2: batch[2]!.b,
      bias: request.bias ?? 0,
      keep: request.keep === undefined ? 0 : output(request.keep),
    };
    const step: WasmStep = {
      kernel: { key: `dots/${key}/${epilogueKey(epilogue)}`, build: (module) => buildDots(module, epilogue) },
      entry: "dots",
      args: words(DOT_ARGS, values),
      units: rows * columns === 0 ? 0 : count * columnBlocks,
      grain: 1,
      scratchBytes: 4 * 16 * target.width + 64,
    };
    return { steps: step.units > 0 ? [step] : [] };
  }

  const tiles = count * Math.ceil(rows / tile.rows) * Math.ceil(columns / tile.columns);
  // a long inner axis over few tiles is cut into parts, so that threads have work
  const splits = inner >= 2048 && tiles < 1536 ? Math.min(32, Math.floor(inner / 1024)) : 1;
  const splitLength = splits === 1 ? inner : roundUp(Math.ceil(inner / splits), 64);
  const parts = Math.max(1, Math.ceil(inner / Math.max(1, splitLength)));
  // small B: long panels and low blocks, so that both sides' panels stay in the first cache; large B is read less often
  const smallRight = bytesOf(inner * columns) <= SMALL_RIGHT;
  const depth = smallRight
    ? Math.max(1, Math.ceil(splitLength / Math.max(1, Math.ceil(splitLength / 384))))
    : Math.min(Math.max(1, splitLength), splitLength <= 384 ? 384 : 256);

  const columnsPerUnit = columns <= 1024 ? Math.max(1, columns) : 512;
  const columnBlocks = Math.ceil(columns / columnsPerUnit);
  const lowest = Math.max(6, Math.min(32, Math.floor(LEFT_BLOCK / bytesOf(depth) / tile.rows)));
  const mostRows = tile.rows * (smallRight ? lowest : 32);
  let rowsPerUnit = Math.max(tile.rows, Math.min(roundUp(rows, tile.rows), mostRows));
  while (rowsPerUnit > 4 * tile.rows && count * parts * columnBlocks * Math.ceil(rows / rowsPerUnit) < 8)
    rowsPerUnit = roundUp(rowsPerUnit / 2, tile.rows);
  const rowBlocks = Math.ceil(rows / rowsPerUnit);

  const steps: WasmStep[] = [];
  const temps: number[] = [];
  const direct = parts === 1;
  const kernel = (e: Epilogue): WasmStep["kernel"] => ({
    key: `product/${key}/${epilogueKey(e)}`,
    build: (module) => buildProduct(module, e),
  });
  const partEpilogue = direct ? epilogue : PLAIN;
  const packed = rowBlocks >= 3 && inner > 0;
  const none: ArgWord = 0;
  const common: { readonly [K in ProductArg]: ArgWord } = {
    a: a.word(bytesOf(a.view.offset)),
    b: b.word(bytesOf(b.view.offset)),
    c: direct ? output(request.output) : { temp: 0 },
    rows,
    columns,
    inner,
    aRow: bytesOf(a.view.strides.at(-2)!),
    aInner: bytesOf(a.view.strides.at(-1)!),
    bInner: bytesOf(b.view.strides.at(-2)!),
    bColumn: bytesOf(b.view.strides.at(-1)!),
    rowsPerUnit,
    columnsPerUnit,
    rowBlocks,
    columnBlocks,
    splits: parts,
    splitLength: Math.max(1, splitLength),
    splitStride: bytesOf(count * rows * columns),
    depth,
    packed: packed ? 1 : 0,
    batch1: batch[1]!.size,
    batch2: batch[2]!.size,
    aBatch0: batch[0]!.a,
    aBatch1: batch[1]!.a,
    aBatch2: batch[2]!.a,
    bBatch0: batch[0]!.b,
    bBatch1: batch[1]!.b,
    bBatch2: batch[2]!.b,
    cBatch: bytesOf(rows * columns),
    bias: direct ? (request.bias ?? none) : none,
    keep: direct && request.keep !== undefined ? output(request.keep) : none,
  };
  if (!direct) temps.push(bytesOf(parts * count * rows * columns));
  let product = common;
  if (packed) {
    const panels = Math.ceil(columns / tile.columns);
    const panelBytes = bytesOf(inner * tile.columns);
    // axes over which B does not change share their panels
    const bCount = batch.map((axis) => (axis.b === 0 ? 1 : axis.size));
    const [p0, p1, p2] = bCount as [number, number, number];
    const temp = temps.push(p0 * p1 * p2 * panels * panelBytes) - 1;
    steps.push({
      kernel: kernel(partEpilogue),
      entry: "packRight",
      args: words(PRODUCT_ARGS, { ...common, c: { temp }, columnBlocks: panels, batch1: p1, batch2: p2 }),
      units: p0 * p1 * p2 * panels,
      grain: Math.max(1, Math.floor(65536 / panelBytes)),
      scratchBytes: 0,
    });
    const stride = (axis: number, inside: number): number =>
      batch[axis]!.b === 0 ? 0 : inside * panels * panelBytes;
    product = {
      ...common,
      b: { temp },
      bBatch0: stride(0, p1 * p2),
      bBatch1: stride(1, p2),
      bBatch2: stride(2, 1),
    };
  }
  const leftBytes = bytesOf((rowsPerUnit + tile.rows) * depth);
  const rightBytes = packed ? 0 : bytesOf(roundUp(columnsPerUnit, tile.columns) * depth);
  const units = rows * columns === 0 ? 0 : count * parts * rowBlocks * columnBlocks;
  const unitWork = Math.min(rows, rowsPerUnit) * Math.min(columns, columnsPerUnit) * Math.max(1, splitLength);
  steps.push({
    kernel: kernel(partEpilogue),
    entry: "product",
    args: words(PRODUCT_ARGS, product),
    units,
    grain: Math.max(1, Math.floor(262144 / unitWork)),
    scratchBytes: roundUp(bytesOf(tile.rows * tile.columns) + leftBytes + rightBytes + 128, 64),
  });
  if (!direct) {
    const gatherRows = Math.max(1, Math.floor(8192 / Math.max(1, columns * parts)));
    const gatherArgs: { readonly [K in GatherArg]: ArgWord } = {
      parts: { temp: 0 },
      partStride: bytesOf(count * rows * columns),
      splits: parts,
      c: output(request.output),
      rows: count * rows,
      columns,
      rowsPerUnit: gatherRows,
      bias: request.bias ?? none,
      keep: request.keep === undefined ? none : output(request.keep),
    };
    steps.push({
      kernel: {
        key: `gather/${key}/${epilogueKey(epilogue)}`,
        build: (module) => buildGather(module, epilogue),
      },
      entry: "gatherSplits",
      args: words(GATHER_ARGS, gatherArgs),
      units: columns === 0 ? 0 : Math.ceil((count * rows) / gatherRows),
      grain: 1,
      scratchBytes: 0,
    });
  }
  return { steps: steps.filter((s) => s.units > 0), ...(temps.length > 0 ? { temps } : {}) };
}

const inputOperand = (
  call: { readonly inputs: readonly WasmView[] },
  input: number,
  view?: WasmView,
): Operand => ({
  word: (byteOffset) => ({ input, byteOffset }),
  view: view ?? call.inputs[input]!,
});

const transposed = (view: WasmView): WasmView => {
  const swap = (list: readonly number[]): number[] => [...list.slice(0, -2), list.at(-1)!, list.at(-2)!];
  return { ...view, shape: swap(view.shape), strides: swap(view.strides) };
};

const transposedOperand = (operand: Operand): Operand => ({ ...operand, view: transposed(operand.view) });

/** Whether a product can read this view as it is: float32, two or more axes. */
const readable = (view: WasmView): boolean => view.dtype === "f32" && view.shape.length >= 2;

/** `(a [..., M, K], b [..., K, N]) -> [..., M, N]`; any strides, broadcast batch axes. */
export const matmulWasm: WasmSource<unknown> = {
  accepts: (_, view) => readable(view),
  lower: (call, target) => {
    if (call.inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
    const [a, b] = [inputOperand(call, 0), inputOperand(call, 1)];
    return productSteps({ a, b, output: 0, epilogue: PLAIN }, target);
  },
};

/** The fused linear layer: `(x [M, K], w [N, K], bias? [N]) -> (y [M, N], pre-activation? [M, N])`. */
export const linearWasm: WasmSource<LinearParams> = {
  accepts: (input, view, call) =>
    call.params.inputs[input] === "bias" ? view.dtype === "f32" && strideOf(view, 0) <= 1 : readable(view),
  lower: (call: WasmCall<LinearParams>, target) => {
    const { inputs, activation } = call.params;
    if (call.inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
    if (!ACTIVATIONS.includes(activation)) return `unknown activation ${activation}`;
    const at = named(
      inputs,
      inputs.map((_, i) => i),
    );
    const keep = call.outputs.length > 1;
    const bias = at.bias === undefined ? undefined : call.inputs[at.bias]!;
    return productSteps(
      {
        a: inputOperand(call, at.x!),
        b: inputOperand(call, at.w!, transposed(call.inputs[at.w!]!)),
        output: 0,
        epilogue: { activation, bias: bias !== undefined, keep },
        ...(bias ? { bias: { input: at.bias!, byteOffset: bytesOf(bias.offset) } } : {}),
        ...(keep ? { keep: 1 } : {}),
      },
      target,
    );
  },
};
