/**
 * Reproducible Gaussian noise (Box and Muller 1958 over SplitMix32).
 *
 * @returns `[length]`
 */
export function gaussianNoise(length: number, mean: number, deviation: number, seed: number): Float64Array {
  const uniform = uniformStream(seed);
  return Float64Array.from({ length }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    return mean + deviation * radius * Math.cos(2 * Math.PI * uniform());
  });
}

/** Stream of uniforms in [0, 1) with 32 bits (SplitMix32); enough for resampling and noise. */
export function uniformStream(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
  };
}
