import { arange, kernels, nn, random, type Tensor, type Variable } from "everlong";

/** A decaying sum of the past in every channel, through a gate. */
class DecayingMean implements nn.Mixer {
  readonly causal = true;
  readonly gate: nn.Linear;
  readonly rate: Variable;

  constructor(key: Tensor, dim: number, fastest: number) {
    const [first, second] = random.splitKey(key);
    this.gate = new nn.Linear({ key: first!, inputs: dim, outputs: dim });
    this.rate = nn.parameter(random.uniform(second!, [dim, 1], { low: 0.01, high: fastest }));
  }

  forward(x: Tensor): Tensor {
    const time = x.shape[1]!; // of [B, T, D]
    const filter = this.rate.value
      .mul(arange(time).reshape([1, time]))
      .neg()
      .exp(); // [D, T]
    const past = kernels.fftConv(x.transpose(1, 2), filter).transpose(1, 2);
    return past.mul(this.gate.forward(x).sigmoid());
  }

  stateBytes(): number {
    return 4 * this.rate.shape[0]!;
  }

  flops(time: number): number {
    return 2 * time * this.rate.shape[0]! ** 2;
  }
}

export const decayingMean: nn.LayerEntry<nn.Mixer> = nn.defineMixer({
  name: "decaying-mean",
  shorthand: "Dm",
  summary: "A decaying sum of the past in every channel, through a gate.",
  source: "an example",
  options: { fastest: { default: 0.5, doc: "largest decay a position at the start" } },
  build: ({ key, dim }, { fastest }) => new DecayingMean(key, dim, fastest),
});
