// A loaded program: its frame (and those of scan bodies), its constants, its recorded graphs, and its runs.

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
import type { Held } from "./buffer.ts";
import type { Handle } from "./driver.ts";
import { launchedName } from "./frame.ts";
import { layOut } from "./layout.ts";
import { roundSize, type Block } from "./memory-pool.ts";
import { checkFinite } from "./nan-check.ts";
import type { Layout, Runtime } from "./runtime.ts";

/** Recorded graphs kept per program: inputs and outputs come back at few different addresses. */
const MOST_GRAPHS = 16;
/** Replays that pay for a recording. Programs that meet ever other addresses are launched instead. */
const REPLAYS_PER_GRAPH = 8;
/** Bytes of an argument or result that is rather copied than recorded again. */
const MOST_COPIED = 4 * 1024 * 1024;
/** Launches above which recording costs more than it can save. */
const MOST_NODES = 20_000;

/** In place of an address: what is copied may lie anywhere. */
const ANYWHERE = -1;

/** A graph of a program by its key, which joins the addresses that it is for, and where inputs and outputs lie in it. */
interface Recording {
  readonly key: string;
  readonly addresses: readonly Handle[];
  readonly from: readonly Handle[];
  readonly to: readonly Handle[];
}

/** What a program holds on the device: constants and fixed places, recorded graphs, its share of the arena. */
class HeldByProgram implements Held {
  readonly blocks: Block[] = [];
  readonly graphs = new Map<string, Handle>();
  arena = 0;
  private readonly device: Runtime;

  constructor(device: Runtime) {
    this.device = device;
  }

  release(): void {
    const { device, graphs } = this;
    for (const block of this.blocks.splice(0)) device.pool.free(block);
    device.arena.release(this);
    const dropped = [...graphs.values()];
    graphs.clear();
    // A graph in flight may not go.
    if (dropped.length > 0) device.engine.driver.synchronize(device.engine.stream);
    for (const graph of dropped) device.engine.driver.dropGraph(graph);
  }
}

/** An executable of the CUDA device. Runs launch and return. */
export class CudaExecutable implements Executable {
  private readonly device: Runtime;
  private readonly program: Program;
  private readonly layout: Layout;
  private readonly held: HeldByProgram;
  private readonly inputs: number[] = [];
  private readonly outputs: number[] = [];
  /** Inputs, and outputs, that may have a fixed place in graphs. */
  private readonly smallInputs: readonly boolean[];
  private readonly smallOutputs: readonly boolean[];
  private readonly seen = new Set<string>();
  /** Memory for the outputs of the run that began last. */
  private taken: readonly (Block | undefined)[] = [];
  private last: Recording | undefined;
  private readonly lastInputs: (Handle | undefined)[] = [];
  /** Inputs whose address changes from run to run. */
  private readonly moving = new Set<number>();
  private readonly places = new Map<string, Block>();
  /** Graphs that took the place of others, and replays of graphs that were there. */
  private replaced = 0;
  private replays = 0;
  /** Whether runs are recorded; not any more where the device once had no room for that. */
  private records = false;
  private disposed = false;

  constructor(device: Runtime, program: Program) {
    this.device = device;
    this.program = program;
    this.held = new HeldByProgram(device);
    program.buffers.forEach((b, i) => {
      if (b.role.kind === "input") this.inputs[b.role.index] = i;
      else if (b.role.kind === "output") this.outputs[b.role.index] = i;
    });
    const isSmall = (bytes: number): boolean => bytes > 0 && bytes <= MOST_COPIED;
    const donors = new Set(program.donated);
    this.smallInputs = Array.from(
      { length: program.inputs },
      (_, i) => isSmall(this.bytesOf(this.inputs[i])) && !donors.has(i),
    );
    this.smallOutputs = this.outputs.map(
      (buffer, i) => isSmall(this.bytesOf(buffer)) && program.donated[i] === undefined,
    );
    try {
      this.layout = layOut(device, program, this.held.blocks);
    } catch (error) {
      // Constants may have their memory already.
      this.held.release();
      throw error;
    }
    const { recordable, launches, arenaBytes } = this.layout;
    this.records = recordable && launches > 1 && launches <= MOST_NODES;
    this.held.arena = arenaBytes;
    device.arena.reserve(this.held);
    device.owners.adopt(this, this.held);
  }

