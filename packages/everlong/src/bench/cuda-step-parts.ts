// What a training step consists of beside products, attention and long convolutions, each alone on the GPU: norms, cross-entropy, embeddings,
// scans. The limit is the time that reading every input and writing every result once takes.

import {
  cast,
  compile,
  device,
  gradients,
  mul,
  narrow,
  random,
  realize,
  tensor,
  type DType,
  type Tensor,
} from "@everlong/core";
import {
  crossEntropy,
  embeddingGradOp,
  gatedLinearAttention,
  layerNorm,
  mixedPrecision,
  selectiveScan,
} from "@everlong/kernels";
import { cudaTorchPeer, finish } from "./cuda-torch.ts";
import { BYTES_PER_MS, drawn, drop, repeated } from "./cuda-work.ts";
import type { BenchCase, Peer } from "./suite.ts";

type Fn = (...inputs: readonly Tensor[]) => readonly Tensor[];

/** Results that a part of the inputs decides: it is computed again in float64. */
interface Sample {
  readonly inputs: (inputs: readonly Tensor[]) => readonly Tensor[];
  /** What of our results belongs to it, and what of the results of the part alone. */
  readonly got: (results: readonly Tensor[]) => readonly Tensor[];
  readonly want?: (results: readonly Tensor[]) => readonly Tensor[];
}

interface Part {
  readonly name: string;
  readonly inputs: () => readonly Tensor[];
  readonly fn: Fn;
  /** Bytes of inputs and results. */
  readonly bytes: number;
  readonly tolerance: number;
  readonly samples: readonly Sample[];
  readonly peers?: (calls: number) => readonly Peer[];
  /** Calls of one run. Default 20. */
  readonly calls?: number;
}

const exactly = async (t: Tensor): Promise<Tensor> => {
  const on = { device: device("reference") };
  if (t.dtype === "i32") return tensor((await t.data()) as Int32Array, t.shape, on);
  const wide = (await cast(t, "f32").data()) as Float32Array;
  return tensor(Float64Array.from(wide), t.shape, { ...on, dtype: "f64" });
};

/** The largest relative L2 error of a result. */
async function errorOf({ samples, fn }: Part, inputs: readonly Tensor[]): Promise<number> {
  const results = fn(...inputs);
  realize(results);
  let worst = 0;
  for (const { inputs: part, got, want = (r: readonly Tensor[]) => r } of samples) {
    const exact = want(fn(...(await Promise.all(part(inputs).map(exactly)))));
    for (const [i, found] of got(results).entries()) {
      const [x, y] = (await Promise.all([
        cast(found, "f32").data(),
        exact[i]!.data(),
      ])) as ArrayLike<number>[];
      let [off, size] = [0, 0];
      for (let k = 0; k < y!.length; k++) {
        off += (x![k]! - y![k]!) ** 2;
        size += y![k]! ** 2;
      }
      worst = Math.max(worst, Math.sqrt(off / size));
    }
  }
  drop(results);
  return worst;
}

function partCase(part: Part): BenchCase {
  const { name, bytes, tolerance, calls = 20 } = part;
  return {
    name,
    unit: "ms",
    toUnit: (ms) => ms / calls,
    tolerance,
    repeats: 5,
    limit: () => bytes / BYTES_PER_MS,
    peers: part.peers?.(calls) ?? [],
    prepare: () => {
      const inputs = part.inputs();
      realize(inputs);
      const fn = compile((...x: Tensor[]) => [...part.fn(...x)], { name });
      return Promise.resolve({
        run: () => {
          for (let i = 0; i < calls; i++) drop(fn(...inputs));
          finish();
        },
        error: () =>
          errorOf(
            { ...part, fn: (...x) => (x[0]!.device.name === "reference" ? part.fn(...x) : fn(...x)) },
            inputs,
          ),
        close: () => {
          fn.dispose();
          drop(inputs);
        },
      });
    },
  };
}

type Format = "f32" | "bf16";
const bytesOf: Readonly<Record<Format, number>> = { f32: 4, bf16: 2 };
/** Relative rounding of what is stored, and of sums. */
const TOLERANCE: Readonly<Record<Format, number>> = { f32: 1e-5, bf16: 4e-3 };

