// RWKV's time mixers with every step rounded to bf16, as torch 1.13 rounds on a CPU: the numbers behind the bf16 cases. Ours
// stores half precision and computes wide, which is closer to the exact result and farther from theirs.

import {
  add,
  broadcastTo,
  cast,
  div,
  exp,
  mul,
  narrow,
  neg,
  reciprocal,
  reshape,
  sqrt,
  squeeze,
  sub,
  tanh,
  withVariables,
  type Tensor,
  type Variable,
} from "@everlong/core";
import {
  Rwkv5TimeMixer,
  namedVariables,
  previous,
  wkv,
  type ParityModule,
  type Rwkv6TimeMixer,
} from "@everlong/nn";

/** An operation on bf16 values, computed in f32 and rounded. */
const rounded =
  (fn: (...t: Tensor[]) => Tensor) =>
  (...t: Tensor[]): Tensor =>
    cast(fn(...t.map((x) => cast(x, "f32"))), "bf16");

const plus = rounded((a, b) => add(a!, b!));
const minus = rounded((a, b) => sub(a!, b!));
const times = rounded((a, b) => mul(a!, b!));

/** `x / (1 + exp(-x))`. */
const silu = (x: Tensor): Tensor => {
  const below = rounded((e) => add(e!, 1))(rounded((t) => exp(neg(t!)))(x));
  return rounded((a, b) => div(a!, b!))(x, below);
};

/** `a w`, summed term by term: torch multiplies matrices that way unless one is transposed, as a linear layer's weight is. */
function product(a: Tensor, w: Tensor): Tensor {
  const term = (i: number): Tensor => times(narrow(a, -1, i, i + 1), narrow(w, 0, i, i + 1));
  let total = term(0);
  for (let i = 1; i < w.shape[0]!; i++) total = plus(total, term(i));
  return total;
}

/** Group norm over the last axis of `y` `[B, T, H, V]`: Welford's running moments, then one scale and one shift. */
function headNorm(y: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  const size = y.shape[3]!;
  const at = (i: number): Tensor => narrow(y, -1, i, i + 1);
  let mean = at(0);
  let squares = rounded((t) => mul(t!, 0))(mean);
  for (let i = 1; i < size; i++) {
    const delta = minus(at(i), mean);
    mean = plus(mean, rounded((t) => div(t!, i + 1))(delta));
    squares = plus(squares, times(delta, minus(at(i), mean)));
  }
  const variance = rounded((t) => div(t!, size))(squares);
  const small = cast(cast(add(mul(cast(variance, "f32"), 0), eps), "bf16"), "f32");
  const deviation = rounded((t) => sqrt(t!))(rounded((t) => add(t!, small))(variance));
  const perHead = (t: Tensor): Tensor => reshape(t, [1, 1, y.shape[2]!, size]);
  const scale = times(rounded((t) => reciprocal(t!))(deviation), perHead(weight));
  const shift = plus(times(rounded((t) => neg(t!))(scale), mean), perHead(bias));
  return plus(times(scale, y), shift);
}

type Signals = Readonly<Record<"r" | "k" | "v" | "gate" | "w", Tensor>>;

/** What enters the recurrence of RWKV 5; `w` `[A]`. */
function signals5(m: Rwkv5TimeMixer, x: Tensor, before: Tensor): Signals {
  const mixed = (share: Variable): Tensor =>
    plus(times(x, share.value), times(before, rounded((t) => sub(1, t!))(share.value)));
  return {
    r: m.receptance.forward(mixed(m.timeMixR)),
    k: m.key.forward(mixed(m.timeMixK)),
    v: m.value.forward(mixed(m.timeMixV)),
    gate: m.gate.forward(mixed(m.timeMixG)),
    w: reshape(m.timeDecay.value, [-1]),
  };
}

/** The same of RWKV 6; `w` `[B, T, A]`. */
function signals6(m: Rwkv6TimeMixer, x: Tensor, before: Tensor): Signals {
  const change = minus(before, x);
  const bend = rounded((t) => tanh(t!));
  const low = bend(product(plus(x, times(change, m.timeMaaX.value)), m.timeMaaW1.value));
  const rank = m.timeMaaW2.shape[1]!;
  const mixed = (i: number, share: Variable): Tensor => {
    const map = squeeze(narrow(m.timeMaaW2.value, 0, i, i + 1), 0);
    const shift = product(narrow(low, -1, i * rank, (i + 1) * rank), map);
    return plus(x, times(change, plus(share.value, shift)));
  };
  const decay = product(bend(product(mixed(0, m.timeMaaW), m.timeDecayW1.value)), m.timeDecayW2.value);
  return {
    w: plus(m.timeDecay.value, decay),
    k: m.key.forward(mixed(1, m.timeMaaK)),
    v: m.value.forward(mixed(2, m.timeMaaV)),
    r: m.receptance.forward(mixed(3, m.timeMaaR)),
    gate: m.gate.forward(mixed(4, m.timeMaaG)),
  };
}

/** @param divisor what the original divides by before the norm (RWKV 5); 1: nothing (RWKV 6) */
export function bf16TimeMixer(
  inner: ParityModule,
  mixer: Rwkv5TimeMixer | Rwkv6TimeMixer,
  divisor: number,
): ParityModule {
  const run = (x: Tensor): Tensor => {
    const before = previous(x);
    const { r, k, v, gate, w } =
      mixer instanceof Rwkv5TimeMixer ? signals5(mixer, x, before) : signals6(mixer, x, before);
    const heads = (t: Tensor): Tensor => reshape(t, [...x.shape.slice(0, 2), mixer.heads, -1]);
    const logDecay = heads(broadcastTo(neg(exp(cast(w, "f32"))), k.shape));
    const { y } = wkv({ r: heads(r), k: heads(k), v: heads(v), logDecay, bonus: mixer.bonus.value }, "auto");
    const scaled = divisor === 1 ? y : rounded((t) => div(t!, divisor))(y);
    const { weight, bias } = mixer.lnX;
    const normed = headNorm(scaled, weight.value, bias.value, mixer.eps / divisor ** 2);
    return mixer.output.forward(times(reshape(normed, gate.shape), silu(gate)));
  };
  return {
    ...inner,
    call: ({ x }) => {
      const half = new Map(
        namedVariables(mixer).map(({ variable }) => [variable, cast(variable.value, "bf16")]),
      );
      return { y: withVariables(half, () => run(cast(x!, "bf16"))).result };
    },
  };
}
