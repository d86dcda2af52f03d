// The time mixer of RWKV 6 ("Finch", Peng et al. 2024, arXiv 2404.05892, section 4): interpolation and decay depend on the input.

import {
  add,
  matmul,
  mul,
  narrow,
  random,
  squeeze,
  sub,
  tanh,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { parameter } from "../layer.ts";
import { decaySpeed, previousShare } from "./rwkv-start.ts";
import {
  RwkvTimeMixer,
  logDecayOf,
  rowOf,
  type RwkvSignals,
  type RwkvTimeMixerOptions,
} from "./rwkv-time-mixer.ts";

/** Ranks of the maps to interpolation weights and decays. */
const MIX_RANK = 32;
const DECAY_RANK = 64;

/**
 * With `d = x_(t-1) - x_t` and `[m_w, m_k, m_v, m_r, m_g] = tanh((x + a_x d) W1) W2`: `z_c = x_t + d (a_c + m_c)`,
 * `r, k, v, g = W_c z_c`, `w_t = w + tanh(z_w V1) V2`, then the recurrence of RWKV 5 with decays `exp(-exp w_t)`.
 * Names in the state are mad-lab's.
 */
export class Rwkv6TimeMixer extends RwkvTimeMixer {
  readonly timeMaaX: Variable;
  readonly timeMaaW: Variable;
  readonly timeMaaK: Variable;
  readonly timeMaaV: Variable;
  readonly timeMaaR: Variable;
  readonly timeMaaG: Variable;
  /** `W1` `[D, 5 * 32]`. */
  readonly timeMaaW1: Variable;
  /** `W2` `[5, 32, D]`. */
  readonly timeMaaW2: Variable;
  /** `w` `[1, 1, A]`. */
  readonly timeDecay: Variable;
  /** `V1` `[D, 64]`. */
  readonly timeDecayW1: Variable;
  /** `V2` `[64, A]`. */
  readonly timeDecayW2: Variable;

  constructor(options: RwkvTimeMixerOptions) {
    super("Rwkv6TimeMixer", options);
    const { key, dim } = options;
    const { width } = this;
    const share = (power: number, raised: number): Variable =>
      parameter(previousShare(dim, this.depth, power, raised, key));
    this.timeMaaX = share(1, 0);
    this.timeMaaW = share(1, 0);
    this.timeMaaK = share(1, 0);
    this.timeMaaV = share(1, 0.3);
    this.timeMaaR = share(0.5, 0);
    this.timeMaaG = share(0.5, 0);
    // The first five keys are those of the maps.
    const keys = random.splitKey(key, 9);
    const tiny = (i: number, shape: readonly number[]): Variable =>
      parameter(random.uniform(keys[i]!, shape, { low: -1e-4, high: 1e-4 }));
    this.timeMaaW1 = tiny(5, [dim, 5 * MIX_RANK]);
    this.timeMaaW2 = tiny(6, [5, MIX_RANK, dim]);
    this.timeDecay = parameter(decaySpeed(width, this.depth, [1, 1, width], key));
    this.timeDecayW1 = tiny(7, [dim, DECAY_RANK]);
    this.timeDecayW2 = tiny(8, [DECAY_RANK, width]);
  }

  signals(x: Tensor, before: Tensor): RwkvSignals {
    const change = sub(before, x);
    const low = tanh(matmul(add(x, mul(change, rowOf(this.timeMaaX))), this.timeMaaW1.value));
    const up = this.timeMaaW2.value;
    const mixed = (i: number, share: Variable): Tensor => {
      const map = squeeze(narrow(up, 0, i, i + 1), 0);
      const shift = matmul(narrow(low, -1, i * MIX_RANK, (i + 1) * MIX_RANK), map);
      return add(x, mul(change, add(shift, rowOf(share))));
    };
    const forDecay = tanh(matmul(mixed(0, this.timeMaaW), this.timeDecayW1.value));
    return {
      logDecay: logDecayOf(add(matmul(forDecay, this.timeDecayW2.value), rowOf(this.timeDecay))),
      k: this.key.forward(mixed(1, this.timeMaaK)),
      v: this.value.forward(mixed(2, this.timeMaaV)),
      r: this.receptance.forward(mixed(3, this.timeMaaR)),
      gate: this.gate.forward(mixed(4, this.timeMaaG)),
    };
  }

  override flops(time: number): number {
    const low = this.dim * (10 * MIX_RANK + DECAY_RANK) + DECAY_RANK * this.width;
    return super.flops(time) + 2 * time * low;
  }
}
