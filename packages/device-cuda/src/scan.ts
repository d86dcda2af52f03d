// Scans: the body's frame is run once per time step. Sequences advance by their bytes; carries alternate between the output's memory
// and one spare, so that the last step writes the output.

import { DTYPES, type ScanStep, type StepOperand } from "@everlong/core";
import type { Frame } from "./frame.ts";
import { aligned, type Layout, type Runtime } from "./runtime.ts";

const bytesOf = (o: StepOperand): number => o.view.shape.reduce((a, b) => a * b, 1) * DTYPES[o.dtype].bytes;

/** Where each carry's spare lies in the arena, from `start` on, and where they end. */
export function spareOffsets(step: ScanStep, start: number): { offsets: number[]; end: number } {
  let end = start;
  const offsets = step.inputs.slice(0, step.carries).map((o) => {
    const at = end;
    end += aligned(bytesOf(o));
    return at;
  });
  return { offsets, end };
}

/** Runs the body of a scan over its time steps. */
export class ScanLoop {
  readonly body: Layout;
  /** Bytes of the arena for spares and body. */
  readonly arenaBytes: number;
  readonly flops: number;
  private readonly device: Runtime;
  private readonly step: ScanStep;
  private readonly spares: readonly number[];
  private readonly inputs: number[] = [];
  private readonly outputs: number[] = [];
  private frame: Frame | undefined;
  private arena = 0;

  constructor(device: Runtime, step: ScanStep, body: Layout, spares: readonly number[], arenaBytes: number) {
    this.device = device;
    this.step = step;
    this.spares = spares;
    this.arenaBytes = arenaBytes;
    this.body = {
      ...body,
      bindArena: (address) => {
        this.arena = address;
        body.bindArena(address);
      },
    };
    this.flops = step.length * body.steps.reduce((sum, s) => sum + s.flops, 0);
    step.body.buffers.forEach(({ role }, i) => {
      if (role.kind === "input") this.inputs[role.index] = i;
      else if (role.kind === "output") this.outputs[role.index] = i;
    });
  }

  /** Tells which frame holds the scan's operands. */
  attach(frame: Frame): void {
    this.frame = frame;
  }

  run(): void {
    const { step, arena, spares } = this;
    const { carries, sequences, length, reverse } = step;
    const own = this.body.frame;
    const addressOf = (o: StepOperand): number =>
      this.frame!.addresses[o.buffer]! + o.view.offset * DTYPES[o.dtype].bytes;
    const perStep = (o: StepOperand): number => (length === 0 ? 0 : bytesOf(o) / length);
    const from = step.inputs.map(addressOf);
    const to = step.outputs.map(addressOf);
    for (let i = carries + sequences; i < from.length; i++) this.bindInput(i, from[i]!);
    for (let n = 0; n < length; n++) {
      const t = reverse ? length - 1 - n : n;
      // Counted from the end, even steps write the output and odd ones the spare.
      const toOutput = (length - 1 - n) % 2 === 0;
      for (let c = 0; c < carries; c++) {
        const spare = arena + spares[c]!;
        this.bindInput(c, n === 0 ? from[c]! : toOutput ? spare : to[c]!);
        own.bind(this.outputs[c]!, toOutput ? to[c]! : spare);
      }
      for (let i = carries; i < carries + sequences; i++)
        this.bindInput(i, from[i]! + t * perStep(step.inputs[i]!));
      for (let i = carries; i < to.length; i++)
        own.bind(this.outputs[i]!, to[i]! + t * perStep(step.outputs[i]!));
      own.run();
    }
    if (length === 0) {
      const { driver, stream } = this.device.engine;
      for (let c = 0; c < carries; c++) {
        const bytes = bytesOf(step.inputs[c]!);
        if (bytes > 0) driver.copyOnDevice(to[c]!, from[c]!, bytes, stream);
      }
    }
  }

  private bindInput(index: number, address: number): void {
    const buffer = this.inputs[index];
    // An input that no step of the body reads may have no buffer.
    if (buffer !== undefined) this.body.frame.bind(buffer, address);
  }
}
