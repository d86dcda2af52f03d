// Scalar functions within a kernel's module, by the vector ones.

import { log, type FunctionRef, type ModuleBuilder } from "@everlong/wasm";

/** `logarithm(x) -> log x`. */
export const defineLogarithm = (module: ModuleBuilder): FunctionRef =>
  module.once("logarithm", () =>
    module.define("logarithm", { params: ["f32"], result: "f32" }, (f, x) =>
      f.f32x4.extractLane(log(f, f.f32x4.splat(x, 1)), 0),
    ),
  );
