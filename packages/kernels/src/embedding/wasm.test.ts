import { integers } from "@everlong/testing";
import { checkWasm } from "../wasm-check.ts";
import { embeddingGradOp, embeddingOp } from "./op.ts";
import { embeddingGradWasm, embeddingWasm } from "./wasm.ts";

const ids = (n: number, rows: number) => ({ shape: [n], dtype: "i32" as const, sample: integers(0, rows) });
const beyond = { shape: [5], dtype: "i32" as const, values: [-4, 0, 2, 9, 1] };
checkWasm(embeddingOp, embeddingWasm, [
  { inputs: [[5, 3], ids(7, 5)], params: {} },
  { inputs: [[16, 128], ids(700, 16)], params: {} },
  { inputs: [[3, 9], beyond], params: {} },
]);
checkWasm(embeddingGradOp, embeddingGradWasm, [
  { inputs: [ids(7, 5), [7, 3]], params: { rows: 5 } },
  { inputs: [ids(900, 150), [900, 37]], params: { rows: 200 } },
  { inputs: [beyond, [5, 9]], params: { rows: 3 } },
  { inputs: [ids(1, 1), [1, 8]], params: { rows: 1 } },
]);
