// Which architectures are beaten by none in both of two measures.

/** A point that costs `cost` and is worth `value`. */
export interface Costed {
  readonly cost: number;
  readonly value: number;
}

/** The points for which no other is at least as cheap and at least as good, and better in one; by rising cost. */
export function paretoFront<P extends Costed>(points: readonly P[]): P[] {
  const front: P[] = [];
  let best = Number.NEGATIVE_INFINITY;
  for (const p of points.toSorted((a, b) => a.cost - b.cost || b.value - a.value)) {
    if (p.value <= best) continue;
    best = p.value;
    front.push(p);
  }
  return front;
}
