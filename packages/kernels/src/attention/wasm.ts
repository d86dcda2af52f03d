// Attention on the CPU: how calls become units of the kernels in wasm-forward.ts and wasm-backward.ts.

import { named } from "../inputs.ts";
import { sumPartsStep } from "../wasm-sum-parts.ts";
import { argWords, byteStride, denseRows, inputWord, targetKey } from "../wasm-emit.ts";
import type {
  ArgWord,
  WasmCall,
  WasmSource,
  WasmStep,
  WasmTable,
  WasmTarget,
  WasmView,
} from "../wasm-step.ts";
import type { AttentionGradParams, AttentionParams } from "./op.ts";
import { BACKWARD_ARGS, backwardScratch, buildBackward } from "./wasm-backward.ts";
import { FORWARD_ARGS, buildForward, forwardScratch } from "./wasm-forward.ts";
import type { AttentionKind, CommonArg } from "./wasm-key-walk.ts";
import { copyBytes } from "./wasm-tile-sums.ts";
import { tileQueries } from "./wasm-tiles.ts";

const UNLIMITED = 2 ** 29;

const IOTA: WasmTable = {
  key: "iota/64",
  bytes: 256,
  fill: (memory, at) => {
    for (let i = 0; i < 64; i++) memory.setInt32(at + 4 * i, i, true);
  },
};

const INTEGERS = ["keyLengths", "queryLengths", "blockStarts", "blockColumns"];

type Common = { readonly [K in CommonArg]: ArgWord };
interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly queries: number;
  readonly keys: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly tiles: number;
}

type AnyParams = Omit<AttentionParams, "inputs"> & { readonly inputs: readonly string[] };

/** The words that both directions share, and the sizes behind them. */
export function commonWords(
  call: WasmCall<AnyParams>,
  target: WasmTarget,
):
  | {
      readonly words: Omit<Common, "lse">;
      readonly sizes: Sizes;
      readonly at: Readonly<Record<string, number>>;
    }
  | string {
  const { params, inputs } = call;
  const at = named(
    params.inputs,
    inputs.map((_, i) => i),
  ) as Record<string, number>;
  const integers = new Set(INTEGERS.map((name) => at[name]));
  if (inputs.some((v, i) => v.dtype !== (integers.has(i) ? "i32" : "f32"))) return "computes in f32 only";
  const [q, k, v] = (["q", "k", "v"] as const).map((name) => inputs[at[name]!]!) as [
    WasmView,
    WasmView,
    WasmView,
  ];
  const [batch, queries, heads, keyDim] = q.shape as [number, number, number, number];
  const [, keys, keyHeads, valueDim] = v.shape as [number, number, number, number];
  const word = (name: string): ArgWord =>
    at[name] === undefined ? 0 : inputWord(at[name], inputs[at[name]]!);
  const slopes = at["slopes"] === undefined ? undefined : inputs[at["slopes"]]!;
  const starts = at["blockStarts"] === undefined ? undefined : inputs[at["blockStarts"]]!;
  const [blockQueries, blockKeys] = params.blockSize ?? [1, 1];
  const tile = tileQueries(target, kindOf(params, target).narrow);
  const tilesPerRow = Math.ceil(blockQueries / tile);
  const tiles = starts ? (starts.shape[1]! - 1) * tilesPerRow : Math.ceil(queries / tile);
  const strides = (name: "q" | "k" | "v", view: WasmView): Record<string, number> => ({
    [`${name}Batch`]: byteStride(view, 0),
    [`${name}Time`]: byteStride(view, 1),
    [`${name}Head`]: byteStride(view, 2),
  });
  const words = {
    q: word("q"),
    k: word("k"),
    v: word("v"),
    slopes: word("slopes"),
    keyLengths: word("keyLengths"),
    queryLengths: word("queryLengths"),
    iota: { table: 0 },
    ...strides("q", q),
    ...strides("k", k),
    ...strides("v", v),
    heads,
    group: heads / keyHeads,
    queries,
    keys,
    keyDim,
    valueDim,
    tiles,
    left: params.left < 0 ? UNLIMITED : Math.min(params.left, UNLIMITED),
    right: params.right < 0 ? UNLIMITED : Math.min(params.right, UNLIMITED),
    slopeBatch: slopes?.shape.length === 2 ? 4 * heads : 0,
    scale: { f32: params.scale },
    scoreScale: { f32: params.scale * Math.LOG2E },
    cap: { f32: params.softCap * Math.LOG2E },
    capInverse: { f32: params.softCap > 0 ? Math.LN2 / params.softCap : 0 },
    blockStarts: word("blockStarts"),
    blockColumns: word("blockColumns"),
    blockHead: starts && starts.shape[0]! > 1 ? byteStride(starts, 0) : 0,
    blockEntries: starts ? inputs[at["blockColumns"]!]!.shape[0]! : 0,
    blockQueries,
    blockKeys,
    tilesPerRow,
  } as unknown as Omit<Common, "lse">;
  return { words, sizes: { batch, heads, keyHeads, queries, keys, keyDim, valueDim, tiles }, at };
}

