// Convolutions in float64 that share nothing with the kernels.

/** In place, of a power of two; `sign` -1 forward, 1 back without the factor. */
function transform(re: Float64Array, im: Float64Array, sign: 1 | -1): void {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j]!, re[i]!];
      [im[i], im[j]] = [im[j]!, im[i]!];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const angle = (sign * 2 * Math.PI * k) / size;
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      for (let p = k; p < n; p += size) {
        const q = p + half;
        const [a, b] = [re[q]! * c - im[q]! * s, re[q]! * s + im[q]! * c];
        re[q] = re[p]! - a;
        im[q] = im[p]! - b;
        re[p]! += a;
        im[p]! += b;
      }
    }
  }
}

/** `y[t] = sum k[j] u[t - j]` for t < L; indices modulo L, or zeros outside. */
export function convolveExactly(u: ArrayLike<number>, k: ArrayLike<number>, circular: boolean): Float64Array {
  const length = u.length;
  const n = 2 ** Math.ceil(Math.log2(length + k.length));
  const [ur, ui, kr, ki] = Array.from({ length: 4 }, () => new Float64Array(n)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  ur.set(u);
  kr.set(k);
  transform(ur, ui, -1);
  transform(kr, ki, -1);
  for (let i = 0; i < n; i++) {
    const [a, b] = [ur[i]!, ui[i]!];
    ur[i] = (a * kr[i]! - b * ki[i]!) / n;
    ui[i] = (a * ki[i]! + b * kr[i]!) / n;
  }
  transform(ur, ui, 1);
  return Float64Array.from({ length }, (_, t) => ur[t]! + (circular ? (ur[t + length] ?? 0) : 0));
}
