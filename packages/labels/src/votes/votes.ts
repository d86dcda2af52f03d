import { DataError, ShapeError } from "@everlong/core";

/** Marks a labelling function that said nothing about an item. */
export const ABSTAIN = -1;

/**
 * The votes of M labelling functions on N items, `[N, M]` row-major: class indices 0..classes-1, or {@link ABSTAIN}.
 *
 * Two notations exist in the field. WRENCH and Snorkel count classes from 0 with -1 for an abstention: the one used here.
 * FlyingSquid, Epoxy and Liger write a binary vote as -1 / +1 with 0 for an abstention: {@link Votes.fromSigned} and
 * {@link Votes.toSigned} translate, with class 1 the positive one.
 */
export class Votes {
  /** `[N, M]`, row-major. */
  readonly data: Int16Array;
  /** N. */
  readonly items: number;
  /** M. */
  readonly functions: number;
  readonly classes: number;
  /** One name per function. */
  readonly names: readonly string[];

  /** @throws ShapeError when `data` is not N x M; DataError for a vote outside -1..classes-1. */
  constructor(
    data: ArrayLike<number>,
    shape: readonly [items: number, functions: number],
    options: { classes?: number; names?: readonly string[] } = {},
  ) {
    const [items, functions] = shape;
    const { classes = 2, names } = options;
    if (data.length !== items * functions)
      throw new ShapeError("votes", "votes do not fill their matrix", {
        expected: `${items} x ${functions} = ${items * functions} votes`,
        got: `${data.length}`,
      });
    if (names && names.length !== functions)
      throw new ShapeError("votes", "every function needs a name", {
        expected: `${functions} names`,
        got: `${names.length}`,
      });
    this.data = new Int16Array(items * functions);
    for (let i = 0; i < data.length; i++) {
      const vote = data[i]!;
      if (!Number.isInteger(vote) || vote < ABSTAIN || vote >= classes)
        throw new DataError(
          "votes",
          `vote outside the classes at row ${Math.floor(i / functions)}, column ${i % functions}`,
          {
            expected: `-1 (abstain) or a class 0..${classes - 1}`,
            got: `${vote}`,
            hint: "Binary votes written as -1, 0, +1 are read with Votes.fromSigned.",
          },
        );
      this.data[i] = vote;
    }
    this.items = items;
    this.functions = functions;
    this.classes = classes;
    this.names = names ?? Array.from({ length: functions }, (_, j) => `lf_${j}`);
  }

  /** Binary votes written as -1, 0 (abstain), +1. */
  static fromSigned(
    data: ArrayLike<number>,
    shape: readonly [items: number, functions: number],
    names?: readonly string[],
  ): Votes {
    const out = new Int16Array(data.length);
    for (let i = 0; i < data.length; i++) {
      const vote = data[i]!;
      if (vote !== 1 && vote !== -1 && vote !== 0)
        throw new DataError(
          "votes",
          `signed vote out of range at row ${Math.floor(i / shape[1])}, column ${i % shape[1]}`,
          { expected: "-1, 0 (abstain) or +1", got: `${vote}` },
        );
      out[i] = vote === 0 ? ABSTAIN : vote > 0 ? 1 : 0;
    }
    return new Votes(out, shape, { classes: 2, ...(names ? { names } : {}) });
  }

  /** Votes given one by one as `[item, function, class]`; everything else abstains. @throws DataError for a vote given twice. */
  static fromTriples(
    triples: Iterable<readonly [item: number, fn: number, vote: number]>,
    shape: readonly [items: number, functions: number],
    options: { classes?: number; names?: readonly string[] } = {},
  ): Votes {
    const data = new Int16Array(shape[0] * shape[1]).fill(ABSTAIN);
    for (const [i, j, vote] of triples) {
      const at = i * shape[1] + j;
      if (!(i >= 0 && i < shape[0] && j >= 0 && j < shape[1]) || data[at] !== ABSTAIN)
        throw new DataError("votes", `the vote of function ${j} on item ${i} cannot be placed`, {
          expected: `items below ${shape[0]}, functions below ${shape[1]}, each pair once`,
        });
      data[at] = vote;
    }
    return new Votes(data, shape, options);
  }

  /** The vote of function `j` on item `i`. */
  at(i: number, j: number): number {
    return this.data[i * this.functions + j]!;
  }

  /** Binary votes as -1, 0 (abstain), +1, `[N, M]`. With `positive`, that class against the rest, for any number of classes. */
  toSigned(positive = 1): Int8Array {
    if (positive >= this.classes)
      throw new DataError("votes", "no such class", {
        expected: `a class below ${this.classes}`,
        got: `${positive}`,
      });
    const out = new Int8Array(this.data.length);
    this.data.forEach((v, i) => {
      out[i] = v === ABSTAIN ? 0 : v === positive ? 1 : -1;
    });
    return out;
  }

  /** The same functions on the items listed in `rows`. */
  rows(rows: ArrayLike<number>): Votes {
    const out = new Int16Array(rows.length * this.functions);
    for (let r = 0; r < rows.length; r++) {
      const i = rows[r]!;
      out.set(this.data.subarray(i * this.functions, (i + 1) * this.functions), r * this.functions);
    }
    return new Votes(out, [rows.length, this.functions], this);
  }

  /** Some of the functions, on all items. */
  columns(columns: readonly number[]): Votes {
    const out = new Int16Array(this.items * columns.length);
    for (let i = 0; i < this.items; i++)
      for (let c = 0; c < columns.length; c++) out[i * columns.length + c] = this.at(i, columns[c]!);
    return new Votes(out, [this.items, columns.length], {
      classes: this.classes,
      names: columns.map((c) => this.names[c]!),
    });
  }

  /** A copy with other votes, same functions and classes. */
  with(data: ArrayLike<number>): Votes {
    return new Votes(data, [data.length / this.functions, this.functions], this);
  }

  /** Share of items with at least one vote. */
  coverage(): number {
    let covered = 0;
    for (let i = 0; i < this.items; i++)
      for (let j = 0; j < this.functions; j++)
        if (this.at(i, j) !== ABSTAIN) {
          covered++;
          break;
        }
    return this.items === 0 ? 0 : covered / this.items;
  }
}
