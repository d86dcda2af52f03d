// Times per step of a program, printed under EVERLONG_DEBUG=kernels. A device that computes on its own is waited for after every
// step, so that the figures hold launch costs too.

import type { Program } from "../device.ts";
import { bytesMoved, shapeOf } from "./step-operands.ts";

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

  report(program: Program, steps: readonly { readonly name: string; readonly flops: number }[]): string {
    const total = this.times.reduce((sum, t) => sum + t, 0);
    const lines = this.times
      .map((time, index) => ({ time, index }))
      .sort((a, b) => b.time - a.time)
      .slice(0, 40)
      .map(({ time, index }) => {
        const step = program.steps[index]!;
        const rate = `${(bytesMoved(step) / time / 1e6).toFixed(1)} GB/s, ${(steps[index]!.flops / time / 1e6).toFixed(1)} GFLOP/s`;
        return `${time.toFixed(3).padStart(9)} ms  ${String(index).padStart(3)} ${steps[index]!.name} ${shapeOf(step)}: ${rate}`;
      });
    return [`run of ${this.times.length} steps, ${total.toFixed(3)} ms`, ...lines].join("\n");
  }
}
