import type { MomentEstimates, Plan } from "./plan.ts";

/** A moment cannot exceed the probability that its product is not 0; sampling noise in the denominator can push an estimate beyond. */
export function feasible(p: Plan, all: MomentEstimates): void {
  for (const entry of all.values()) {
    const { members, zeros } = entry.moment;
    const most = 1 - p.abstains(members, zeros);
    if (entry.value > most) entry.value = most;
  }
}

/** The sign vector that agrees best with the signs of the moments, the majority of the weight positive: greedy flips from all-positive. */
export function recoverSigns(p: Plan, all: MomentEstimates): void {
  const singles = [...all.values()].filter(
    ({ moment }) => moment.members.length === 1 && moment.zeros.length === 0,
  );
  for (let target = 0; target < p.tree.targets; target++) {
    const group = singles.filter(({ moment }) => moment.target === target);
    const sign = group.map(() => 1);
    const pull = (i: number): number => {
      let total = 0;
      for (const { first, second } of p.pairs(group[i]!.moment))
        for (const other of [first, second]) {
          const j = group.findIndex(({ moment }) => moment.members[0] === other);
          if (j >= 0) total += sign[i]! * sign[j]! * p.product([group[i]!.moment.members[0]!, other]);
        }
      return total;
    };
    for (let round = 0; round < group.length * 2; round++) {
      const worst = group.map((_, i) => pull(i));
      const i = worst.indexOf(Math.min(...worst));
      if (i < 0 || worst[i]! >= 0) break;
      sign[i] = -sign[i]!;
    }
    const weight = group.reduce((sum, { value }, i) => sum + sign[i]! * value, 0);
    for (const [i, entry] of group.entries()) entry.value *= sign[i]! * (weight < 0 ? -1 : 1);
  }
}

/** E[S a] = E[S Y] E[a Y] for an independent function a: the sign of a product follows from those of single functions. */
export function signProducts(p: Plan, all: MomentEstimates): void {
  const singles = new Map<number, number>();
  for (const { moment, value } of all.values())
    if (moment.members.length === 1 && moment.zeros.length === 0) singles.set(moment.members[0]!, value);
  for (const entry of all.values()) {
    const { members, zeros } = entry.moment;
    if (members.length === 1 && zeros.length === 0) continue;
    if (members.length === 1) {
      entry.value *= Math.sign(singles.get(members[0]!) ?? 1) || 1;
      continue;
    }
    let evidence = 0;
    for (const { first, second } of p.pairs(entry.moment))
      for (const other of [first, second])
        evidence += p.product([...members, other], zeros) * (singles.get(other) ?? 0);
    if (evidence < 0) entry.value = -entry.value;
  }
}
