// Matrix products and einsum.

import { promote } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import { record1 } from "../record.ts";
import { broadcastShapes, show } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { cast, mul } from "./elementwise.ts";
import { broadcastTo, permute, reshape, squeeze, unsqueeze } from "./movement.ts";
import { sum } from "./reduction.ts";

/**
 * `[..., M, K] x [..., K, N] -> [..., M, N]`; batch axes broadcast; a vector counts as a row on the left and a column on
 * the right, and its axis is dropped again.
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  if (a.rank === 0 || b.rank === 0)
    throw new ShapeError("matmul", "needs matrices", { got: `${show(a.shape)} and ${show(b.shape)}` });
  if (a.rank === 1) return squeeze(matmul(unsqueeze(a, 0), b), b.rank === 1 ? 0 : -2);
  if (b.rank === 1) return squeeze(matmul(a, unsqueeze(b, -1)), -1);
  const dtype = promote(a.dtype, b.dtype);
  const [x, y] = [cast(a, dtype), cast(b, dtype)];
  // A shared right factor makes one tall product of the whole batch.
  if (y.rank === 2 && x.rank > 2) {
    const rows = reshape(x, [-1, x.shape[x.rank - 1]!]);
    if (x.size > 0) return reshape(record1("matmul", {}, [rows, y]), [...x.shape.slice(0, -1), y.shape[1]!]);
  }
  const batch = broadcastShapes("matmul", x.shape.slice(0, -2), y.shape.slice(0, -2));
  return record1("matmul", {}, [
    broadcastTo(x, [...batch, ...x.shape.slice(-2)]),
    broadcastTo(y, [...batch, ...y.shape.slice(-2)]),
  ]);
}

/** Outer product of two vectors. */
export const outer = (a: Tensor, b: Tensor): Tensor => mul(unsqueeze(a, -1), unsqueeze(b, -2));

interface Term {
  readonly labels: string;
  readonly tensor: Tensor;
}

/**
 * Einstein summation over any number of tensors, contracted left to right as matrix products.
 * @example einsum("b t d, d e -> b t e", x, w)   // spaces are optional
 */
export function einsum(equation: string, ...tensors: Tensor[]): Tensor {
  const clean = equation.replaceAll(" ", "");
  const match = /^([A-Za-z,]*)(?:->([A-Za-z]*))?$/.exec(clean);
  if (!match)
    throw new ShapeError("einsum", "cannot read the equation", {
      expected: 'like "ij,jk->ik"',
      got: `"${equation}"`,
    });
  const inputs = match[1]!.split(",");
  if (inputs.length !== tensors.length) {
    throw new ShapeError("einsum", "terms and tensors differ in number", {
      expected: `${inputs.length}`,
      got: `${tensors.length}`,
    });
  }
  const sizes = new Map<string, number>();
  inputs.forEach((labels, i) => {
    if (labels.length !== tensors[i]!.rank) {
      throw new ShapeError("einsum", `term "${labels}" has another rank`, {
        expected: `${labels.length} axes`,
        got: show(tensors[i]!.shape),
      });
    }
    [...labels].forEach((c, axis) => {
      const n = tensors[i]!.shape[axis]!;
      if ((sizes.get(c) ?? n) !== n)
        throw new ShapeError("einsum", `sizes of "${c}" differ`, {
          expected: `${sizes.get(c)}`,
          got: `${n}`,
        });
      sizes.set(c, n);
    });
  });
  const counted = [...inputs.join("")].filter(
    (c, i, s) => s.indexOf(c) === i && s.filter((d) => d === c).length === 1,
  );
  const output = match[2] ?? counted.sort().join("");
  for (const c of output) {
    if (!sizes.has(c)) throw new ShapeError("einsum", `output axis "${c}" is in no input`);
  }
  let terms: Term[] = inputs.map((labels, i) => diagonal({ labels, tensor: tensors[i]! }));
  while (terms.length > 1) {
    const [a, b, ...rest] = terms as [Term, Term, ...Term[]];
    const keep = output + rest.map((t) => t.labels).join("");
    terms = [contract(a, b, keep), ...rest];
  }
  const [last] = terms as [Term];
  const reduced = sumOut(
    last,
    [...last.labels].filter((c) => !output.includes(c)),
  );
  return permute(
    reduced.tensor,
    [...output].map((c) => reduced.labels.indexOf(c)),
  );
}

