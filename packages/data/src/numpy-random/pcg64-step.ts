// The PCG64 recurrence in 32-bit JavaScript arithmetic: what runs where WebAssembly may not be compiled, and what the
// WebAssembly module is tested against. 128-bit numbers are four 32-bit limbs, lowest first.

// the multiplier 0x2360ed051fc65da44385df649fccf645 as 32-bit limbs and their 16-bit halves
const M0 = 0x9fccf645;
const M0L = 0xf645;
const M0H = 0x9fcc;
const M1 = 0x4385df64;
const M1L = 0xdf64;
const M1H = 0x4385;
const M2 = 0x1fc65da4;
const M2L = 0x5da4;
const M2H = 0x1fc6;
const M3 = 0x2360ed05;

/** Advances `state` by `out.length / 2` steps and writes each step's output as (low, high). */
export function stepPcg64(state: Int32Array, inc: Int32Array, out: Uint32Array): void {
  let [s0, s1, s2, s3] = state;
  const [i0, i1, i2, i3] = inc;
  for (let k = 0; k < out.length; k += 2) {
    const l0 = s0 & 0xffff;
    const h0 = s0 >>> 16;
    const l1 = s1 & 0xffff;
    const h1 = s1 >>> 16;
    // columns of the 128-bit product; a carry is 1 when an unsigned sum falls below its last term
    let term = Math.imul(s0, M1);
    let r1 = (high(l0, h0, M0L, M0H) + term) | 0;
    let carry = r1 >>> 0 < term >>> 0 ? 1 : 0;
    term = Math.imul(s1, M0);
    r1 = (r1 + term) | 0;
    carry += r1 >>> 0 < term >>> 0 ? 1 : 0;

    let r2 = (high(l0, h0, M1L, M1H) + carry) | 0;
    carry = r2 >>> 0 < carry ? 1 : 0;
    term = high(l1, h1, M0L, M0H);
    r2 = (r2 + term) | 0;
    carry += r2 >>> 0 < term >>> 0 ? 1 : 0;
    term = Math.imul(s0, M2);
    r2 = (r2 + term) | 0;
    carry += r2 >>> 0 < term >>> 0 ? 1 : 0;
    term = Math.imul(s1, M1);
    r2 = (r2 + term) | 0;
    carry += r2 >>> 0 < term >>> 0 ? 1 : 0;
    term = Math.imul(s2, M0);
    r2 = (r2 + term) | 0;
    carry += r2 >>> 0 < term >>> 0 ? 1 : 0;

    const highs =
      high(l0, h0, M2L, M2H) + high(l1, h1, M1L, M1H) + high(s2 & 0xffff, s2 >>> 16, M0L, M0H) + carry;
    const lows = Math.imul(s0, M3) + Math.imul(s1, M2) + Math.imul(s2, M1) + Math.imul(s3, M0);
    const r3 = (highs + lows) | 0;

    s0 = (Math.imul(s0, M0) + i0) | 0;
    carry = s0 >>> 0 < i0 >>> 0 ? 1 : 0;
    const t1 = (r1 >>> 0) + (i1 >>> 0) + carry;
    const t2 = (r2 >>> 0) + (i2 >>> 0) + (t1 > 0xffffffff ? 1 : 0);
    s1 = t1 | 0;
    s2 = t2 | 0;
    s3 = (r3 + i3 + (t2 > 0xffffffff ? 1 : 0)) | 0;

    // XSL-RR: fold the halves together, rotate right by the top six bits
    const turn = s3 >>> 26;
    let low = s0 ^ s2;
    let upper = s1 ^ s3;
    const swap = (low ^ upper) & -(turn >>> 5);
    low ^= swap;
    upper ^= swap;
    const by = turn & 31;
    // two shifts on the left, since JavaScript's << 32 is << 0
    out[k] = (low >>> by) | ((upper << 1) << (31 - by));
    out[k + 1] = (upper >>> by) | ((low << 1) << (31 - by));
  }
  state[0] = s0;
  state[1] = s1;
  state[2] = s2;
  state[3] = s3;
}

/** Upper 32 bits of the product of two unsigned 32-bit numbers given as 16-bit halves. */
function high(aLow: number, aHigh: number, bLow: number, bHigh: number): number {
  const t = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) | 0;
  const u = (Math.imul(aLow, bHigh) + (t & 0xffff)) | 0;
  return (Math.imul(aHigh, bHigh) + (t >>> 16) + (u >>> 16)) | 0;
}
