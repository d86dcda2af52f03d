// The time mixer of RWKV 5 ("Eagle", Peng et al. 2024, arXiv 2404.05892, section 4).

import { reshape, type Tensor, type Variable } from "@everlong/core";
import { parameter } from "../layer.ts";
import { decaySpeed, presentShare } from "./rwkv-start.ts";
import {
  RwkvTimeMixer,
  interpolate,
  logDecayOf,
  rowOf,
  type RwkvSignals,
  type RwkvTimeMixerOptions,
} from "./rwkv-time-mixer.ts";

/**
 * With `z_c = m_c x_t + (1 - m_c) x_(t-1)` for c in r, k, v, g: `r, k, v, g = W_c z_c`,
 * `y_t = W_o (norm((S_(t-1) + diag(u) k_t v_t^T)^T r_t) * silu(g))`, `S_t = diag(exp(-exp w)) S_(t-1) + k_t v_t^T`, the norm over
 * each head. Names in the state are mad-lab's.
 */
export class Rwkv5TimeMixer extends RwkvTimeMixer {
  readonly timeMixK: Variable;
  readonly timeMixV: Variable;
  readonly timeMixR: Variable;
  readonly timeMixG: Variable;
  /** `w` `[H, K]`. */
  readonly timeDecay: Variable;

  constructor(options: RwkvTimeMixerOptions) {
    super("Rwkv5TimeMixer", options);
    const { key, dim } = options;
    const share = (power: number, raised: number): Variable =>
      parameter(presentShare(dim, this.depth, power, raised, key));
    this.timeMixK = share(1, 0);
    this.timeMixV = share(1, 0.3);
    this.timeMixR = share(0.5, 0);
    this.timeMixG = share(0.5, 0);
    this.timeDecay = parameter(decaySpeed(this.width, this.depth, this.timeFaaaa.shape, key));
  }

  signals(x: Tensor, before: Tensor): RwkvSignals {
    const mixed = (share: Variable): Tensor => interpolate(x, before, rowOf(share));
    return {
      r: this.receptance.forward(mixed(this.timeMixR)),
      k: this.key.forward(mixed(this.timeMixK)),
      v: this.value.forward(mixed(this.timeMixV)),
      gate: this.gate.forward(mixed(this.timeMixG)),
      logDecay: reshape(logDecayOf(this.timeDecay.value), [-1]),
    };
  }
}
