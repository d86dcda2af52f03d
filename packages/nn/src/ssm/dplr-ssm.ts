// State spaces whose state matrix is diagonal plus low rank: S4 (Gu et al. 2022). Kernel through its generating function at
// the roots of unity (a Cauchy product with a Woodbury correction), steps in time linear in the state size.

import {
  Complex,
  ConfigError,
  add,
  concat,
  eye,
  irfft,
  matmul,
  mul,
  narrow,
  permute,
  reshape,
  scan,
  stack,
  sum,
  tensor,
  tile,
  unsqueeze,
  zeros,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { dplrTransfer, solveComplex } from "@everlong/kernels";
import { parameterOrBuffer } from "../layer.ts";
import { DiagonalSsm, complexOf, startCopies } from "./diagonal-ssm.ts";
import type { SsmOptions } from "./settings.ts";
import { roundHalfEven } from "./rounding.ts";
import type { SsmKernel } from "./ssm-kernel.ts";

export interface DplrOptions extends Omit<SsmOptions, "layout" | "discretization" | "real"> {
  /**
   * As the original stores its read-out: not C but `C (I - exp(z)^L)`, which suits kernels of this length L (its `l_kernel`);
   * longer ones are reached by doubling. Default: C itself, which suits every length.
   */
  readonly truncatedLength?: number;
}

/** The system with one or with both halves of its conjugate pairs. */
interface System {
  readonly dt: Tensor;
  readonly a: Complex;
  readonly b: Complex;
  /** `[C, H, M or 2M]`. */
  readonly c: Complex;
  /** `[R, H, M or 2M]`. */
  readonly p: Complex;
}

const both = (z: Complex): Complex =>
  new Complex(concat([z.re, z.re], -1), concat([z.im, mul(z.im, -1)], -1));

/**
 * State matrix `diag(A) - sum_r P_r P_r^*`, sampled bilinearly. With `w` the roots of unity of order L, the kernel's transform is
 * `C~ ((1 - w) - (1 + w) dt A / 2)^-1 dt B` for the whole state matrix, `C~ = C (I - Ad^L)`.
 * Source: Gu et al. 2022, "Efficiently Modeling Long Sequences with Structured State Spaces", appendix C.
 */
export class DplrSsm implements SsmKernel {
  readonly diagonal: DiagonalSsm;
  /** `[R, S, M, 2]`. */
  readonly p: Variable;
  readonly channels: number;
  readonly outputs: number;
  readonly modes: number;
  readonly rank: number;
  readonly steps = true;
  readonly #compat: boolean;
  /** Kernel length that the stored read-out suits; undefined where C itself is stored. */
  truncatedLength: number | undefined;

  constructor(options: DplrOptions) {
    const { truncatedLength, ...rest } = options;
    if (truncatedLength !== undefined && !(Number.isInteger(truncatedLength) && truncatedLength > 0))
      throw new ConfigError("DplrSsm", "truncatedLength must be a positive integer", {
        got: `${truncatedLength}`,
      });
    const settings = { start: "legs" as const, ...rest };
    const copies = startCopies(settings);
    this.diagonal = new DiagonalSsm({ ...settings, discretization: "bilinear", layout: "s4" }, copies);
    const { channels, outputs, modes } = this.diagonal;
    [this.channels, this.outputs, this.modes] = [channels, outputs, modes];
    this.rank = copies[0]!.p.length;
    this.truncatedLength = truncatedLength;
    this.#compat = options.compat ?? false;
    const on = { device: options.key.device, dtype: options.key.device.defaultFloat };
    const { learningRate } = options;
    const rows = Array.from({ length: this.rank }, (_, r) =>
      copies.map(({ p }) => Array.from(p[r]!.re, (x, n) => [x, p[r]!.im[n]!])),
    );
    const hints = { weightDecay: 0, ...(learningRate === undefined ? {} : { learningRate }) };
    this.p = parameterOrBuffer(tensor(rows, on), hints);
  }

  kernel(length: number, rate = 1): Tensor {
    const b = this.#half(rate).b.map((t) => unsqueeze(t, 0));
    return reshape(this.#responses(b, length, rate), [this.outputs, this.channels, length]);
  }

  kernelOfState(state: Complex, length: number, rate = 1): Tensor {
    // (I + dt A / 2) s / dt in the place of B: one bilinear half step.
    const { dt, a, p } = this.#whole(rate);
    const s = both(state);
    const low = this.#lowRank(s, p);
    const change = s.mul(a).sub(low).scale(0.5);
    return this.#responses(this.#first(s.scale(reciprocal(dt)).add(change)), length, rate);
  }

  advance(u: Tensor, state?: Complex): Complex {
    const shape = [u.shape[0]!, this.channels, this.modes];
    const none = zeros(shape, { device: u.device, dtype: u.dtype });
    const first = state ?? new Complex(none, none);
    const [last] = scan(
      (carry: { re: Tensor; im: Tensor }, x: Tensor) => {
        const next = this.#advanced(new Complex(carry.re, carry.im), x);
        return [{ re: next.re, im: next.im }, next.re] as const;
      },
      { re: first.re, im: first.im },
      permute(u, [2, 0, 1]),
    );
    return new Complex(last.re, last.im);
  }

  step(u: Tensor, state: Complex): { readonly y: Tensor; readonly state: Complex } {
    const next = this.#advanced(state, u);
    const c = this.#readOut();
    const full = both(next).map((t) => unsqueeze(t, 1));
    const y = sum(c.mul(full).re, -1);
    return { y, state: next };
  }

  /**
   * Stores the read-out truncated for kernels of `length`, as the original does at its first forward; a truncated one is
   * doubled until it suits.
   */
  truncate(length: number): void {
    let { c } = this.#whole(1);
    let known = this.truncatedLength ?? length;
    if (this.truncatedLength === undefined) c = c.sub(through(c, this.#power(this.#matrix(1), length)));
    for (; known < length; known *= 2) c = c.add(through(c, this.#power(this.#matrix(1), known)));
    const half = c.map((t) => narrow(t, -1, 0, this.modes));
    this.diagonal.c.value = stack([half.re, half.im], -1);
    this.truncatedLength = known;
  }

  /**
   * Stores C itself in the place of a truncated read-out, in place. Steps of a truncated system recover C each time, so do
   * this once before generating.
   */
  untruncate(): void {
    const c = this.#readOut().map((t) => narrow(t, -1, 0, this.modes));
    this.diagonal.c.value = stack([c.re, c.im], -1);
    this.truncatedLength = undefined;
  }

  flops(length: number): number {
    const nodes = length / 2 + 1;
    const products = (1 + this.rank) * (this.outputs + this.rank);
    const powers = 2 * Math.log2(length + 1) * 8 * (2 * this.modes) ** 3;
    return this.channels * (16 * this.modes * nodes * products + powers);
  }

  /** One of each conjugate pair. */
  #half(rate: number): System {
    const { dt, a, b, c } = this.diagonal.system(rate);
    const times = this.channels / this.diagonal.copies;
    const p = complexOf(this.p.value).map((t) => (times === 1 ? t : tile(t, times, 1)));
    return { dt, a, b, c, p };
  }

  /** Both halves of the conjugate pairs: every `[.., M]` is `[.., 2 M]`. */
  #whole(rate: number): System {
    const { dt, a, b, c, p } = this.#half(rate);
    return { dt, a: both(a), b: both(b), c: both(c), p: both(p) };
  }

  #first(whole: Complex): Complex {
    return whole.map((t) => narrow(t, -1, 0, this.modes));
  }

  /** `sum_r P_r (P_r^* s)` for `s` `[X, H, 2M]`. */
  #lowRank(s: Complex, p: Complex): Complex {
    const terms = Array.from({ length: this.rank }, (_, r) => {
      const row = take(p, r);
      return row.mul(row.conj().mul(s).sum(-1, { keepDims: true }));
    });
    return terms.reduce((x, y) => x.add(y));
  }

  /** Responses `[X, C, H, length]` to input vectors `[X, H, M]`. */
  #responses(inputs: Complex, length: number, rate: number): Tensor {
    const { dt, a, p } = this.#half(rate);
    const { c, nodes } = this.#truncated(length, rate);
    const { re, im } = dplrTransfer({ b: inputs, c: this.#first(c), p, a, dt }, nodes);
    return narrow(irfft(new Complex(re, im), { n: nodes }), -1, 0, length);
  }

  /** The truncated read-out and the number of nodes that it suits. */
  #truncated(length: number, rate: number): { c: Complex; nodes: number } {
    const { c } = this.#whole(rate);
    if (this.truncatedLength === undefined) {
      const power = this.#power(this.#matrix(rate), length);
      return { c: c.sub(through(c, power)), nodes: length };
    }
    let known = this.truncatedLength;
    let doubled = c;
    while (roundHalfEven(rate * length) > known) {
      // Doubling happens at the trained rate, whatever rate is asked for.
      doubled = doubled.add(through(doubled, this.#power(this.#matrix(1), known)));
      known *= 2;
    }
    return { c: doubled, nodes: roundHalfEven(known / rate) };
  }

  /** The read-out C `[C, H, 2M]`. The original's steps know no band limit. */
  #readOut(): Complex {
    const c = this.#compat ? both(complexOf(this.diagonal.c.value)) : this.#whole(1).c;
    if (this.truncatedLength === undefined) return c;
    // (I - X)^-1 = (I + X)(I + X^2)(I + X^4) ..; 24 factors outlast every mode that decays by 1e-6 over the length.
    let power = this.#power(this.#matrix(1), this.truncatedLength);
    let out = c;
    for (let j = 0; j < 24; j++) {
      out = out.add(through(out, power));
      power = matmul(power, power);
    }
    return out;
  }

  /**
   * The step matrix `[H, 2M, 2M]` on `[Re s, Im s]`: as conjugate halves stay conjugate, it is real, a quarter of the work of
   * the complex one. With `s' = P s + Q conj(s)` it is `[[Re(P + Q), Im(Q - P)], [Im(P + Q), Re(P - Q)]]`.
   */
  #matrix(rate: number): Tensor {
    const size = 2 * this.modes;
    const like = this.diagonal.dt.value;
    const unit = reshape(eye(size, size, { device: like.device, dtype: like.dtype }), [size, 1, size]);
    const wide = tile(unit, this.channels, 1);
    const columns = this.#stepWhole(new Complex(wide, mul(wide, 0)), undefined, rate);
    const top = columns.map((t) => permute(narrow(t, 2, 0, this.modes), [1, 2, 0]));
    const [p, q] = [0, this.modes].map((from) => top.map((t) => narrow(t, 2, from, from + this.modes)));
    const [plus, minus] = [p!.add(q!), p!.sub(q!)];
    const rows = (left: Tensor, right: Tensor): Tensor => concat([left, right], 2);
    return concat([rows(plus.re, mul(minus.im, -1)), rows(plus.im, minus.re)], 1);
  }

  #power(matrix: Tensor, exponent: number): Tensor {
    let base = matrix;
    let result: Tensor | undefined;
    for (let left = exponent; left > 0; left = Math.floor(left / 2)) {
      if (left % 2 === 1) result = result ? matmul(result, base) : base;
      if (left > 1) base = matmul(base, base);
    }
    return result!;
  }

  /** One position on a half state `[B, H, M]` with input `[B, H]`. */
  #advanced(state: Complex, u: Tensor): Complex {
    return this.#stepWhole(both(state), u, 1).map((t) => narrow(t, -1, 0, this.modes));
  }

  /** `(2/dt - A)^-1 ((2/dt + A) s + 2 B u)` for the whole state matrix, by the Woodbury identity. */
  #stepWhole(s: Complex, u: Tensor | undefined, rate: number): Complex {
    const { dt, a, b, p } = this.#whole(rate);
    const twice = mul(reciprocal(dt), 2);
    const forward = new Complex(add(a.re, twice), a.im);
    let y = forward.mul(s).sub(this.#lowRank(s, p));
    if (u) y = y.add(b.scale(2).scale(unsqueeze(u, -1)));
    const inverse = new Complex(twice.sub(a.re), mul(a.im, -1)).reciprocal();
    const ps = Array.from({ length: this.rank }, (_, r) => take(p, r));
    const reads = ps.map((row) => row.conj().mul(inverse));
    const matrix = reads.map((read, i) =>
      ps.map((row, j) => {
        const t = read.mul(row).sum(-1, { keepDims: true });
        return i === j ? new Complex(add(t.re, 1), t.im) : t;
      }),
    );
    const solved = solveComplex(
      matrix,
      reads.map((read) => read.mul(y).sum(-1, { keepDims: true })),
    );
    const rest = ps.reduce((total, row, j) => total.sub(row.mul(solved[j]!)), y);
    return inverse.mul(rest);
  }
}

const reciprocal = (x: Tensor): Tensor => x.reciprocal();
const take = (z: Complex, i: number): Complex =>
  z.map((t) => reshape(narrow(t, 0, i, i + 1), t.shape.slice(1)));

/** Rows `[C, H, 2M]` of conjugate halves times matrices `[H, 2M, 2M]` on real and imaginary parts. */
function through(rows: Complex, matrix: Tensor): Complex {
  // A row reads 2 Re(c s) = 2 (Re c Re s - Im c Im s).
  const modes = rows.shape[2]! / 2;
  const real = concat([narrow(rows.re, 2, 0, modes), mul(narrow(rows.im, 2, 0, modes), -1)], 2);
  const read = permute(matmul(permute(real, [1, 0, 2]), matrix), [1, 0, 2]);
  return both(new Complex(narrow(read, 2, 0, modes), mul(narrow(read, 2, modes, 2 * modes), -1)));
}
