// Attention on the GPU beside cuDNN and FlashAttention 2, as PyTorch calls them: causal, bf16, forward and backward.

import { cast, compile, device, mul, permute, random, realize, sum, type Tensor } from "@everlong/core";
import { attentionGradOp, attentionOp } from "@everlong/kernels";
import { cudaTorchPeer, finish } from "./cuda-torch.ts";
import { drop } from "./cuda-work.ts";
import type { BenchCase, Peer } from "./suite.ts";

interface Shape {
  readonly batch: number;
  readonly heads: number;
  /** Heads of keys and values; default as many as of queries. */
  readonly keyHeads?: number;
  readonly length: number;
  readonly size: number;
}

const SHAPES: readonly Shape[] = [
  { batch: 2, heads: 16, length: 8192, size: 64 },
  { batch: 2, heads: 16, length: 8192, size: 128 },
  { batch: 8, heads: 16, length: 2048, size: 64 },
  { batch: 8, heads: 16, length: 2048, size: 128 },
  { batch: 3, heads: 16, length: 6000, size: 64 },
  { batch: 2, heads: 16, length: 1537, size: 128 },
  { batch: 16, heads: 16, length: 512, size: 64 },
  { batch: 4, heads: 32, keyHeads: 4, length: 2048, size: 128 },
];
/** Calls of one run, of ours and of the peers. */
const LAUNCHES = 20;
/** Rows of a head that are computed again in float64. */
const SAMPLES = 6;

function normal(seed: number, shape: readonly number[]): Tensor {
  const made = cast(random.normal(random.key(seed, device("cuda")), shape), "bf16");
  realize(made);
  return made;
}

const wide = async (t: Tensor): Promise<ArrayLike<number>> =>
  (await cast(t, "f32").data()) as ArrayLike<number>;

interface Work {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly dy: Tensor;
}

const makeWork = ({ batch, heads, keyHeads = heads, length, size }: Shape): Work => {
  const made = (seed: number, count: number): Tensor => normal(seed, [batch, length, count, size]);
  return { q: made(1, heads), k: made(2, keyHeads), v: made(3, keyHeads), dy: made(4, heads) };
};

/** `dy . y` of every row, as the gradient wants it. */
const rowSums = (y: Tensor, dy: Tensor): Tensor =>
  permute(sum(mul(cast(y, "f32"), cast(dy, "f32")), -1), [0, 2, 1]);

/** Some rows of the last batch and of head 1, in float64. */
async function exact(
  { batch, heads, length, size }: Shape,
  work: Work,
): Promise<{
  readonly rows: readonly number[];
  readonly at: (row: number) => number;
  readonly y: Float64Array[];
  readonly dq: Float64Array[];
}> {
  const [q, k, v, dy] = await Promise.all(
    [work.q, work.k, work.v, work.dy].map((t) =>
      wide(t.slice([batch - 1, {}, Math.floor(t.shape[2]! / heads)])),
    ),
  );
  const at = (row: number): number => row * size;
  const rows = Array.from({ length: SAMPLES }, (_, i) => Math.floor((i * (length - 1)) / (SAMPLES - 1)));
  const dot = (x: ArrayLike<number>, i: number, z: ArrayLike<number>, j: number): number => {
    let s = 0;
    for (let c = 0; c < size; c++) s += x[i + c]! * z[j + c]!;
    return s;
  };
  const y: Float64Array[] = [];
  const dq: Float64Array[] = [];
  for (const row of rows) {
    const scores = Float64Array.from(
      { length: row + 1 },
      (_, j) => dot(q!, at(row), k!, at(j)) / Math.sqrt(size),
    );
    const top = scores.reduce((a, s) => Math.max(a, s), -Infinity);
    const weights = scores.map((s) => Math.exp(s - top));
    const total = weights.reduce((a, s) => a + s, 0);
    const out = new Float64Array(size);
    weights.forEach((p, j) => {
      for (let c = 0; c < size; c++) out[c]! += (p / total) * v![at(j) + c]!;
    });
    const delta = out.reduce((a, o, c) => a + o * dy![at(row) + c]!, 0);
    const slope = new Float64Array(size);
    weights.forEach((p, j) => {
      const ds = ((p / total) * (dot(dy!, at(row), v!, at(j)) - delta)) / Math.sqrt(size);
      for (let c = 0; c < size; c++) slope[c]! += ds * k![at(j) + c]!;
    });
    y.push(out);
    dq.push(slope);
  }
  return { rows, at, y, dq };
}

function relative(got: ArrayLike<number>, want: readonly Float64Array[], places: readonly number[]): number {
  let off = 0;
  let size = 0;
  want.forEach((row, i) =>
    row.forEach((x, c) => {
      off += (got[places[i]! + c]! - x) ** 2;
      size += x ** 2;
    }),
  );
  return Math.sqrt(off / size);
}