/** A label that a term repeats: keeps the diagonal. */
function diagonal(t: Term): Term {
  const twice = [...t.labels].find((c, i) => t.labels.indexOf(c) !== i);
  if (twice === undefined) return t;
  const [i, j] = [t.labels.indexOf(twice), t.labels.lastIndexOf(twice)];
  const n = t.tensor.shape[i]!;
  const others = t.tensor.shape.map((_, k) => k).filter((k) => k !== i && k !== j);
  const front = permute(t.tensor, [...others, i, j]);
  const rest = front.shape.slice(0, -2);
  // Every (n+1)-th element of the flattened square is on the diagonal.
  const padded = record1(
    "pad",
    { before: [...rest.map(() => 0), 0], after: [...rest.map(() => 0), n], value: 0 },
    [reshape(front, [...rest, n * n])],
  );
  const cut = record1(
    "slice",
    { starts: [...rest.map(() => 0), 0, 0], sizes: [...rest, n, 1], steps: [...rest.map(() => 1), 1, 1] },
    [reshape(padded, [...rest, n, n + 1])],
  );
  return diagonal({
    labels: others.map((k) => t.labels[k]).join("") + twice,
    tensor: reshape(cut, [...rest, n]),
  });
}

function sumOut(t: Term, labels: readonly string[]): Term {
  if (labels.length === 0) return t;
  const axes = labels.map((c) => t.labels.indexOf(c));
  return { labels: [...t.labels].filter((c) => !labels.includes(c)).join(""), tensor: sum(t.tensor, axes) };
}

function contract(a: Term, b: Term, keep: string): Term {
  const only = (x: Term, y: Term): string[] =>
    [...x.labels].filter((c) => !y.labels.includes(c) && !keep.includes(c));
  const [x, y] = [sumOut(a, only(a, b)), sumOut(b, only(b, a))];
  const shared = [...x.labels].filter((c) => y.labels.includes(c));
  const batch = shared.filter((c) => keep.includes(c));
  const inner = shared.filter((c) => !keep.includes(c));
  const rows = [...x.labels].filter((c) => !shared.includes(c));
  const columns = [...y.labels].filter((c) => !shared.includes(c));
  const labels = [...batch, ...rows, ...columns].join("");
  const sizeOfLabel = (c: string): number => {
    const i = x.labels.indexOf(c);
    return i >= 0 ? x.tensor.shape[i]! : y.tensor.shape[y.labels.indexOf(c)]!;
  };
  const group = (list: readonly string[]): number => list.reduce((n, c) => n * sizeOfLabel(c), 1);
  const arranged = (t: Term, order: readonly string[], shape: readonly number[]): Tensor =>
    reshape(
      permute(
        t.tensor,
        order.map((c) => t.labels.indexOf(c)),
      ),
      shape,
    );
  const batchShape = batch.map(sizeOfLabel);
  if (inner.length === 0) {
    const ones = (n: number): number[] => Array.from<number>({ length: n }).fill(1);
    const left = arranged(
      x,
      [...batch, ...rows],
      [...batchShape, ...rows.map(sizeOfLabel), ...ones(columns.length)],
    );
    const right = arranged(
      y,
      [...batch, ...columns],
      [...batchShape, ...ones(rows.length), ...columns.map(sizeOfLabel)],
    );
    return { labels, tensor: mul(left, right) };
  }
  const left = arranged(x, [...batch, ...rows, ...inner], [group(batch), group(rows), group(inner)]);
  const right = arranged(y, [...batch, ...inner, ...columns], [group(batch), group(inner), group(columns)]);
  const flat =
    batch.length === 0
      ? matmul(reshape(left, left.shape.slice(1)), reshape(right, right.shape.slice(1)))
      : matmul(left, right);
  return { labels, tensor: reshape(flat, [...labels].map(sizeOfLabel)) };
}
