// Sizes for people to read.

function scaled(n: number, base: number, digits: number, units: readonly string[]): string {
  let value = n;
  let unit = 0;
  while (value >= base && unit < units.length - 1) {
    value /= base;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(digits)} ${units[unit]}`.trim();
}

/** `1.50 GiB`, `12.00 KiB`, `100 B`. */
export const showBytes = (bytes: number): string => scaled(bytes, 1024, 2, ["B", "KiB", "MiB", "GiB", "TiB"]);

/** `1.5 G`, `12.0 k`, `100`. */
export const showCount = (n: number): string => scaled(n, 1000, 1, ["", "k", "M", "G", "T"]);