  run(inputs: readonly Buffer[]): Buffer[] {
    const { device, layout, program } = this;
    device.assertOpen();
    if (this.disposed) throw new DeviceError("cuda", "executable is used after it was disposed");
    invariant(
      inputs.length === program.inputs,
      `program takes ${program.inputs} inputs, got ${inputs.length}`,
    );
    const addresses = inputs.map((b) => device.own(b).address);
    const nan = debugFlag("nan");
    const debug = nan || debugFlag("kernels");
    const fresh = this.freshOutputs();
    const outputs = fresh.map((block, i) => block?.address ?? addresses[program.donated[i]!]!);
    let arena: Handle;
    let recording: Recording | undefined;
    try {
      arena = this.held.arena === 0 ? 0 : device.arena.address(this.held, this.refusal);
      if (this.records && !debug) recording = this.recordingFor(arena, addresses, outputs);
    } catch (error) {
      for (const block of fresh) if (block) device.pool.free(block);
      throw error;
    }
    // Nothing takes memory from here on, so that no donated input is lost for want of it.
    const results = fresh.map((block, i) => {
      const { bytes } = program.buffers[this.outputs[i]!]!;
      return block ? device.adopt(block, bytes) : device.own(inputs[program.donated[i]!]!).donate(bytes);
    });
    if (recording) this.runRecorded(recording, arena, addresses, outputs);
    else {
      this.bind(arena, addresses, outputs);
      if (debug) this.runWatched(nan);
      else layout.frame.run();
    }
    return results;
  }

  /** The error of a run that gets no memory, where `free` bytes are free. */
  private readonly refusal = (free: number): Error => {
    const { device, program, layout, outputs } = this;
    const arenaBytes = layout.arenaBytes === 0 ? 0 : roundSize(layout.arenaBytes);
    const peak = peakBytes(program, layout.arenaBytes, roundSize);
    // All but the outputs that are still to come and, where it is not taken, the arena.
    let missing = Math.max(0, arenaBytes - device.arena.bytes);
    outputs.forEach((buffer, i) => {
      if (program.donated[i] === undefined && !this.taken[i])
        missing += roundSize(program.buffers[buffer]!.bytes);
    });
    const scratch = layout.steps.flatMap(({ name, scratch: bytes }) => (bytes > 0 ? { name, bytes } : []));
    return doesNotFit("cuda", program, free + peak - missing, { peak, scratch });
  };

  private bind(arena: Handle, inputs: readonly Handle[], outputs: readonly Handle[]): void {
    const { layout } = this;
    layout.bindArena(arena);
    // An input that no step reads may have no buffer.
    inputs.forEach((address, i) => {
      const buffer = this.inputs[i];
      if (buffer !== undefined) layout.frame.bind(buffer, address);
    });
    outputs.forEach((address, i) => layout.frame.bind(this.outputs[i]!, address));
  }

  /**
   * How a run at these addresses is replayed or recorded; undefined where it is launched: the first time that the addresses occur, and where
   * recordings do not pay. Small results, and small arguments that come at a new address each time (batches), have a fixed place of ours in the
   * graph and are copied.
   */
  private recordingFor(
    arena: Handle,
    inputs: readonly Handle[],
    outputs: readonly Handle[],
  ): Recording | undefined {
    const addresses = [arena];
    inputs.forEach((address, i) => {
      if (this.smallInputs[i]) {
        const before = this.lastInputs[i];
        this.lastInputs[i] = address;
        if (before !== undefined && before !== address) this.moving.add(i);
      }
      addresses.push(this.moving.has(i) ? ANYWHERE : address);
    });
    outputs.forEach((address, i) => addresses.push(this.smallOutputs[i] ? ANYWHERE : address));
    if (this.last && addresses.every((address, i) => address === this.last!.addresses[i])) return this.last;
    const key = addresses.join();
    if (!this.held.graphs.has(key) && !this.shouldRecord(key)) {
      if (this.seen.size > 1000) this.seen.clear();
      this.seen.add(key);
      return undefined;
    }
    try {
      this.last = {
        key,
        addresses,
        from: inputs.map((address, i) =>
          this.moving.has(i) ? this.fixedPlace(`input ${i}`, this.bytesOf(this.inputs[i])) : address,
        ),
        to: outputs.map((address, i) =>
          this.smallOutputs[i] ? this.fixedPlace(`output ${i}`, this.bytesOf(this.outputs[i])) : address,
        ),
      };
      return this.last;
    } catch (error) {
      // There is no room for the places.
      if (error instanceof DeviceError) return undefined;
      throw error;
    }
  }

  private bytesOf(buffer: number | undefined): number {
    return this.program.buffers[buffer ?? -1]?.bytes ?? 0;
  }

  private shouldRecord(key: string): boolean {
    const isFull = this.held.graphs.size >= MOST_GRAPHS;
    const pays = this.replays >= REPLAYS_PER_GRAPH * (MOST_GRAPHS + this.replaced);
    return this.seen.has(key) && (!isFull || pays);
  }

