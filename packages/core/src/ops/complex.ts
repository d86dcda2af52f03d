// Complex numbers as pairs of real tensors.

import type { Tensor } from "../tensor.ts";
import { add, atan2, cos, div, exp, mul, neg, sin, sqrt, square, sub, type Operand } from "./elementwise.ts";
import { zerosLike } from "./creation.ts";
import { matmul } from "./linalg.ts";
import { sum, type ReduceOptions } from "./reduction.ts";

/** A complex tensor: two real tensors of one shape. */
export class Complex {
  readonly re: Tensor;
  readonly im: Tensor;

  constructor(re: Tensor, im: Tensor) {
    this.re = re;
    this.im = im;
  }

  static from(x: Tensor | Complex): Complex {
    return x instanceof Complex ? x : new Complex(x, zerosLike(x));
  }
  /** `r exp(i a)`. */
  static polar(r: Operand, angle: Tensor): Complex {
    return new Complex(mul(cos(angle), r), mul(sin(angle), r));
  }

  get shape(): readonly number[] {
    return this.re.shape;
  }
  /** The same real operation on both parts (movement, sums, scaling). */
  map(fn: (t: Tensor) => Tensor): Complex {
    return new Complex(fn(this.re), fn(this.im));
  }
  conj(): Complex {
    return new Complex(this.re, neg(this.im));
  }
  neg(): Complex {
    return this.map(neg);
  }
  add(o: Complex): Complex {
    return new Complex(add(this.re, o.re), add(this.im, o.im));
  }
  sub(o: Complex): Complex {
    return new Complex(sub(this.re, o.re), sub(this.im, o.im));
  }
  mul(o: Complex): Complex {
    return new Complex(
      sub(mul(this.re, o.re), mul(this.im, o.im)),
      add(mul(this.re, o.im), mul(this.im, o.re)),
    );
  }
  /** By a real tensor or number. */
  scale(s: Operand): Complex {
    return this.map((t) => mul(t, s));
  }
  reciprocal(): Complex {
    const n = this.squaredAbs();
    return new Complex(div(this.re, n), div(neg(this.im), n));
  }
  div(o: Complex): Complex {
    return this.mul(o.reciprocal());
  }
  squaredAbs(): Tensor {
    return add(square(this.re), square(this.im));
  }
  abs(): Tensor {
    return sqrt(this.squaredAbs());
  }
  /** In (-pi, pi]. */
  angle(): Tensor {
    return atan2(this.im, this.re);
  }
  exp(): Complex {
    return Complex.polar(exp(this.re), this.im);
  }
  sum(axes?: number | readonly number[], options?: ReduceOptions): Complex {
    return this.map((t) => sum(t, axes, options));
  }
  matmul(o: Complex): Complex {
    return new Complex(
      sub(matmul(this.re, o.re), matmul(this.im, o.im)),
      add(matmul(this.re, o.im), matmul(this.im, o.re)),
    );
  }
}
