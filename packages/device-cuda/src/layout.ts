// Lays a program out: lowers its steps, places temporaries in the arena, resolves argument words, and nests the frames of scans.

import { debugFlag, ScanLoop, spareOffsets, type Program, type ScanStep } from "@everlong/core";
import type { CudaProduct, CudaStep, CudaTable, CudaWord } from "@everlong/kernels/cuda";
import type { Cublas } from "./cublas.ts";
import { branches, unitsOf, withRoom, type Slot, type Unit } from "./branches.ts";
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
export function layOut(
  device: Runtime,
  given: Program,
  blocks: Block[],
  { arenaStart = 0, isBody = false }: { readonly arenaStart?: number; readonly isBody?: boolean } = {},
): Layout {
  // Under debugging every step has launches of its own.
  const debugged = debugFlag("kernels") || debugFlag("nan");
  const single = given.steps.map((step) => (step.kind === "scan" ? undefined : lower(step, device.target)));
  const branched = !debugged && !isBody && single.every((l) => l !== undefined && typeof l !== "string");
  const program = branched ? withRoom(given) : given;
  const builder = new FrameBuilder();
  const placements: Placement[] = [];
  const constants: { readonly buffer: number; readonly block: Block }[] = [];
  const bodies: Layout[] = [];
  const infos = program.steps.map(() => ({ name: "", flops: 0, scratch: 0 }));
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
  const fuses = (product: CudaProduct): boolean => device.library?.fuses(product) ?? false;
  const lowerings = debugged ? single : foldSums(program, single, device.target, fuses);
  const groups = debugged ? [] : joinedSteps(program, lowerings);
  const joined = new Set(groups.flat());
  const groupEnding = new Map(groups.map((steps) => [steps.at(-1)!, steps]));
  const tempBytes = lowerings.map((l) =>
    l && typeof l !== "string" ? l.temps.reduce((sum, bytes) => sum + aligned(bytes), 0) : 0,
  );
  lowerings.forEach((l, i) => {
    if (l && typeof l !== "string") infos[i] = { name: l.name, flops: l.flops, scratch: tempBytes[i]! };
  });
  const units = program.steps.flatMap((_, i): Unit[] => {
    if (joined.has(i) && !groupEnding.has(i)) return [];
    const steps = groupEnding.get(i) ?? [i];
    return branched ? unitsOf(steps, lowerings) : [{ steps }];
  });
  const slots: readonly Slot[] = branched
    ? branches(program, units, lowerings as readonly Lowered[])
    : units.map((unit) => ({ unit, lane: 0, waits: [] }));
  // Launches of one lane follow each other and share the space of their temporaries; joined ones hold theirs side by side. Those of units
  // that are stages of a step have places of their own.
  const laneBytes: number[] = [];
  const tempFrom: number[] = [];
  let tempsEnd = tempsStart;
  for (const { unit, lane } of slots) {
    if (unit.stage !== undefined && tempFrom[unit.steps[0]!] !== undefined) continue;
    let from = unit.stage === undefined ? 0 : tempsEnd;
    for (const index of unit.steps) {
      tempFrom[index] = from;
      from += tempBytes[index]!;
    }
    if (unit.stage === undefined) laneBytes[lane] = Math.max(laneBytes[lane] ?? 0, from);
    else tempsEnd = from;
  }
  const laneStart: number[] = [];
  for (const [lane, bytes = 0] of laneBytes.entries()) {
    laneStart[lane] = tempsEnd;
    tempsEnd += bytes;
  }
  // Scan bodies lie behind all temporaries of this program; two scans share the space, since one ends before the other.
  const bodiesStart = tempsEnd;
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
  const addHost = (index: number): boolean => {
    const step = program.steps[index]!;
    if (step.kind === "scan") {
      const scan = layOutScan(device, step, blocks, bodiesStart);
      arenaEnd = Math.max(arenaEnd, bodiesStart + scan.arenaBytes);
      bodies.push(scan.body);
      recordable &&= scan.body.recordable;
      nested += step.length * scan.body.launches + step.carries;
      infos[index] = {
        name: `scan x${step.length} of ${step.body.steps.length} steps`,
        flops: scan.flops,
        scratch: scan.arenaBytes,
      };
      later.push((frame) => scan.attach(frame));
      builder.launches.push({ kind: "host", run: () => scan.run(), step: index, name: "scan" });
      return true;
    }
    const lowered = lowerings[index]!;
    if (typeof lowered !== "string") return false;
    const work = referenceWork(device, step, lowered);
    recordable = false;
    infos[index] = { name: `${work.name} (reference)`, flops: 0, scratch: 0 };
    later.push((frame) => work.attach(frame));
    builder.launches.push({ kind: "host", run: work.run, step: index, name: work.name });
    return true;
  };
  const placeTemps = (index: number, start: number): void => {
    if (firstTemps.has(index)) return;
    firstTemps.set(index, buffers);
    let offset = start + tempFrom[index]!;
    for (const bytes of (lowerings[index] as Lowered).temps) {
      placements.push({ buffer: buffers++, offset });
      offset += aligned(bytes);
    }
  };
  const lastLaunch: number[] = [];
  for (const { unit, lane, waits } of slots) {
    const { steps, stage } = unit;
    const first = builder.launches.length;
    const last = steps.at(-1)!;
    if (!addHost(last)) {
      for (const index of steps) placeTemps(index, stage === undefined ? laneStart[lane]! : 0);
      const group = steps.map((i) => ({ lowered: lowerings[i] as Lowered, firstTemp: firstTemps.get(i)! }));
      const [{ lowered, firstTemp }] = group as [(typeof group)[number]];
      const stages = stage === undefined ? lowered.steps.keys() : [stage];
      for (const at of stages)
        if (joined.has(last)) addJoined(device, builder, last, group, at);
        else addLaunch(device, builder, last, lowered, lowered.steps[at]!, firstTemp);
    }
    const others = waits.map((at) => lastLaunch[at]!);
    builder.order(first, lane, others);
    lastLaunch.push(builder.launches.length - 1);
  }
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

/** Whether the library does a product, and what it adds in passing. */
const isLibrarys = (library: Cublas, product: CudaProduct): boolean =>
  product.bias !== undefined || product.added !== undefined ? library.fuses(product) : library.has(product);

function kernelsOf(device: Runtime, steps: Lowered["steps"]): CudaStep["kernel"][] {
  const { library } = device;
  return steps.flatMap((s) => {
    if (!("library" in s)) return [s.kernel];
    return library && isLibrarys(library, s) ? [] : kernelsOf(device, s.otherwise);
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
    if (!library || !isLibrarys(library, one)) {
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

/** One launch for launch `stage` of several alike steps, at the place of step `step`. */
function addJoined(
  device: Runtime,
  builder: FrameBuilder,
  step: number,
  group: readonly { readonly lowered: Lowered; readonly firstTemp: number }[],
  stage: number,
): void {
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
    name: `${group[0]!.lowered.name} x${group.length}`,
    at: builder.block([...firsts, ...words, ...empty]),
  });
}

/** A scan whose carries' spares and body lie from byte `arenaStart` of the arena on. */
function layOutScan(device: Runtime, step: ScanStep, blocks: Block[], arenaStart: number): ScanLoop<Layout> {
  const spares = spareOffsets(step, arenaStart, aligned);
  const body = layOut(device, step.body, blocks, { arenaStart: spares.end, isBody: true });
  const arenaBytes = spares.end - arenaStart + body.arenaBytes;
  return new ScanLoop(step, body, spares.offsets, arenaBytes, (to, from, bytes) =>
    device.engine.driver.copyOnDevice(to, from, bytes, device.engine.stream),
  );
}
