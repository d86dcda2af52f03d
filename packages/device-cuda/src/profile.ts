// Times per step of a program, printed under EVERLONG_DEBUG=kernels. The device is waited for after every step, so the figures hold
// launch costs too and are for finding the dear steps.

import type { Program } from "@everlong/core";
import { bytesMoved, shapeOf } from "./operands.ts";
import type { Layout } from "./runtime.ts";

/** Collects the time of every step of one run; `report` gives the dearest steps first. */
export class RunProfile {
  private readonly times: number[] = [];
  private last: number = performance.now();

  /** To be called when step `index` has ended. */
  mark(index: number): void {
    const now = performance.now();
    this.times[index] = now - this.last;
    this.last = now;
  }

  report(program: Program, layout: Layout): string {
    const total = this.times.reduce((sum, t) => sum + t, 0);
    const lines = this.times
      .map((time, index) => ({ time, index }))
      .sort((a, b) => b.time - a.time)
      .slice(0, 40)
      .map(({ time, index }) => {
        const step = program.steps[index]!;
        const rate = `${(bytesMoved(step) / time / 1e6).toFixed(1)} GB/s, ${(layout.steps[index]!.flops / time / 1e6).toFixed(1)} GFLOP/s`;
        return `${time.toFixed(3).padStart(9)} ms  ${String(index).padStart(3)} ${layout.steps[index]!.name} ${shapeOf(step)}: ${rate}`;
      });
    return [`run of ${this.times.length} steps, ${total.toFixed(3)} ms`, ...lines].join("\n");
  }
}
