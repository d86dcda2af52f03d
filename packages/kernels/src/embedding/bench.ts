import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import { embeddingGradOp, embeddingOp } from "./op.ts";

const ids = (count: number, rows: number): BenchInput => ({ shape: [count], dtype: "i32", below: rows });

export const bench: readonly BenchCase[] = [
  benchCase("embedding", embeddingOp, {}, [[512, 128], ids(16384, 512)], [[9, 45], ids(20, 9)]),
  benchCase(
    "embedding gradient",
    embeddingGradOp,
    { rows: 512 },
    [ids(16384, 512), [16384, 128]],
    [ids(20, 512), [20, 45]],
  ),
];
