// Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24] as const;
const PARITY = 0x1bd11bda;

const rotate = (x: number, r: number): number => (x << r) | (x >>> (32 - r));

/** Encrypts the counter pair (c0, c1) under the key pair (k0, k1); words are signed 32-bit numbers. */
export function threefry2x32(k0: number, k1: number, c0: number, c1: number): [number, number] {
  const key = [k0 | 0, k1 | 0, PARITY ^ k0 ^ k1];
  let x = (c0 + key[0]!) | 0;
  let y = (c1 + key[1]!) | 0;
  for (let round = 0; round < 20; round++) {
    x = (x + y) | 0;
    y = rotate(y, ROTATIONS[round % 8]!) ^ x;
    if (round % 4 === 3) {
      const inject = (round + 1) / 4;
      x = (x + key[inject % 3]!) | 0;
      y = (y + key[(inject + 1) % 3]! + inject) | 0;
    }
  }
  return [x, y];
}

/**
 * Fills `out` with the words of the stream of a key: words 2j and 2j + 1 encrypt the counter (low, high 32 bits of j),
 * so every word depends on its index alone.
 */
export function threefryStream(k0: number, k1: number, out: Float64Array): void {
  for (let i = 0; i < out.length; i += 2) {
    const block = i / 2;
    const [x, y] = threefry2x32(k0, k1, block | 0, Math.floor(block / 2 ** 32));
    out[i] = x;
    if (i + 1 < out.length) out[i + 1] = y;
  }
}