function attentionCase(shape: Shape, pass: "forward" | "backward", deterministic: boolean): BenchCase {
  const { batch, heads, keyHeads = heads, length, size } = shape;
  const flops = 2 * batch * heads * length ** 2 * size * (pass === "backward" ? 2.5 : 1);
  const params = { left: -1, right: 0, scale: size ** -0.5, softCap: 0, deterministic };
  const name = `attention ${pass}${deterministic ? ", deterministic" : ""}, ${batch} x ${heads}${keyHeads < heads ? ` (${keyHeads})` : ""} x ${length} x ${size}`;
  const peer = (label: string, backend: string): Peer =>
    cudaTorchPeer(
      label,
      `attention ${backend} ${pass} heads ${batch} ${heads} ${keyHeads} ${length} ${length} ${size}`,
      LAUNCHES,
    );
  return {
    name,
    unit: "TFLOP/s",
    toUnit: (ms) => (flops * LAUNCHES) / ms / 1e9,
    tolerance: 6e-3,
    repeats: 7,
    // They sum in a free order.
    peers: deterministic ? [] : [peer("cuDNN", "cudnn"), peer("FlashAttention 2", "flash")],
    prepare: async () => {
      const work = makeWork(shape);
      const { q, k, v, dy } = work;
      const forward = compile((...x: Tensor[]) => attentionOp(x, { ...params, inputs: ["q", "k", "v"] }), {
        name,
      });
      const [y, lse] = forward(q, k, v) as [Tensor, Tensor];
      // The row sums belong to the backward pass, as in the peers.
      const backward = compile(
        (...[a, b, c, g, l, o]: Tensor[]) =>
          attentionGradOp([a!, b!, c!, g!, l!, rowSums(o!, g!)], {
            ...params,
            inputs: ["q", "k", "v", "dy", "lse", "delta"],
          }),
        { name },
      );
      const once = (): Tensor[] => (pass === "forward" ? forward(q, k, v) : backward(q, k, v, dy, lse, y));
      return {
        run: () => {
          for (let i = 0; i < LAUNCHES; i++) drop(once());
          finish();
        },
        error: async () => {
          const want = await exact(shape, work);
          const places = want.rows.map(want.at);
          const result = once();
          const got = await wide(result[0]!.slice([batch - 1, {}, 1]));
          drop(result);
          return relative(got, pass === "forward" ? want.y : want.dq, places);
        },
        close: () => {
          forward.dispose();
          backward.dispose();
          drop([y, lse, q, k, v, dy]);
        },
      };
    },
  };
}

interface Generation {
  readonly batch: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly keys: number;
  readonly size: number;
}

/** One query a sequence, as in generation: bound by reading keys and values once. */
function generationCase({ batch, heads, keyHeads, keys, size }: Generation): BenchCase {
  const name = `attention of one query, ${batch} x ${heads} heads (${keyHeads}) x ${keys} x ${size}`;
  const work = (backend: string): string =>
    `attention ${backend} forward heads ${batch} ${heads} ${keyHeads} 1 ${keys} ${size}`;
  return {
    name,
    unit: "ms",
    toUnit: (ms) => ms / LAUNCHES,
    tolerance: 6e-3,
    repeats: 7,
    peers: [
      cudaTorchPeer("cuDNN", work("cudnn"), LAUNCHES),
      cudaTorchPeer("FlashAttention 2", work("flash"), LAUNCHES),
      cudaTorchPeer("torch copy of as many bytes", `copy ${batch} ${keys} ${keyHeads * size}`, LAUNCHES),
    ],
    prepare: async () => {
      const q = normal(1, [batch, 1, heads, size]);
      const [k, v] = [2, 3].map((seed) => normal(seed, [batch, keys, keyHeads, size])) as [Tensor, Tensor];
      const params = { left: -1, right: 0, scale: size ** -0.5, softCap: 0 };
      const forward = compile((...x: Tensor[]) => attentionOp(x, { ...params, inputs: ["q", "k", "v"] }), {
        name,
      });
      const once = (): Tensor[] => forward(q, k, v) as Tensor[];
      return {
        run: () => {
          for (let i = 0; i < LAUNCHES; i++) drop(once());
          finish();
        },
        error: async () => {
          const [b, h] = [batch - 1, heads - 2];
          const own = [b, {}, Math.floor((h * keyHeads) / heads)];
          const result = once();
          const [query, key, value, got] = (await Promise.all(
            [q.slice([b, 0, h]), k.slice(own), v.slice(own), result[0]!.slice([b, 0, h])].map(wide),
          )) as [ArrayLike<number>, ArrayLike<number>, ArrayLike<number>, ArrayLike<number>];
          drop(result);
          const want = new Float64Array(size);
          let total = 0;
          for (let j = 0; j < keys; j++) {
            let score = 0;
            for (let c = 0; c < size; c++) score += query[c]! * key[j * size + c]!;
            const weight = Math.exp(score * params.scale);
            total += weight;
            for (let c = 0; c < size; c++) want[c]! += weight * value[j * size + c]!;
          }
          return relative(got, [want.map((x) => x / total)], [0]);
        },
        close: () => {
          forward.dispose();
          drop([q, k, v]);
        },
      };
    },
  };
}

const GENERATION: readonly Generation[] = [
  { batch: 16, heads: 16, keyHeads: 16, keys: 8192, size: 128 },
  { batch: 1, heads: 32, keyHeads: 8, keys: 65_536, size: 128 },
];

/** Forward, backward, and backward with sums in a fixed order; then one query at a time. */
export const cudaAttentionCases = (): BenchCase[] => [
  ...SHAPES.flatMap((shape) => [
    attentionCase(shape, "forward", false),
    attentionCase(shape, "backward", false),
    attentionCase(shape, "backward", true),
  ]),
  ...GENERATION.map(generationCase),
];
