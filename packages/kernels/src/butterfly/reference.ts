import type { HostArray } from "@everlong/core";
import type {
  ButterflyAdjointParams,
  ButterflyConvParams,
  ButterflyFilterGradParams,
  ButterflyParams,
} from "./op.ts";

/** A row of complex numbers. */
interface Row {
  readonly re: Float64Array;
  readonly im: Float64Array;
}
const row = (n: number): Row => ({ re: new Float64Array(n), im: new Float64Array(n) });

/** One stage of a transform: its matrix, how many blocks of `m n` it works on, and the twiddle of row k and column b. */
interface Stage {
  readonly m: number;
  readonly n: number;
  readonly blocks: number;
  readonly w: HostArray;
}

function stagesOf(radices: readonly number[], matrices: readonly HostArray[]): Stage[] {
  let n = radices.reduce((a, b) => a * b, 1);
  let blocks = 1;
  return radices.map((m, i) => {
    n /= m;
    const stage = { m, n, blocks, w: matrices[i]! };
    blocks *= m;
    return stage;
  });
}

const twiddle = ({ m, n }: Stage, k: number, b: number): [number, number] => {
  const angle = (-2 * Math.PI * k * b) / (m * n);
  return [Math.cos(angle), Math.sin(angle)];
};

/** `y[k, b] = exp(-2 pi i k b / m n) sum_a w[k, a] x[a, b]` in every block. */
function forward(stage: Stage, x: Row): Row {
  const { m, n, blocks, w } = stage;
  const y = row(x.re.length);
  for (let p = 0; p < blocks; p++)
    for (let k = 0; k < m; k++)
      for (let b = 0; b < n; b++) {
        let [re, im] = [0, 0];
        for (let a = 0; a < m; a++) {
          const [wr, wi] = [w.data[k * m + a]!, w.data[m * m + k * m + a]!];
          const at = (p * m + a) * n + b;
          re += wr * x.re[at]! - wi * x.im[at]!;
          im += wr * x.im[at]! + wi * x.re[at]!;
        }
        const [c, s] = twiddle(stage, k, b);
        y.re[(p * m + k) * n + b] = re * c - im * s;
        y.im[(p * m + k) * n + b] = re * s + im * c;
      }
  return y;
}

/** The cotangent before the twiddles of a stage. */
function untwiddled(stage: Stage, y: Row): Row {
  const { m, n, blocks } = stage;
  const t = row(y.re.length);
  for (let p = 0; p < blocks; p++)
    for (let k = 0; k < m; k++)
      for (let b = 0; b < n; b++) {
        const [c, s] = twiddle(stage, k, b);
        const at = (p * m + k) * n + b;
        t.re[at] = y.re[at]! * c + y.im[at]! * s;
        t.im[at] = y.im[at]! * c - y.re[at]! * s;
      }
  return t;
}

/** The conjugate transpose of a stage's matrix. */
function backward({ m, n, blocks, w }: Stage, t: Row): Row {
  const x = row(t.re.length);
  for (let p = 0; p < blocks; p++)
    for (let a = 0; a < m; a++)
      for (let b = 0; b < n; b++) {
        let [re, im] = [0, 0];
        for (let k = 0; k < m; k++) {
          const [wr, wi] = [w.data[k * m + a]!, w.data[m * m + k * m + a]!];
          const at = (p * m + k) * n + b;
          re += wr * t.re[at]! + wi * t.im[at]!;
          im += wr * t.im[at]! - wi * t.re[at]!;
        }
        x.re[(p * m + a) * n + b] = re;
        x.im[(p * m + a) * n + b] = im;
      }
  return x;
}

interface Place {
  readonly batch: number;
  readonly channels: number;
  readonly length: number;
  /** Index of step t of channel d of example b. */
  readonly at: (b: number, d: number, t: number) => number;
}

function placesOf(x: HostArray, layout: "bdl" | "bld"): Place {
  const [batch, second, third] = x.shape as [number, number, number];
  return layout === "bdl"
    ? { batch, channels: second, length: third, at: (b, d, t) => (b * second + d) * third + t }
    : { batch, channels: third, length: second, at: (b, d, t) => (b * second + t) * third + d };
}

function eachRow(place: Place, body: (b: number, d: number) => void): void {
  for (let b = 0; b < place.batch; b++) for (let d = 0; d < place.channels; d++) body(b, d);
}

/** A sequence padded with zeros. */
function sequence(x: HostArray, place: Place, b: number, d: number, size: number): Row {
  const out = row(size);
  for (let t = 0; t < place.length; t++) out.re[t] = x.data[place.at(b, d, t)]!;
  return out;
}

/** Moves a row out of or into spectra `[B, N, D]`. */
function spectrum(
  re: HostArray,
  im: HostArray,
  b: number,
  d: number,
): { read: () => Row; write: (r: Row) => void } {
  const [, size, channels] = re.shape as [number, number, number];
  const at = (i: number): number => (b * size + i) * channels + d;
  return {
    read: () => ({
      re: Float64Array.from({ length: size }, (_, i) => re.data[at(i)]!),
      im: Float64Array.from({ length: size }, (_, i) => im.data[at(i)]!),
    }),
    write: (r) => {
      for (let i = 0; i < size; i++) {
        re.data[at(i)] = r.re[i]!;
        im.data[at(i)] = r.im[i]!;
      }
    },
  };
}