/** In mixed precision where numbers are stored in bf16, as a training step traces it. */
const tracedIn = (format: Format, fn: Fn): Fn =>
  format === "f32" ? fn : (...x) => mixedPrecision({ dtype: format }, () => fn(...x));

const first = (t: Tensor, rows: number): Tensor => narrow(t, 0, 0, rows);
const last = (t: Tensor, rows: number): Tensor => narrow(t, 0, t.shape[0]! - rows, t.shape[0]!);

/** Copies of the rows that a case is made of: float64 computes them once, and knows all sums. */
const COPIES = 64;

function layerNormPart(rows: number, width: number, format: Format): Part {
  const part = rows / COPIES;
  return {
    name: `layer norm with gradients ${format}, ${rows} x ${width}`,
    inputs: () => [
      repeated(drawn([part, width], 1, format), COPIES),
      drawn([width], 2),
      drawn([width], 3),
      repeated(drawn([part, width], 4, format), COPIES),
    ],
    fn: tracedIn(format, (x, weight, bias, dy) => {
      const y = layerNorm(x!, weight!, bias!);
      return [y, ...gradients([y], [x!, weight!, bias!], [dy!])];
    }),
    bytes: 4 * rows * width * bytesOf[format],
    tolerance: TOLERANCE[format],
    samples: [
      {
        inputs: ([x, weight, bias, dy]) => [first(x!, part), weight!, bias!, first(dy!, part)],
        got: ([y, dx, dw, db]) => [
          last(y!, part),
          last(dx!, part),
          mul(dw!, 1 / COPIES),
          mul(db!, 1 / COPIES),
        ],
      },
    ],
    peers: (calls) => [cudaTorchPeer("torch", `norm ${format} ${rows} ${width}`, calls)],
  };
}

function crossEntropyPart(rows: number, classes: number, format: Format): Part {
  const part = rows / COPIES;
  return {
    name: `cross-entropy with gradient ${format}, ${rows} x ${classes}`,
    inputs: () => {
      const targets = Int32Array.from({ length: rows }, (_, i) => ((i % part) * 7919) % classes);
      return [repeated(drawn([part, classes], 1, format), COPIES), tensor(targets, [rows])];
    },
    fn: tracedIn(format, (logits, targets) => {
      const loss = crossEntropy(logits!, targets!);
      return [loss, ...gradients([loss], [logits!])];
    }),
    bytes: 2 * rows * classes * bytesOf[format],
    tolerance: TOLERANCE[format],
    samples: [
      {
        inputs: ([logits, targets]) => [first(logits!, part), first(targets!, part)],
        // Each row is that much less of the mean.
        got: ([loss, dx]) => [loss!, mul(cast(last(dx!, part), "f32"), COPIES)],
      },
    ],
    peers: (calls) => [cudaTorchPeer("torch", `cross-entropy ${format} ${rows} ${classes}`, calls)],
  };
}

function embeddingPart(tokens: number, rows: number, width: number, format: Format): Part {
  const some = (t: Tensor): Tensor => narrow(t, 1, width - 7, width);
  return {
    name: `embedding gradient ${format}, ${tokens} tokens of ${rows} x ${width}`,
    inputs: () => {
      // Some rows often, most never, as in texts.
      const ids = Int32Array.from(
        { length: tokens },
        (_, i) => Math.floor(rows ** (((i * 0.618_033_988_75) % 1) ** 0.5)) - 1,
      );
      return [tensor(ids, [tokens]), drawn([tokens, width], 1, format)];
    },
    fn: (ids, dy) => embeddingGradOp([ids!, dy!], { rows }),
    bytes: tokens * width * bytesOf[format] + rows * width * 4,
    tolerance: TOLERANCE.f32,
    samples: [{ inputs: ([ids, dy]) => [ids!, some(dy!)], got: ([table]) => [some(table!)] }],
    peers: (calls) => [
      cudaTorchPeer("torch", `embedding-gradient ${format} ${tokens} ${rows} ${width}`, calls),
    ],
  };
}

