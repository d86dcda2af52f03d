// Sizes of butterflies and of the sequences they take.

/** Order of axes of sequences: `[B, D, L]` or `[B, L, D]`. */
export type Layout = "bdl" | "bld";

export const MAX_STAGES = 8;
export const MAX_RADIX = 64;

export const transformSize = (radices: readonly number[]): number => radices.reduce((a, b) => a * b, 1);

/** Channels and length of sequences. */
export const sequenceAxes = (layout: Layout): { channel: number; time: number } =>
  layout === "bdl" ? { channel: 1, time: 2 } : { channel: 2, time: 1 };