export function transformReference(
  [x, ...matrices]: readonly HostArray[],
  [re, im]: readonly HostArray[],
  { layout, radices }: ButterflyParams,
): void {
  const place = placesOf(x!, layout);
  const stages = stagesOf(radices, matrices);
  eachRow(place, (b, d) => {
    const start = sequence(x!, place, b, d, re!.shape[1]!);
    spectrum(re!, im!, b, d).write(stages.reduce((y, stage) => forward(stage, y), start));
  });
}

export function adjointReference(
  [re, im, ...matrices]: readonly HostArray[],
  [x]: readonly HostArray[],
  { layout, radices }: ButterflyAdjointParams,
): void {
  const place = placesOf(x!, layout);
  const stages = stagesOf(radices, matrices).toReversed();
  eachRow(place, (b, d) => {
    const start = spectrum(re!, im!, b, d).read();
    const y = stages.reduce((t, stage) => backward(stage, untwiddled(stage, t)), start);
    for (let t = 0; t < place.length; t++) x!.data[place.at(b, d, t)] = y.re[t]!;
  });
}

/** `dw[k, a] = sum of t[k, b] conj(x[a, b])` over columns and rows, t being the cotangent before the twiddles. */
export function matrixGradReference(
  [x, re, im, ...matrices]: readonly HostArray[],
  outputs: readonly HostArray[],
  { layout, radices }: ButterflyParams,
): void {
  const place = placesOf(x!, layout);
  const stages = stagesOf(radices, matrices);
  for (const o of outputs) o.data.fill(0);
  eachRow(place, (b, d) => {
    const inputs = [sequence(x!, place, b, d, re!.shape[1]!)];
    for (const stage of stages) inputs.push(forward(stage, inputs.at(-1)!));
    let cotangent = spectrum(re!, im!, b, d).read();
    for (let i = stages.length - 1; i >= 0; i--) {
      const stage = stages[i]!;
      const { m, n, blocks } = stage;
      const t = untwiddled(stage, cotangent);
      const from = inputs[i]!;
      const dw = outputs[i]!.data;
      for (let p = 0; p < blocks; p++)
        for (let k = 0; k < m; k++)
          for (let a = 0; a < m; a++)
            for (let c = 0; c < n; c++) {
              const [to, at] = [(p * m + k) * n + c, (p * m + a) * n + c];
              dw[k * m + a]! += t.re[to]! * from.re[at]! + t.im[to]! * from.im[at]!;
              dw[m * m + k * m + a]! += t.im[to]! * from.re[at]! - t.re[to]! * from.im[at]!;
            }
      cotangent = backward(stage, t);
    }
  });
}

/** `a b`, or `a conj(b)`, over n. */
function product(a: Row, b: Row, conjugate: boolean): Row {
  const n = a.re.length;
  const out = row(n);
  const sign = conjugate ? -1 : 1;
  for (let i = 0; i < n; i++) {
    const im = sign * b.im[i]!;
    out.re[i] = (a.re[i]! * b.re[i]! - a.im[i]! * im) / n;
    out.im[i] = (a.re[i]! * im + a.im[i]! * b.re[i]!) / n;
  }
  return out;
}

export function convReference(
  [u, k, ...matrices]: readonly HostArray[],
  [y]: readonly HostArray[],
  { layout, radices, adjoint }: ButterflyConvParams,
): void {
  const place = placesOf(u!, layout);
  const filters: HostArray = { shape: [1, ...k!.shape], data: k!.data };
  const taps = placesOf(filters, layout);
  const stages = stagesOf(radices, matrices);
  const size = radices.reduce((a, b) => a * b, 1);
  const transform = (r: Row): Row => stages.reduce((t, stage) => forward(stage, t), r);
  eachRow(place, (b, d) => {
    const filter = transform(sequence(filters, taps, 0, d, size));
    const spectrumOfRow = product(transform(sequence(u!, place, b, d, size)), filter, adjoint);
    const out = stages
      .toReversed()
      .reduce((t, stage) => backward(stage, untwiddled(stage, t)), spectrumOfRow);
    for (let t = 0; t < place.length; t++) y!.data[place.at(b, d, t)] = out.re[t]!;
  });
}

export function filterGradReference(
  [u, dy, ...matrices]: readonly HostArray[],
  [dk]: readonly HostArray[],
  { layout, radices }: ButterflyFilterGradParams,
): void {
  const place = placesOf(u!, layout);
  const filters: HostArray = { shape: [1, ...dk!.shape], data: dk!.data };
  const taps = placesOf(filters, layout);
  const stages = stagesOf(radices, matrices);
  const size = radices.reduce((a, b) => a * b, 1);
  const transform = (r: Row): Row => stages.reduce((t, stage) => forward(stage, t), r);
  dk!.data.fill(0);
  eachRow(place, (b, d) => {
    const [a, g] = [u!, dy!].map((x) => transform(sequence(x, place, b, d, size)));
    const out = stages
      .toReversed()
      .reduce((t, stage) => backward(stage, untwiddled(stage, t)), product(g!, a!, true));
    for (let t = 0; t < taps.length; t++) dk!.data[taps.at(0, d, t)]! += out.re[t]!;
  });
}
