/** Colours of tasks and agents, told apart with common colour blindness (Okabe and Ito 2008, darkened for paper). */
const COLORS = [
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#b8860b",
  "#56b4e9",
  "#7f3c8d",
  "#5b6770",
] as const;

/** Colour number `i`; later rounds are lighter. */
export function color(i: number): string {
  const base = COLORS[i % COLORS.length]!;
  const light = Math.min(0.6, 0.25 * Math.floor(i / COLORS.length));
  const mix = (at: number): string => {
    const value = Number.parseInt(base.slice(at, at + 2), 16);
    return Math.round(value + (255 - value) * light)
      .toString(16)
      .padStart(2, "0");
  };
  return `#${mix(1)}${mix(3)}${mix(5)}`;
}
