import type { Mt19937 } from "@everlong/data";

/** Python's `random.shuffle`, in place: Fisher-Yates from the end, each index by rejection on its bit length. `new Mt19937([seed])` is `random.seed(seed)`. */
export function pythonShuffle(bits: Mt19937, list: unknown[]): void {
  for (let i = list.length - 1; i > 0; i--) {
    const shift = Math.clz32(i + 1);
    let j = bits.uint32() >>> shift;
    while (j > i) j = bits.uint32() >>> shift;
    [list[i], list[j]] = [list[j], list[i]];
  }
}
