// How the originals round lengths at other sampling rates.

/** Python's rounding, which the originals' lengths follow. */
export const roundHalfEven = (x: number): number => {
  const low = Math.floor(x);
  const rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
};
