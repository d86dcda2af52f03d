import { DataError, ShapeError } from "@everlong/core";

/** One vector per item, `[N, D]` row-major float32. */
export interface Embeddings {
  readonly data: Float32Array;
  /** N. */
  readonly items: number;
  /** D. */
  readonly size: number;
}

/** Wraps rows of numbers as embeddings. @throws ShapeError when `data` is not N x D. */
export function embeddings(
  data: ArrayLike<number>,
  shape: readonly [items: number, size: number],
): Embeddings {
  const [items, size] = shape;
  if (data.length !== items * size)
    throw new ShapeError("embeddings", "values do not fill their matrix", {
      expected: `${items} x ${size} = ${items * size}`,
      got: `${data.length}`,
    });
  return { data: data instanceof Float32Array ? data : Float32Array.from(data), items, size };
}

/** The embeddings of some items, in the order of `rows`. */
export function embeddingRows(of: Embeddings, rows: ArrayLike<number>): Embeddings {
  const data = new Float32Array(rows.length * of.size);
  for (let r = 0; r < rows.length; r++)
    data.set(of.data.subarray(rows[r]! * of.size, (rows[r]! + 1) * of.size), r * of.size);
  return { data, items: rows.length, size: of.size };
}

/** Rows of the same width, one below the other. */
export function stackEmbeddings(...parts: readonly Embeddings[]): Embeddings {
  const size = parts[0]?.size ?? 0;
  for (const part of parts)
    if (part.size !== size)
      throw new ShapeError("embeddings", "parts differ in width", {
        expected: `${size}`,
        got: `${part.size}`,
      });
  const items = parts.reduce((sum, p) => sum + p.items, 0);
  const data = new Float32Array(items * size);
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return { data, items, size };
}

/** @throws DataError at the first value that is not finite. */
export function requireFinite(of: Embeddings, op: string): void {
  for (let i = 0; i < of.data.length; i++)
    if (!Number.isFinite(of.data[i]!))
      throw new DataError(op, `embedding ${Math.floor(i / of.size)} is not finite`, {
        expected: "finite numbers",
        got: `${of.data[i]} at position ${i % of.size}`,
        hint: "Check the text of that item and the model that embedded it.",
      });
}

/** Euclidean length of every row, `[N]`. */
export function rowNorms(of: Embeddings): Float64Array {
  const { data, items, size } = of;
  const norms = new Float64Array(items);
  for (let i = 0; i < items; i++) {
    const end = (i + 1) * size;
    // four sums: one alone would wait for every addition before it
    let [a, b, c, d] = [0, 0, 0, 0];
    let k = i * size;
    for (; k + 4 <= end; k += 4) {
      a += data[k]! * data[k]!;
      b += data[k + 1]! * data[k + 1]!;
      c += data[k + 2]! * data[k + 2]!;
      d += data[k + 3]! * data[k + 3]!;
    }
    for (; k < end; k++) a += data[k]! * data[k]!;
    norms[i] = Math.sqrt(a + b + (c + d));
  }
  return norms;
}

/** {@link rowNorms}, once every value is known to be finite. @throws DataError as {@link requireFinite} */
export function finiteNorms(of: Embeddings, op: string): Float64Array {
  const norms = rowNorms(of);
  // squares of float32 cannot overflow a float64 sum, so a row is finite when its length is
  if (!norms.every(Number.isFinite)) requireFinite(of, op);
  return norms;
}

/** Rows divided by their length; rows of length 0 stay 0. */
export function unitRows(of: Embeddings): Embeddings {
  const norms = rowNorms(of);
  const data = new Float32Array(of.data.length);
  for (let i = 0; i < of.items; i++) {
    const norm = norms[i]!;
    if (norm === 0) continue;
    for (let k = i * of.size; k < (i + 1) * of.size; k++) data[k] = of.data[k]! / norm;
  }
  return { data, items: of.items, size: of.size };
}
