import { ConfigError } from "@everlong/core";
import { EigenvalueDecomposition, Matrix, QrDecomposition } from "ml-matrix";
import { seededUniform } from "../evaluation/synthetic-votes.ts";
import type { Embeddings } from "./embeddings.ts";
import type { SparseRows } from "./text-features.ts";

/** Options of {@link truncatedSvd}. */
export interface TruncatedSvdOptions {
  /** D: directions kept. */
  readonly size: number;
  /** Extra directions during the search. Default 10. */
  readonly oversampling?: number;
  /** Power iterations; each sharpens the spectrum. Default 2. */
  readonly iterations?: number;
  readonly seed?: number;
}

/** The leading right singular vectors of a sparse matrix. */
export interface TruncatedSvd {
  /** `[width, D]`, row-major. */
  readonly directions: Float32Array;
  /** `[D]`, descending. */
  readonly singularValues: Float64Array;
}

/** Randomised truncated SVD (Halko, Martinsson, Tropp 2011, algorithm 4.4): small dense problems only, for sparse matrices of any size. */
export function truncatedSvd(rows: SparseRows, options: TruncatedSvdOptions): TruncatedSvd {
  const { size, oversampling = 10, iterations = 2, seed = 1 } = options;
  const n = rows.starts.length - 1;
  const most = Math.min(n, rows.width);
  if (!(size >= 1 && size <= most))
    throw new ConfigError("svd", "the number of directions does not fit the data", {
      expected: `1..${most}`,
      got: `${size}`,
    });
  const width = Math.min(most, size + oversampling);
  const uniform = seededUniform(seed);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  let q = orthonormal(
    timesDense(rows, Float64Array.from({ length: rows.width * width }, normal), width),
    n,
    width,
  );
  for (let round = 0; round < iterations; round++) {
    const down = orthonormal(transposeTimesDense(rows, q, width), rows.width, width);
    q = orthonormal(timesDense(rows, down, width), n, width);
  }
  // A = Q B with B = Q^T A small: its right singular vectors are those of A
  const bt = transposeTimesDense(rows, q, width); // [columns, width] = B^T
  const gram = new Matrix(width, width);
  for (let r = 0; r < rows.width; r++)
    for (let a = 0; a < width; a++)
      for (let b = 0; b <= a; b++) gram.set(a, b, gram.get(a, b) + bt[r * width + a]! * bt[r * width + b]!);
  for (let a = 0; a < width; a++) for (let b = 0; b < a; b++) gram.set(b, a, gram.get(a, b));
  const eigen = new EigenvalueDecomposition(gram, { assumeSymmetric: true });
  const order = eigen.realEigenvalues
    .map((value, i) => ({ value, i }))
    .sort((a, b) => b.value - a.value)
    .slice(0, size);
  const vectors = eigen.eigenvectorMatrix;
  const directions = new Float32Array(rows.width * size);
  const singularValues = Float64Array.from(order, ({ value }) => Math.sqrt(Math.max(0, value)));
  for (let r = 0; r < rows.width; r++)
    for (const [c, { i }] of order.entries()) {
      const s = singularValues[c]!;
      if (s < 1e-9) continue;
      let sum = 0;
      for (let a = 0; a < width; a++) sum += bt[r * width + a]! * vectors.get(a, i);
      directions[r * size + c] = sum / s;
    }
  return { directions, singularValues };
}

/** Rows times the directions, `[N, D]`. */
export function project(rows: SparseRows, svd: TruncatedSvd): Embeddings {
  const size = svd.singularValues.length;
  const data = Float32Array.from(timesDense(rows, svd.directions, size));
  return { data, items: rows.starts.length - 1, size };
}

function timesDense(rows: SparseRows, dense: Float32Array | Float64Array, width: number): Float64Array {
  const n = rows.starts.length - 1;
  const out = new Float64Array(n * width);
  for (let i = 0; i < n; i++)
    for (let e = rows.starts[i]!; e < rows.starts[i + 1]!; e++) {
      const value = rows.values[e]!;
      const from = rows.columns[e]! * width;
      for (let c = 0; c < width; c++) out[i * width + c] = out[i * width + c]! + value * dense[from + c]!;
    }
  return out;
}

function transposeTimesDense(rows: SparseRows, dense: Float64Array, width: number): Float64Array {
  const n = rows.starts.length - 1;
  const out = new Float64Array(rows.width * width);
  for (let i = 0; i < n; i++)
    for (let e = rows.starts[i]!; e < rows.starts[i + 1]!; e++) {
      const value = rows.values[e]!;
      const to = rows.columns[e]! * width;
      for (let c = 0; c < width; c++) out[to + c] = out[to + c]! + value * dense[i * width + c]!;
    }
  return out;
}

// Orthonormal basis of the columns by Cholesky QR twice; Householder when the Gram matrix is too ill conditioned.
function orthonormal(a: Float64Array, rows: number, width: number): Float64Array {
  const once = choleskyQr(a, rows, width);
  const twice = once && choleskyQr(once, rows, width);
  if (twice) return twice;
  const matrix = new Matrix(rows, width);
  for (let r = 0; r < rows; r++) for (let c = 0; c < width; c++) matrix.set(r, c, a[r * width + c]!);
  const q = new QrDecomposition(matrix).orthogonalMatrix;
  return Float64Array.from({ length: rows * width }, (_, x) => q.get(Math.floor(x / width), x % width));
}

function choleskyQr(a: Float64Array, rows: number, width: number): Float64Array | undefined {
  const gram = new Float64Array(width * width);
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < width; i++) {
      const x = a[r * width + i]!;
      if (x === 0) continue;
      for (let j = 0; j <= i; j++) gram[i * width + j] = gram[i * width + j]! + x * a[r * width + j]!;
    }
  for (let i = 0; i < width; i++)
    for (let j = 0; j <= i; j++) {
      let sum = gram[i * width + j]!;
      for (let k = 0; k < j; k++) sum -= gram[i * width + k]! * gram[j * width + k]!;
      if (i !== j) gram[i * width + j] = sum / gram[j * width + j]!;
      else if (sum > 1e-12 * (1 + gram[0]!)) gram[i * width + i] = Math.sqrt(sum);
      else return undefined;
    }
  const out = new Float64Array(a.length);
  for (let r = 0; r < rows; r++)
    for (let j = 0; j < width; j++) {
      let sum = a[r * width + j]!;
      for (let k = 0; k < j; k++) sum -= out[r * width + k]! * gram[j * width + k]!;
      out[r * width + j] = sum / gram[j * width + j]!;
    }
  return out;
}
