// The error function in double precision, by its series and its continued fraction: short, and exact to an ulp or two.

const TWO_OVER_SQRT_PI = 2 / Math.sqrt(Math.PI);

/** erf(x) to about 2e-16 relative (Abramowitz & Stegun 7.1.6 below 2, 7.1.14 above). */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (Number.isNaN(x)) return NaN;
  // erfc(6) is 2e-17: below half an ulp of 1.
  if (a > 6) return Math.sign(x);
  return a < 2 ? series(x) : Math.sign(x) * (1 - tail(a));
}

// exp(-x^2) * sum 2^n x^(2n+1) / (2n+1)!!: every term has one sign, so nothing cancels.
function series(x: number): number {
  const s = 2 * x * x;
  let term = x;
  let sum = x;
  for (let n = 3; Math.abs(term) > 1e-17 * Math.abs(sum); n += 2) {
    term *= s / n;
    sum += term;
  }
  return TWO_OVER_SQRT_PI * Math.exp(-x * x) * sum;
}

// erfc(x) for x >= 2; 50 levels of x + (n/2)/(x + ...) leave an error below 1e-17 there.
function tail(x: number): number {
  let f = x;
  for (let n = 50; n >= 1; n--) f = x + n / 2 / f;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * f);
}
