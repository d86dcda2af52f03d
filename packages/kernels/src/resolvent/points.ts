// The points at which resolvents are taken.

export interface ResolventParams {
  /** The order L of the roots of unity; results are at the first `floor(L / 2) + 1`. */
  readonly nodes: number;
}

export const resolventPoints = (nodes: number): number => Math.floor(nodes / 2) + 1;

/** `1 - w` and `(1 + w) / 2` at the j-th root `w = exp(-2 pi i j / L)`, without cancellation. */
export function resolventPoint(j: number, nodes: number): readonly [number, number, number, number] {
  const angle = (2 * Math.PI * j) / nodes;
  const [sine, cosine] = [Math.sin(angle / 2), Math.cos(angle / 2)];
  return [2 * sine ** 2, Math.sin(angle), cosine ** 2, -Math.sin(angle) / 2];
}