function selectiveScanPart(batch: number, time: number, channels: number, states: number): Part {
  /** Channels that are computed again from end to end, and steps of all channels at either end. */
  const [from, to, steps] = [channels - 5, channels - 3, 24];
  const some = (t: Tensor): Tensor => narrow(t, 2, from, to);
  const early = (t: Tensor): Tensor => narrow(last(t, 1), 1, 0, steps);
  const late = (t: Tensor): Tensor => narrow(last(t, 1), 1, time - steps, time);
  const cut =
    (end: (t: Tensor) => Tensor) =>
    ([u, delta, a, b, c, dy]: readonly Tensor[]): Tensor[] => [
      end(u!),
      end(delta!),
      a!,
      end(b!),
      end(c!),
      end(dy!),
    ];
  return {
    name: `selective scan with gradients f32, ${batch} x ${time} x ${channels}, ${states} states`,
    inputs: () => {
      const key = random.key(2, device("cuda"));
      const shape = [batch, time, channels];
      return [
        drawn(shape, 1),
        random.uniform(key, shape, { low: 1e-3, high: 0.1 }),
        tensor(
          Float32Array.from({ length: channels * states }, (_, i) => -1 - (i % states)),
          [channels, states],
        ),
        drawn([batch, time, states], 3),
        drawn([batch, time, states], 4),
        drawn(shape, 5),
      ];
    },
    fn: (u, delta, a, b, c, dy) => {
      const { y } = selectiveScan(u!, delta!, a!, b!, c!);
      return [y, ...gradients([y], [u!, delta!, a!, b!, c!], [dy!])];
    },
    bytes: 6 * batch * time * channels * 4,
    tolerance: 2e-5,
    calls: 10,
    samples: [
      {
        inputs: ([u, delta, a, b, c, dy]) => [
          some(u!),
          some(delta!),
          narrow(a!, 0, from, to),
          b!,
          c!,
          some(dy!),
        ],
        got: ([y, du, ddelta, da]) => [some(y!), some(du!), some(ddelta!), narrow(da!, 0, from, to)],
      },
      // The gradient of c looks back only, that of b ahead only.
      { inputs: cut(early), got: (r) => [early(r[5]!)], want: (r) => [r[5]!] },
      { inputs: cut(late), got: (r) => [late(r[4]!)], want: (r) => [r[4]!] },
    ],
  };
}

function linearAttentionPart(batch: number, time: number, heads: number, size: number): Part {
  const one = (t: Tensor): Tensor => narrow(last(t, 1), 2, heads - 3, heads - 2);
  const shape = [batch, time, heads, size];
  return {
    name: `linear attention with decay, with gradients f32, ${batch} x ${time} x ${heads} x ${size}`,
    inputs: () => [
      ...[1, 2, 3].map((seed) => drawn(shape, seed)),
      random.uniform(random.key(4, device("cuda")), shape, { low: -0.2, high: 0 }),
      drawn(shape, 5),
    ],
    fn: (q, k, v, logDecay, dy) => {
      const { y } = gatedLinearAttention(q!, k!, v!, { logDecay: logDecay! });
      return [y, ...gradients([y], [q!, k!, v!, logDecay!], [dy!])];
    },
    bytes: 10 * batch * time * heads * size * 4,
    // The decay's gradient is a running sum of differences.
    tolerance: 5e-5,
    calls: 10,
    samples: [{ inputs: (x) => x.map(one), got: (r) => r.map(one) }],
  };
}

/** Sizes of the cases. */
export interface PartSizes {
  readonly norm: readonly [rows: number, width: number];
  readonly classes: readonly [rows: number, classes: number];
  readonly embedding: readonly [tokens: number, rows: number, width: number];
  readonly scan: readonly [batch: number, time: number, channels: number, states: number];
  readonly attention: readonly [batch: number, time: number, heads: number, size: number];
}

const FORMATS: readonly (Format & DType)[] = ["bf16", "f32"];

const FULL: PartSizes = {
  norm: [16_384, 768],
  classes: [16_384, 50_257],
  embedding: [8192, 50_257, 768],
  scan: [8, 2048, 1536, 16],
  attention: [8, 2048, 16, 64],
};

export const cudaStepPartCases = (sizes: PartSizes = FULL): BenchCase[] =>
  [
    ...FORMATS.map((format) => layerNormPart(...sizes.norm, format)),
    ...FORMATS.map((format) => crossEntropyPart(...sizes.classes, format)),
    ...FORMATS.map((format) => embeddingPart(...sizes.embedding, format)),
    selectiveScanPart(...sizes.scan),
    linearAttentionPart(...sizes.attention),
  ].map(partCase);
