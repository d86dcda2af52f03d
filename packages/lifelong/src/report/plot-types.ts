/** Parts of a lifetime's section, by the original's names: raw curves, evaluation blocks, learning blocks, experts. */
export const PLOT_TYPES = ["all", "raw", "eb", "lb", "ste"] as const;
export type PlotType = (typeof PLOT_TYPES)[number];
