// Lays a program out: lowers its steps, places temporaries in the arena, resolves argument words, and nests the frames of scans.

import { ScanLoop, spareOffsets, type Program, type ScanStep } from "@everlong/core";
import { runReference } from "./fallback.ts";
import { Frame, FrameBuilder } from "./frame.ts";
import type { Block } from "./heap.ts";
import type { ArgWord, Lowered, WasmStep } from "./kernel-step.ts";
import { lower } from "./lowering.ts";
import { aligned, type Layout, type Runtime } from "./runtime.ts";

interface Placement {
  readonly buffer: number;
  readonly offset: number;
}

/** Lays out `program` with its temporaries from byte `arenaStart` of the arena on. Blocks taken from the heap go to `blocks`. */
export function layOut(device: Runtime, program: Program, blocks: Block[], arenaStart = 0): Layout {
  const builder = new FrameBuilder();
  const placements: Placement[] = [];
  const constants: { readonly buffer: number; readonly block: Block }[] = [];
  const bodies: Layout[] = [];
  const infos: { name: string; flops: number }[] = [];
  let buffers = program.buffers.length;
  let scratchBytes = 0;
  program.buffers.forEach(({ role, bytes }, buffer) => {
    if (role.kind === "temp") placements.push({ buffer, offset: arenaStart + role.offset });
    else if (role.kind === "constant") {
      const block = device.heap.allocate(bytes, "a constant of a program");
      blocks.push(block);
      const { data } = role;
      device.heap.memory.u8.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), block.address);
      constants.push({ buffer, block });
    }
  });
  const tempsStart = arenaStart + aligned(program.arenaBytes);
  let arenaEnd = tempsStart;
  // Scan bodies lie behind all temporaries of this program; two scans may share the space, since one ends before the other.
  const stepTemps = program.steps.map((step) => {
    if (step.kind === "scan") return undefined;
    const lowered = lower(step, device.kernels.target);
    if (typeof lowered !== "string") arenaEnd = Math.max(arenaEnd, tempsStart + totalOf(lowered.temps));
    return lowered;
  });
  const bodiesStart = arenaEnd;
  // Bound after the frame exists.
  const later: ((frame: Frame) => void)[] = [];

  program.steps.forEach((step, index) => {
    if (step.kind === "scan") {
      const scan = layOutScan(device, step, blocks, bodiesStart);
      arenaEnd = Math.max(arenaEnd, bodiesStart + scan.arenaBytes);
      scratchBytes = Math.max(scratchBytes, scan.body.scratchBytes);
      bodies.push(scan.body);
      infos.push({ name: `scan x${step.length} of ${step.body.steps.length} steps`, flops: scan.flops });
      later.push((frame) => scan.attach(frame));
      addHost(builder, index, "scan", () => scan.run());
      return;
    }
    const lowered = stepTemps[index]!;
    if (typeof lowered === "string") {
      const fallback = runReference(device, step, lowered);
      infos.push({ name: `${fallback.name} (reference)`, flops: 0 });
      later.push((frame) => fallback.attach(frame));
      addHost(builder, index, fallback.name, fallback.run);
      return;
    }
    const firstTemp = buffers;
    let offset = tempsStart;
    for (const bytes of lowered.temps) {
      placements.push({ buffer: buffers++, offset });
      offset += aligned(bytes);
    }
    infos.push({ name: lowered.name, flops: lowered.flops });
    for (const kernel of lowered.steps) {
      scratchBytes = Math.max(scratchBytes, kernel.scratchBytes);
      addKernel(device, builder, index, lowered, kernel, firstTemp);
    }
  });

  const block = device.heap.allocate(Math.max(16, builder.words.length * 4), "argument blocks of a program");
  blocks.push(block);
  const frame = new Frame(device.engine, builder, buffers, block.address);
  for (const c of constants) frame.bind(c.buffer, c.block.address);
  for (const attach of later) attach(frame);
  return {
    frame,
    arenaBytes: arenaEnd - arenaStart,
    scratchBytes,
    steps: infos,
    bindArena: (address) => {
      for (const p of placements) frame.bind(p.buffer, address + p.offset);
      for (const body of bodies) body.bindArena(address);
    },
  };
}

const totalOf = (temps: readonly number[]): number => temps.reduce((sum, bytes) => sum + aligned(bytes), 0);

function addHost(builder: FrameBuilder, step: number, name: string, run: () => void): void {
  builder.launches.push({
    kernel: undefined,
    host: run,
    words: 0,
    units: 1,
    grain: 1,
    scratchBytes: 0,
    step,
    name,
  });
}

function addKernel(
  device: Runtime,
  builder: FrameBuilder,
  step: number,
  lowered: Lowered,
  kernel: WasmStep,
  firstTemp: number,
): void {
  if (kernel.units === 0) return;
  const resolve = (word: Exclude<ArgWord, number>): number | { buffer: number; offset: number } => {
    if ("input" in word) return { buffer: lowered.inputs[word.input]!.buffer, offset: word.byteOffset ?? 0 };
    if ("output" in word)
      return { buffer: lowered.outputs[word.output]!.buffer, offset: word.byteOffset ?? 0 };
    if ("temp" in word) return { buffer: firstTemp + word.temp, offset: word.byteOffset ?? 0 };
    if ("table" in word) return device.table(kernel.tables![word.table]!);
    return 0;
  };
  builder.launches.push({
    kernel: device.kernels.get(kernel.kernel, kernel.entry),
    host: undefined,
    words: builder.block(kernel.args, resolve),
    units: kernel.units,
    grain: kernel.grain,
    scratchBytes: kernel.scratchBytes,
    step,
    name: lowered.name,
  });
}

/** A scan whose carries' spares and body lie from byte `arenaStart` of the arena on. */
function layOutScan(device: Runtime, step: ScanStep, blocks: Block[], arenaStart: number): ScanLoop<Layout> {
  const spares = spareOffsets(step, arenaStart, aligned);
  const body = layOut(device, step.body, blocks, spares.end);
  const arenaBytes = spares.end - arenaStart + body.arenaBytes;
  return new ScanLoop(step, body, spares.offsets, arenaBytes, (to, from, bytes) =>
    device.heap.memory.u8.copyWithin(to, from, from + bytes),
  );
}