/** Time of a tile of one vector over that of a tile of two (measured). */
const NARROW_COST = 0.65;

const kindOf = (params: AnyParams, target: WasmTarget): AttentionKind => {
  const rowTiles = (narrow: boolean): number =>
    Math.ceil((params.blockSize?.[0] ?? 1) / tileQueries(target, narrow));
  const blocks = params.blockSize !== undefined;
  return {
    softCap: params.softCap > 0,
    slopes: params.inputs.includes("slopes"),
    blocks,
    narrow: blocks && NARROW_COST * rowTiles(true) < rowTiles(false),
  };
};
const nameOf = ({ softCap, slopes, blocks, narrow }: AttentionKind): string =>
  `${softCap ? "cap" : ""}${slopes ? "slopes" : ""}${blocks ? "blocks" : ""}${narrow ? "narrow" : ""}`;

/** q, k, v and dy may lie anywhere as long as the channels of a head are next to each other. */
export const acceptsHeads = (input: number, view: WasmView, call: WasmCall<AnyParams>): boolean => {
  const name = call.params.inputs[input]!;
  if (view.dtype === "i32") return denseRows(view);
  return ["q", "k", "v", "dy"].includes(name) && view.dtype === "f32" && denseRows(view);
};

export const attentionWasm: WasmSource<AttentionParams> = {
  accepts: (input, view, call) => view.dtype === "f32" && acceptsHeads(input, view, call),
  lower: (call, target) => {
    const common = commonWords(call, target);
    if (typeof common === "string") return common;
    const { words, sizes } = common;
    const kind = kindOf(call.params, target);
    return {
      steps: [
        {
          kernel: {
            key: `attention/${nameOf(kind)}/${targetKey(target)}`,
            build: (module) => buildForward(module, kind),
          },
          entry: "attention",
          args: argWords(FORWARD_ARGS, {
            ...words,
            lse: { output: 1 },
            y: { output: 0 },
            copyBytes: copyBytes(kind, target, sizes.valueDim),
          }),
          units: sizes.batch * sizes.heads * sizes.tiles,
          grain: 1,
          scratchBytes: forwardScratch(kind, target, sizes.keyDim, sizes.valueDim),
          tables: [IOTA],
        },
      ],
    };
  },
};

/**
 * A unit is a key head with a part of the queries. One part is enough where there are many heads; else their shares of the
 * key and value gradients lie side by side and are summed. The number of parts depends on the shapes alone.
 */
export const attentionGradWasm: WasmSource<AttentionGradParams> = {
  accepts: (input, view, call) => view.dtype === "f32" && acceptsHeads(input, view, call),
  lower: (call, target) => {
    const common = commonWords(call, target);
    if (typeof common === "string") return common;
    const { words, sizes, at } = common;
    const { batch, heads, keyHeads, queries, keys, keyDim, valueDim, tiles } = sizes;
    const kind = kindOf(call.params, target);
    const units = batch * keyHeads;
    const parts =
      units >= 16 ? 1 : Math.max(1, Math.min(Math.ceil(16 / Math.max(1, units)), Math.ceil(tiles / 8)));
    const dy = call.inputs[at["dy"]!]!;
    const keyBytes = 4 * batch * keys * keyHeads * keyDim;
    const valueBytes = 4 * batch * keys * keyHeads * valueDim;
    const backward = {
      ...words,
      lse: inputWord(at["lse"]!, call.inputs[at["lse"]!]!),
      delta: inputWord(at["delta"]!, call.inputs[at["delta"]!]!),
      dy: inputWord(at["dy"]!, dy),
      dyBatch: byteStride(dy, 0),
      dyTime: byteStride(dy, 1),
      dyHead: byteStride(dy, 2),
      dq: { output: 0 },
      dk: parts === 1 ? { output: 1 } : { temp: 0 },
      dv: parts === 1 ? { output: 2 } : { temp: 1 },
      keyPart: keyBytes,
      valuePart: valueBytes,
      keyHeads,
      parts,
      tilesPerPart: Math.ceil(tiles / parts),
      copyBytes: copyBytes(kind, target, keyDim),
    };
    const steps: WasmStep[] = [
      {
        kernel: {
          key: `attentionGrad/${nameOf(kind)}/${targetKey(target)}`,
          build: (module) => buildBackward(module, kind),
        },
        entry: "attentionGrad",
        args: argWords(BACKWARD_ARGS, backward),
        units: units * parts,
        grain: 1,
        scratchBytes: backwardScratch(kind, target, sizes),
        tables: [IOTA],
      },
    ];
    if (heads === 0 || queries === 0 || keys === 0) return "an empty axis";
    if (parts === 1) return { steps };
    steps.push(
      sumPartsStep(target, {
        from: { temp: 0 },
        to: { output: 1 },
        stride: keyBytes,
        parts,
        bytes: keyBytes,
      }),
      sumPartsStep(target, {
        from: { temp: 1 },
        to: { output: 2 },
        stride: valueBytes,
        parts,
        bytes: valueBytes,
      }),
    );
    return { steps, temps: [parts * keyBytes, parts * valueBytes] };
  },
};
