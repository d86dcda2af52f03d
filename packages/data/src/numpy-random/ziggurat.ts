// Normal numbers by the ziggurat of 256 strips that numpy's `Generator` uses: G. Marsaglia, W. W. Tsang, "The Ziggurat
// Method for Generating Random Variables" (2000).

import type { BitGenerator } from "./bit-generator.ts";
import type { Pcg64 } from "./pcg64.ts";
import { HEIGHT, SCALE, SURE, ZIGGURAT_R } from "./ziggurat-tables.ts";

/** 1 / ZIGGURAT_R */
const INVERSE_R = 0.27366123732975828;

const word = new Uint32Array(2);

/** One standard normal number, in numpy's draws. */
export function standardNormal(bits: Pcg64): number {
  for (;;) {
    bits.words(word);
    const strip = word[0] & 0xff;
    // bits 9 to 60 of 64
    const size = (word[1] & 0x1fffffff) * 2 ** 23 + (word[0] >>> 9);
    const x = word[0] & 0x100 ? -(size * SCALE[strip]) : size * SCALE[strip];
    if (size < SURE[strip]) return x;
    if (strip === 0) return tail(bits, size);
    const edge = (HEIGHT[strip - 1] - HEIGHT[strip]) * bits.double() + HEIGHT[strip];
    if (edge < Math.exp(-0.5 * x * x)) return x;
  }
}

function tail(bits: BitGenerator, size: number): number {
  const isNegative = Math.floor(size / 256) % 2 === 1;
  for (;;) {
    const x = -INVERSE_R * Math.log1p(-bits.double());
    const y = -Math.log1p(-bits.double());
    if (y + y > x * x) return isNegative ? -(ZIGGURAT_R + x) : ZIGGURAT_R + x;
  }
}
