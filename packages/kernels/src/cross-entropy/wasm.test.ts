import { integers } from "@everlong/testing";
import { checkWasm } from "../wasm-check.ts";
import { crossEntropyGradOp, crossEntropyOp } from "./op.ts";
import { crossEntropyGradWasm, crossEntropyWasm } from "./wasm.ts";

const targets = (rows: number, classes: number) => ({
  shape: [rows],
  dtype: "i32" as const,
  sample: integers(0, classes),
});
const mixed = { shape: [6], dtype: "i32" as const, values: [0, 16, -100, 3, -100, 40] };
const plain = { ignoreIndex: -100, labelSmoothing: 0 };
const smooth = { ignoreIndex: -100, labelSmoothing: 0.2 };

checkWasm(crossEntropyOp, crossEntropyWasm, [
  { inputs: [[6, 17], mixed], params: plain },
  { inputs: [[6, 17], mixed], params: smooth },
  { inputs: [[1300, 16], targets(1300, 16)], params: plain },
  { inputs: [[3, 4099], targets(3, 4099)], params: { ignoreIndex: 2, labelSmoothing: 0.1 } },
]);
checkWasm(crossEntropyGradOp, crossEntropyGradWasm, [
  { inputs: [[6, 17], mixed, { shape: [6], sample: (r) => 3 + r.uniform() }, [6]], params: plain },
  {
    inputs: [[1300, 16], targets(1300, 16), { shape: [1300], sample: (r) => 3 + r.uniform() }, [1300]],
    params: smooth,
  },
]);
