// A loaded program: its frame (and those of scan bodies), its argument blocks and constants on the heap, and its runs.

import {
  debugFlag,
  bytesMoved,
  DeviceError,
  doesNotFit,
  invariant,
  peakBytes,
  RunProfile,
  shapeOf,
  showBytes,
  showCount,
  type Buffer,
  type Executable,
  type Program,
} from "@everlong/core";
import type { CpuBuffer } from "./buffer.ts";
import type { Block } from "./heap.ts";
import { layOut } from "./layout.ts";
import { checkFinite } from "./nan-check.ts";
import type { Layout, Runtime } from "./runtime.ts";

/** Heap blocks of an executable; shared with the finaliser. */
interface Held {
  readonly blocks: Block[];
  arena: number;
}

const forgotten = new FinalizationRegistry<{ readonly device: Runtime; readonly held: Held }>(
  ({ device, held }) => release(device, held),
);

function release(device: Runtime, held: Held): void {
  for (const block of held.blocks.splice(0)) device.heap.free(block);
  device.arena.release(held);
}

/** An executable of the CPU device. Runs are synchronous. */
export class CpuExecutable implements Executable {
  private readonly device: Runtime;
  private readonly program: Program;
  private readonly layout: Layout;
  private readonly held: Held = { blocks: [], arena: 0 };
  private readonly inputs: number[] = [];
  private readonly outputs: number[] = [];
  private arenaAddress = -1;
  // Inputs of the run in progress: their memory must not be collected once only their addresses are in use.
  private running: readonly Buffer[] | undefined;
  private disposed = false;

  constructor(device: Runtime, program: Program) {
    this.device = device;
    this.program = program;
    program.buffers.forEach((b, i) => {
      if (b.role.kind === "input") this.inputs[b.role.index] = i;
      else if (b.role.kind === "output") this.outputs[b.role.index] = i;
    });
    const { limit } = device.heap.memory;
    if (peakBytes(program) > limit) throw doesNotFit("cpu", program, limit);
    this.layout = layOut(device, program, this.held.blocks);
    this.held.arena = this.layout.arenaBytes;
    device.arena.reserve(this.held);
    device.reserveScratch(this.layout.scratchBytes);
    forgotten.register(this, { device, held: this.held }, this);
  }

  run(inputs: readonly Buffer[]): Buffer[] {
    const { device, program, layout } = this;
    if (this.disposed) throw new DeviceError("cpu", "executable is used after it was disposed");
    invariant(
      inputs.length === program.inputs,
      `program takes ${program.inputs} inputs, got ${inputs.length}`,
    );
    const { frame } = layout;
    this.running = inputs;
    const arena =
      this.held.arena === 0
        ? 0
        : device.arena.address(this.held, (limit) => doesNotFit("cpu", program, limit));
    if (arena !== this.arenaAddress) {
      layout.bindArena(arena);
      this.arenaAddress = arena;
    }
    inputs.forEach((b, i) => {
      const buffer = this.inputs[i];
      // An input that no step reads may have no buffer.
      if (buffer !== undefined) frame.bind(buffer, device.own(b).address);
    });
    const results = this.takeOutputs(inputs);
    const nan = debugFlag("nan");
    const profile = debugFlag("kernels") ? new RunProfile() : undefined;
    if (!nan && !profile) frame.run();
    else {
      frame.run((step) => {
        profile?.mark(step);
        if (nan) checkFinite(device.heap.memory, frame, program, step);
      });
    }
    if (profile) console.error(profile.report(program, layout.steps));
    this.running = undefined;
    return results;
  }

  /** Binds the outputs to fresh memory, or to that of their donors, which happens last: nothing can fail after it. */
  private takeOutputs(inputs: readonly Buffer[]): CpuBuffer[] {
    const { device, program } = this;
    const fresh: Block[] = [];
    const sizes = this.outputs.map((index) => program.buffers[index]!.bytes);
    try {
      sizes.forEach((bytes, i) => {
        if (program.donated[i] === undefined)
          fresh[i] = device.heap.allocate(bytes, `output ${i} of a program`);
      });
    } catch (error) {
      for (const block of fresh) if (block) device.heap.free(block);
      throw error;
    }
    return sizes.map((bytes, i) => {
      const block = fresh[i] ?? device.own(inputs[program.donated[i]!]!).donate();
      this.layout.frame.bind(this.outputs[i]!, block.address);
      return device.adopt(block, bytes);
    });
  }

  describe(): string {
    const { program, layout } = this;
    const lines = program.steps.map((step, i) => {
      const launches = layout.frame.launches.filter((l) => l.step === i);
      const info = layout.steps[i]!;
      const units = launches.map((l) => (l.kernel ? `${l.units}` : "host")).join("+") || "0";
      const flops = info.flops > 0 ? `, ${showCount(info.flops)} flop` : "";
      return `${String(i).padStart(3)} ${info.name} ${shapeOf(step)}: ${units} units, ${showBytes(bytesMoved(step))}${flops}`;
    });
    const total = `arena ${showBytes(layout.arenaBytes)}, scratch ${showBytes(layout.scratchBytes)} per thread`;
    return [...lines, total].join("\n");
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    forgotten.unregister(this);
    release(this.device, this.held);
  }
}