  private runRecorded(
    { key, from, to }: Recording,
    arena: Handle,
    inputs: readonly Handle[],
    outputs: readonly Handle[],
  ): void {
    const { device, program, layout } = this;
    const { driver, stream } = device.engine;
    from.forEach((address, i) => {
      if (address !== inputs[i])
        driver.copyOnDevice(address, inputs[i]!, program.buffers[this.inputs[i]!]!.bytes, stream);
    });
    this.replay(key, () => {
      this.bind(arena, from, to);
      layout.frame.run();
    });
    to.forEach((address, i) => {
      if (address !== outputs[i])
        driver.copyOnDevice(outputs[i]!, address, program.buffers[this.outputs[i]!]!.bytes, stream);
    });
  }

  private fixedPlace(name: string, bytes: number): Handle {
    let block = this.places.get(name);
    if (!block) {
      block = this.device.pool.allocate(bytes, `${name} of a recorded program`);
      this.places.set(name, block);
      this.held.blocks.push(block);
    }
    return block.address;
  }

  /** Replays the graph of a key, which is recorded where there is none. */
  private replay(key: string, launch: () => void): void {
    const { device, held } = this;
    const { driver, stream } = device.engine;
    let graph = held.graphs.get(key);
    if (graph === undefined) {
      graph = driver.capture(stream, launch);
      if (graph === undefined) {
        this.records = false;
        launch();
        return;
      }
      if (held.graphs.size >= MOST_GRAPHS) {
        const [oldest, handle] = held.graphs.entries().next().value!;
        // A graph in flight may not go.
        driver.synchronize(stream);
        driver.dropGraph(handle);
        held.graphs.delete(oldest);
        this.replaced++;
      }
    } else {
      this.replays++;
      // The graph that was not used for longest comes first.
      held.graphs.delete(key);
    }
    held.graphs.set(key, graph);
    if (driver.replay(graph, stream)) return;
    this.records = false;
    launch();
  }

  /** Waits after every launch, and names the one that fails, and the step that makes a NaN; prints times. */
  private runWatched(nan: boolean): void {
    const { device, program, layout } = this;
    const { engine } = device;
    const { driver, stream } = engine;
    const profile = debugFlag("kernels") ? new RunProfile() : undefined;
    driver.synchronize(stream);
    engine.watch = (frame, launch, endsStep) => {
      const { step } = launch;
      const isOwn = frame === layout.frame;
      try {
        driver.synchronize(stream);
      } catch (cause) {
        const name = isOwn
          ? `step ${step} (${layout.steps[step]!.name})`
          : `step ${step} (${launch.name}) of a scan's body`;
        throw new DeviceError("cuda", `${name} failed on the device in ${launchedName(launch)}`, {
          got: (cause as Error).message,
          cause,
        });
      }
      if (!isOwn || !endsStep) return;
      profile?.mark(step);
      if (nan) checkFinite(device.transfers, layout, program, step);
    };
    try {
      layout.frame.run();
    } finally {
      engine.watch = undefined;
    }
    if (profile) console.error(profile.report(program, layout.steps));
  }

  /** Memory for the outputs that take over no input's. */
  private freshOutputs(): (Block | undefined)[] {
    const { device, program } = this;
    const fresh: (Block | undefined)[] = this.outputs.map(() => undefined);
    this.taken = fresh;
    try {
      this.outputs.forEach((index, i) => {
        if (program.donated[i] === undefined)
          fresh[i] = device.pool.allocate(
            program.buffers[index]!.bytes,
            `output ${i} of a program`,
            this.refusal,
          );
      });
    } catch (error) {
      for (const block of fresh) if (block) device.pool.free(block);
      throw error;
    }
    return fresh;
  }

  describe(): string {
    const { program, layout } = this;
    const lines = program.steps.map((step, i) => {
      const launches = layout.frame.launches.filter((l) => l.step === i);
      const info = layout.steps[i]!;
      const kernels = launches.map(launchedName).join("+");
      const flops = info.flops > 0 ? `, ${showCount(info.flops)} flop` : "";
      return `${String(i).padStart(3)} ${info.name} ${shapeOf(step)}: ${kernels || "nothing"}, ${showBytes(bytesMoved(step))}${flops}`;
    });
    const total = `arena ${showBytes(layout.arenaBytes)}, ${layout.launches} launches${layout.recordable ? ", recorded as a graph" : ""}`;
    return [...lines, total].join("\n");
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.device.owners.release(this.held);
  }
}
