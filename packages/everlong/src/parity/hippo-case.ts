// HiPPO matrices beside those of state-spaces/s4. The phase of an eigenvector is arbitrary, and the original cuts its input
// vector after the phase is chosen: ours is turned to the stored phase first.

import { checkOptions } from "@everlong/core";
import { parityNumbers, type ParityCase, type ParityResult, type ParityTensor } from "@everlong/data";
import { HIPPO_MEASURES, hippoNplr, hippoTransition, type ComplexRow } from "@everlong/nn";

const pairs = (rows: readonly ComplexRow[], shape: readonly number[]): ParityTensor => ({
  shape,
  data: rows.flatMap((row) => Array.from(row.re, (re, n) => [re, row.im[n]!]).flat()),
});

/** `row` with mode n turned by `turns[n]`. */
const turned = (row: ComplexRow, turns: readonly (readonly [number, number])[]): ComplexRow => ({
  re: row.re.map((re, n) => re * turns[n]![0] - row.im[n]! * turns[n]![1]),
  im: row.im.map((im, n) => row.re[n]! * turns[n]![1] + im * turns[n]![0]),
});

/** Every measure of a case: `A`, `B`, modes `w`, low-rank vectors `P` and the rotated input vector `Bv`. */
export function hippoCase(c: ParityCase): ParityResult {
  checkOptions("parity", c.args, ["N", "dtype"]);
  const out = new Map<string, ParityTensor>();
  for (const measure of HIPPO_MEASURES) {
    const transition = c.tensors.get(`A.${measure}`);
    if (transition) {
      const size = transition.shape[0]!;
      const { a, b } = hippoTransition(measure, size);
      out.set(`A.${measure}`, { shape: [size, size], data: a });
      out.set(`B.${measure}`, { shape: [size, 1], data: b });
    }
    if (!c.tensors.has(`P.${measure}`)) continue;
    const { shape, data: stored } = parityNumbers(c, `P.${measure}`);
    const [rank, modes] = shape as [number, number];
    const { w, p, b } = hippoNplr(measure, 2 * modes, rank, true);
    const turns = Array.from({ length: modes }, (_, n): readonly [number, number] => {
      let [re, im] = [0, 0];
      for (let r = 0; r < rank; r++) {
        const at = 2 * (r * modes + n);
        re += stored[at]! * p[r]!.re[n]! + stored[at + 1]! * p[r]!.im[n]!;
        im += stored[at + 1]! * p[r]!.re[n]! - stored[at]! * p[r]!.im[n]!;
      }
      const size = Math.hypot(re, im);
      return [re / size, im / size];
    });
    const input = turned(b, turns);
    const cut = { re: input.re, im: input.im.map((x) => Math.min(2, Math.max(-2, x))) };
    out.set(`w.${measure}`, pairs([w], [modes, 2]));
    out.set(
      `P.${measure}`,
      pairs(
        p.map((row) => turned(row, turns)),
        [rank, modes, 2],
      ),
    );
    out.set(`Bv.${measure}`, pairs([cut], [modes, 2]));
  }
  return { tensors: out };
}
