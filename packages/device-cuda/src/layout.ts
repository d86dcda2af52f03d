// Lays a program out: lowers its steps, places temporaries in the arena, resolves argument words, and nests the frames of scans.

import { debugFlag, ScanLoop, spareOffsets, type Program, type ScanStep } from "@everlong/core";
import type { CudaProduct, CudaStep, CudaTable, CudaWord } from "@everlong/kernels/cuda";
import { referenceWork } from "./fallback.ts";
import { foldSums } from "./fold-sums.ts";
import { Frame, FrameBuilder, type BufferWord, type ResolvedWord } from "./frame.ts";
import { joinedBlocks, joinedKernel, joinedSteps } from "./join-launches.ts";
import type { Lowered } from "./lowered.ts";
import { lower } from "./lowering.ts";
import type { Block } from "./memory-pool.ts";
import { aligned, type Layout, type Runtime } from "./runtime.ts";

interface Placement {
  readonly buffer: number;
  readonly offset: number;
}

/** Lays out `program` with its temporaries from byte `arenaStart` of the arena on. Blocks taken from the pool go to `blocks`. */
export function layOut(device: Runtime, program: Program, blocks: Block[], arenaStart = 0): Layout {
  const builder = new FrameBuilder();
  const placements: Placement[] = [];
  const constants: { readonly buffer: number; readonly block: Block }[] = [];
  const bodies: Layout[] = [];
  const infos: { name: string; flops: number }[] = [];
  const later: ((frame: Frame) => void)[] = [];
  let buffers = program.buffers.length;
  let recordable = true;
  let nested = 0;
  program.buffers.forEach(({ role, bytes }, buffer) => {
    if (role.kind === "temp") placements.push({ buffer, offset: arenaStart + role.offset });
    else if (role.kind === "constant") {
      const block = device.pool.allocate(bytes, "a constant of a program");
      blocks.push(block);
      const { data } = role;
      device.transfers.upload(block.address, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      constants.push({ buffer, block });
    }
  });
  const tempsStart = arenaStart + aligned(program.arenaBytes);
  // Under debugging every step has launches of its own.
  const debugged = debugFlag("kernels") || debugFlag("nan");
  const single = program.steps.map((step) => (step.kind === "scan" ? undefined : lower(step, device.target)));
  const fuses = (product: CudaProduct): boolean => device.library?.fuses(product) ?? false;
  const lowerings = debugged ? single : foldSums(program, single, device.target, fuses);
  const groups = debugged ? [] : joinedSteps(program, lowerings);
  const joined = new Set(groups.flat());
  const groupEnding = new Map(groups.map((steps) => [steps.at(-1)!, steps]));
  const tempBytes = lowerings.map((l) =>
    l && typeof l !== "string" ? l.temps.reduce((sum, bytes) => sum + aligned(bytes), 0) : 0,
  );
  // Joined launches hold their temporaries side by side.
  const tempFrom = tempBytes.map(() => 0);
  const totals = [...tempBytes];
  for (const group of groups) {
    let from = 0;
    for (const index of group) {
      tempFrom[index] = from;
      from += tempBytes[index]!;
    }
    totals.push(from);
  }
  // Scan bodies lie behind all temporaries of this program; two scans share the space, since one ends before the other.
  const bodiesStart = tempsStart + Math.max(0, ...totals);
  let arenaEnd = bodiesStart;
  const firstTemps = new Map<number, number>();
  device.kernels.prepare([
    ...lowerings.flatMap((l, i) =>
      l && typeof l !== "string" && !joined.has(i) ? kernelsOf(device, l.steps) : [],
    ),
    ...groups.flatMap(([first]) =>
      (lowerings[first!] as Lowered).steps.map((s) => joinedKernel(s as CudaStep)),
    ),
  ]);
  program.steps.forEach((step, index) => {
    if (step.kind === "scan") {
      const scan = layOutScan(device, step, blocks, bodiesStart);
      arenaEnd = Math.max(arenaEnd, bodiesStart + scan.arenaBytes);
      bodies.push(scan.body);
      recordable &&= scan.body.recordable;
      nested += step.length * scan.body.launches + step.carries;
      infos.push({ name: `scan x${step.length} of ${step.body.steps.length} steps`, flops: scan.flops });
      later.push((frame) => scan.attach(frame));
      builder.launches.push({ kind: "host", run: () => scan.run(), step: index, name: "scan" });
      return;
    }
    const lowered = lowerings[index]!;
    if (typeof lowered === "string") {
      const work = referenceWork(device, step, lowered);
      recordable = false;
      infos.push({ name: `${work.name} (reference)`, flops: 0 });
      later.push((frame) => work.attach(frame));
      builder.launches.push({ kind: "host", run: work.run, step: index, name: work.name });
      return;
    }
    const firstTemp = buffers;
    let offset = tempsStart + tempFrom[index]!;
    firstTemps.set(index, firstTemp);
    for (const bytes of lowered.temps) {
      placements.push({ buffer: buffers++, offset });
      offset += aligned(bytes);
    }
    infos.push({ name: lowered.name, flops: lowered.flops });
    if (!joined.has(index)) {
      for (const one of lowered.steps) addLaunch(device, builder, index, lowered, one, firstTemp);
      return;
    }
    const group = groupEnding.get(index)?.map((i) => ({
      lowered: lowerings[i] as Lowered,
      firstTemp: firstTemps.get(i)!,
    }));
    if (group) addJoined(device, builder, index, group);
  });
  const frame = new Frame(device.engine, builder, buffers);
  for (const c of constants) frame.bind(c.buffer, c.block.address);
  for (const attach of later) attach(frame);
  return {
    frame,
    arenaBytes: arenaEnd - arenaStart,
    steps: infos,
    recordable,
    launches: nested + builder.launches.filter((l) => l.kind !== "host").length,
    bindArena: (address) => {
      for (const p of placements) frame.bind(p.buffer, address + p.offset);
      for (const body of bodies) body.bindArena(address);
    },
  };
}

/** Whether a product adds something in passing. */
const isFused = (product: CudaProduct): boolean => product.bias !== undefined || product.added !== undefined;

function kernelsOf(device: Runtime, steps: Lowered["steps"]): CudaStep["kernel"][] {
  const { library } = device;
  return steps.flatMap((s) => {
    if (!("library" in s)) return [s.kernel];
    return library && !(isFused(s) && !library.fuses(s)) ? [] : kernelsOf(device, s.otherwise);
  });
}

type Resolver = (word: CudaWord) => ResolvedWord;

function resolver(
  device: Runtime,
  lowered: Lowered,
  firstTemp: number,
  tables: readonly CudaTable[] | undefined,
): Resolver {
  return (word) => {
    if (typeof word === "number" || "f32" in word) return word;
    if ("table" in word) return device.table(tables![word.table]!);
    const place = { offset: word.byteOffset ?? 0, ...(word.map && { map: word.map }) };
    if ("input" in word) return { buffer: lowered.inputs[word.input]!.buffer, ...place };
    if ("output" in word) return { buffer: lowered.outputs[word.output]!.buffer, ...place };
    return { buffer: firstTemp + word.temp, ...place };
  };
}

function addLaunch(
  device: Runtime,
  builder: FrameBuilder,
  step: number,
  lowered: Lowered,
  one: CudaStep | CudaProduct,
  firstTemp: number,
): void {
  const { name } = lowered;
  if ("library" in one) {
    const { library } = device;
    if (!library || (isFused(one) && !library.fuses(one))) {
      for (const own of one.otherwise) addLaunch(device, builder, step, lowered, own, firstTemp);
      return;
    }
    const resolve = resolver(device, lowered, firstTemp, undefined);
    const at = (m: CudaProduct["a"]): BufferWord => resolve(m.word) as BufferWord;
    const [a, b, c] = [at(one.a), at(one.b), at(one.c)];
    const more = {
      bias: one.bias && (resolve(one.bias) as BufferWord),
      added: one.added && (resolve(one.added) as BufferWord),
    };
    builder.launches.push({ kind: "product", product: one, library, a, b, c, ...more, step, name });
    return;
  }
  builder.launches.push({
    kind: "kernel",
    kernel: device.kernels.get(one.kernel, one.sharedBytes ?? 0),
    grid: one.grid,
    block: one.block,
    sharedBytes: one.sharedBytes ?? 0,
    step,
    name,
    at: builder.block(one.args.map(resolver(device, lowered, firstTemp, one.tables))),
  });
}

/** One launch for each launch of several alike steps, at the place of step `step`. */
function addJoined(
  device: Runtime,
  builder: FrameBuilder,
  step: number,
  group: readonly { readonly lowered: Lowered; readonly firstTemp: number }[],
): void {
  const [{ lowered: model }] = group as [(typeof group)[number]];
  model.steps.forEach((_, stage) => {
    const steps = group.map(({ lowered }) => lowered.steps[stage] as CudaStep);
    const [first] = steps as [CudaStep];
    const { firsts, blocks } = joinedBlocks(steps);
    const words = group.flatMap(({ lowered, firstTemp }, i) =>
      steps[i]!.args.map(resolver(device, lowered, firstTemp, steps[i]!.tables)),
    );
    const empty = Array.from({ length: (firsts.length - steps.length) * first.args.length }, () => 0);
    const sharedBytes = Math.max(...steps.map((s) => s.sharedBytes ?? 0));
    builder.launches.push({
      kind: "kernel",
      kernel: device.kernels.get(joinedKernel(first), sharedBytes),
      grid: [blocks, 1, 1],
      block: first.block,
      sharedBytes,
      step,
      name: `${model.name} x${group.length}`,
      at: builder.block([...firsts, ...words, ...empty]),
    });
  });
}

/** A scan whose carries' spares and body lie from byte `arenaStart` of the arena on. */
function layOutScan(device: Runtime, step: ScanStep, blocks: Block[], arenaStart: number): ScanLoop<Layout> {
  const spares = spareOffsets(step, arenaStart, aligned);
  const body = layOut(device, step.body, blocks, spares.end);
  const arenaBytes = spares.end - arenaStart + body.arenaBytes;
  return new ScanLoop(step, body, spares.offsets, arenaBytes, (to, from, bytes) =>
    device.engine.driver.copyOnDevice(to, from, bytes, device.engine.stream),
  );
}
