// Rows of a table by number. The gradient adds rows up in a fixed order: the same bits whatever the thread count.

import {
  DTypeError,
  ShapeError,
  cast,
  clamp,
  defineOp,
  reshape,
  segmentSum,
  show,
  sizeOf,
  take,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { need, needFloat, wideDtype, widened } from "../inputs.ts";
import { isMixed, narrowed } from "../precision.ts";
import { embeddingGradReference, embeddingReference } from "./reference.ts";

type NoParams = Record<never, never>;
export interface EmbeddingGradParams {
  /** Rows of the table. */
  readonly rows: number;
}

/** `(table [N, D], ids i32 [M]) -> [M, D]`; a half table gives half rows, and its gradient is f32. */
export const embeddingOp: Op<NoParams> = defineOp<NoParams>({
  name: "embedding",
  shape: ([table, ids]) => {
    const dtype = needFloat("embedding", "table", table!);
    need("embedding", "table", table!, [undefined, undefined], "[N, D]");
    need("embedding", "ids", ids!, [undefined], "[M]", "i32");
    if (table!.shape[0] === 0 && ids!.shape[0]! > 0) {
      throw new ShapeError("embedding", "the table has no rows", { got: show(table!.shape) });
    }
    return [{ shape: [ids!.shape[0]!, table!.shape[1]!], dtype }];
  },
  reference: embeddingReference,
  decompose: ([table, ids]) => [take(table!, clamp(ids!, 0, table!.shape[0]! - 1), 0)],
  vjp: ({ inputs, cotangents }) => {
    const [table, ids] = inputs as [Tensor, Tensor];
    return [embeddingGradOp([ids, cotangents[0]!], { rows: table.shape[0]! })[0]!, undefined];
  },
  batch: ({ inputs, mapped, size, apply }) => {
    if (mapped[0]) return undefined;
    const [table, ids] = inputs as [Tensor, Tensor];
    const [y] = apply([table, reshape(ids, [ids.size])]);
    return [reshape(y!, [size, ids.shape[1]!, table.shape[1]!])];
  },
  cost: (inputs, outputs) => ({ flops: 0, bytes: 2 * bytesMoved(outputs) + bytesMoved([inputs[1]!]) }),
});

/** `(ids [M], dy [M, D]) -> dtable [N, D]`. */
export const embeddingGradOp: Op<EmbeddingGradParams> = defineOp<EmbeddingGradParams>({
  name: "embedding-grad",
  shape: ([ids, dy], { rows }) => {
    const dtype = needFloat("embedding-grad", "dy", dy!);
    need("embedding-grad", "ids", ids!, [undefined], "[M]", "i32");
    need("embedding-grad", "dy", dy!, [ids!.shape[0], undefined], "[M, D]");
    return [{ shape: [rows, dy!.shape[1]!], dtype: wideDtype(dtype) }];
  },
  reference: embeddingGradReference,
  decompose: ([ids, dy], { rows }) => [segmentSum(widened(dy!), clamp(ids!, 0, rows - 1), rows)],
  // Linear in dy, and its transpose is the lookup.
  vjp: ({ inputs, cotangents }) => [
    undefined,
    cast(embeddingOp([cotangents[0]!, inputs[0]!], {})[0]!, inputs[1]!.dtype),
  ],
  cost: (inputs, outputs) => ({ flops: sizeOf(inputs[1]!.shape), bytes: bytesMoved(inputs, outputs) }),
});

/**
 * Rows of `table` `[N, D]` by number: ids `[...]` (i32 or u8) to `[..., D]` in the table's dtype. Ids outside are clamped to
 * the nearest row.
 */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  if (ids.dtype !== "i32" && ids.dtype !== "u8") {
    throw new DTypeError("embedding", "ids are row numbers", { expected: "i32 or u8", got: ids.dtype });
  }
  if (table.rank !== 2)
    throw new ShapeError("embedding", "the table is a matrix", {
      expected: "[N, D]",
      got: show(table.shape),
    });
  const flat = reshape(cast(ids, "i32"), [ids.size]);
  const half = isMixed() && table.dtype !== "f64" ? narrowed(table) : undefined;
  const rows = embeddingOp([half ?? widened(table), flat], {})[0]!;
  return cast(reshape(rows, [...ids.shape, table.shape[1]!]), half?.dtype ?? table.dtype);
}
