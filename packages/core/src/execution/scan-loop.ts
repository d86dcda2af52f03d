// Scans: the body's frame is run once per time step. Sequences advance by their bytes; carries alternate between the output's
// memory and one spare, so that the last step writes the output.

import type { Operand, ScanStep } from "../device.ts";
import { DTYPES } from "../dtype.ts";

/** Addresses of a program's buffers, and its launches. */
export interface ScanFrame {
  readonly addresses: ArrayLike<number>;
  bind(buffer: number, address: number): void;
  run(): void;
}

/** A body laid out, as far as a scan needs it. */
export interface ScanBody {
  readonly frame: ScanFrame;
  readonly steps: readonly { readonly flops: number }[];
  readonly bindArena: (address: number) => void;
}

/** Copies `bytes` bytes of the device's memory. */
type Copy = (to: number, from: number, bytes: number) => void;

const bytesOf = (o: Operand): number => o.view.shape.reduce((a, b) => a * b, 1) * DTYPES[o.dtype].bytes;

/** Byte address of an operand's first element. */
export const addressOf = (frame: Pick<ScanFrame, "addresses">, o: Operand): number =>
  frame.addresses[o.buffer]! + o.view.offset * DTYPES[o.dtype].bytes;

/** Where each carry's spare lies in the arena, from `start` on, and where they end. `align` rounds sizes up. */
export function spareOffsets(
  step: ScanStep,
  start: number,
  align: (bytes: number) => number,
): { offsets: number[]; end: number } {
  let end = start;
  const offsets = step.inputs.slice(0, step.carries).map((o) => {
    const at = end;
    end += align(bytesOf(o));
    return at;
  });
  return { offsets, end };
}

/** Runs the body of a scan over its time steps. */
export class ScanLoop<Body extends ScanBody> {
  readonly body: Body;
  /** Bytes of the arena for spares and body. */
  readonly arenaBytes: number;
  readonly flops: number;
  private readonly step: ScanStep;
  private readonly spares: readonly number[];
  private readonly copy: Copy;
  private readonly inputs: number[] = [];
  private readonly outputs: number[] = [];
  private readonly inputBytes: readonly number[];
  private readonly outputBytes: readonly number[];
  private frame: Pick<ScanFrame, "addresses"> | undefined;
  private arena = 0;

  constructor(step: ScanStep, body: Body, spares: readonly number[], arenaBytes: number, copy: Copy) {
    this.step = step;
    this.spares = spares;
    this.arenaBytes = arenaBytes;
    this.copy = copy;
    this.body = {
      ...body,
      bindArena: (address: number) => {
        this.arena = address;
        body.bindArena(address);
      },
    };
    this.flops = step.length * body.steps.reduce((sum, s) => sum + s.flops, 0);
    step.body.buffers.forEach(({ role }, i) => {
      if (role.kind === "input") this.inputs[role.index] = i;
      else if (role.kind === "output") this.outputs[role.index] = i;
    });
    // Bytes of one time step.
    const perStep = (o: Operand): number => (step.length === 0 ? 0 : bytesOf(o) / step.length);
    this.inputBytes = step.inputs.map(perStep);
    this.outputBytes = step.outputs.map(perStep);
  }

  /** Tells which frame holds the scan's operands. */
  attach(frame: Pick<ScanFrame, "addresses">): void {
    this.frame = frame;
  }

  run(): void {
    const { step, arena, spares, copy } = this;
    const { carries, sequences, length, reverse } = step;
    const own = this.body.frame;
    const from = step.inputs.map((o) => addressOf(this.frame!, o));
    const to = step.outputs.map((o) => addressOf(this.frame!, o));
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
        this.bindInput(i, from[i]! + t * this.inputBytes[i]!);
      for (let i = carries; i < to.length; i++) own.bind(this.outputs[i]!, to[i]! + t * this.outputBytes[i]!);
      own.run();
    }
    if (length > 0) return;
    for (let c = 0; c < carries; c++) {
      const bytes = bytesOf(step.inputs[c]!);
      if (bytes > 0) copy(to[c]!, from[c]!, bytes);
    }
  }

  private bindInput(index: number, address: number): void {
    const buffer = this.inputs[index];
    // An input that no step of the body reads may have no buffer.
    if (buffer !== undefined) this.body.frame.bind(buffer, address);
  }
}
