// Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796), with one running penalty for all tasks
// (Schwarz et al. 2018, arXiv 1805.06370).

import { add, mul, square, sub, sum, type Tensor, Variable, zerosLike } from "@everlong/core";

/** A quadratic pull towards the weights after earlier tasks, as strong as each weight mattered to them. */
export class Consolidation {
  /** Diagonal of the Fisher information, summed over tasks. */
  readonly fisher: readonly Variable[];
  readonly anchor: readonly Variable[];
  readonly #parameters: readonly Variable[];
  readonly #strength: number;

  constructor(parameters: readonly Variable[], strength: number) {
    this.#parameters = parameters;
    this.#strength = strength;
    const held = (value: Tensor, name: string): Variable => new Variable(value, { name, trainable: false });
    this.fisher = parameters.map((p) => held(zerosLike(p.current), `${p.name}.fisher`));
    this.anchor = parameters.map((p) => held(zerosLike(p.current), `${p.name}.anchor`));
  }

  /** The penalty `strength / 2 sum F (w - w*)^2`, a scalar. */
  penalty(): Tensor {
    const terms = this.#parameters.map((p, i) =>
      sum(mul(this.fisher[i]!.value, square(sub(p.value, this.anchor[i]!.value)))),
    );
    return mul(
      terms.reduce((a, b) => add(a, b)),
      this.#strength / 2,
    );
  }

  /** Adds squared gradients of one sample, scaled by `weight`, to the Fisher information; inside a compiled function. */
  accumulate(gradients: readonly Tensor[], weight: number): void {
    for (const [i, g] of gradients.entries()) {
      const fisher = this.fisher[i]!;
      fisher.value = add(fisher.value, mul(square(g), weight));
    }
  }

  /** The weights of now become the ones to stay near. */
  anchorHere(): void {
    for (const [i, p] of this.#parameters.entries()) this.anchor[i]!.value = p.value;
  }
}
