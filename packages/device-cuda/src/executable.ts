// A loaded program: its frame (and those of scan bodies), its constants, its recorded graphs, and its runs.

import {
  debugFlag,
  bytesMoved,
  DeviceError,
  doesNotFit,
  invariant,
  RunProfile,
  shapeOf,
  showBytes,
  showCount,
  type Buffer,
  type Executable,
  type Program,
} from "@everlong/core";
import type { CudaBuffer } from "./buffer.ts";
import type { Handle } from "./driver.ts";
import { layOut } from "./layout.ts";
import type { Block } from "./memory-pool.ts";
import { checkFinite } from "./nan-check.ts";
import type { Layout, Runtime } from "./runtime.ts";

/** What an executable holds on the device; shared with the finaliser. */
interface Held {
  readonly blocks: Block[];
  readonly graphs: Map<string, Handle>;
  arena: number;
}

/** Recorded graphs kept per program: inputs and outputs come back at few different addresses. */
const MOST_GRAPHS = 16;
/** Replays that pay for a recording. Programs that meet ever other addresses are launched instead. */
const REPLAYS_PER_GRAPH = 8;
/** Bytes of an argument or result that is rather copied than recorded again. */
const MOST_COPIED = 4 * 1024 * 1024;
/** Launches above which recording costs more than it can save. */
const MOST_NODES = 20_000;

const forgotten = new FinalizationRegistry<{ readonly device: Runtime; readonly held: Held }>(
  ({ device, held }) => {
    try {
      release(device, held);
    } catch {
      // After a failure of the device every call fails. Nobody waits for this one; the next that somebody makes tells.
    }
  },
);

function release(device: Runtime, held: Held): void {
  for (const block of held.blocks.splice(0)) device.pool.free(block);
  // A graph in flight may not go.
  if (held.graphs.size > 0) device.engine.driver.synchronize(device.engine.stream);
  for (const graph of held.graphs.values()) device.engine.driver.dropGraph(graph);
  held.graphs.clear();
  device.arena.release(held);
}

/** An executable of the CUDA device. Runs launch and return. */
export class CudaExecutable implements Executable {
  private readonly device: Runtime;
  private readonly program: Program;
  private readonly layout: Layout;
  private readonly held: Held = { blocks: [], graphs: new Map(), arena: 0 };
  private readonly inputs: number[] = [];
  private readonly outputs: number[] = [];
  private readonly seen = new Set<string>();
  private readonly lastInputs: (Handle | undefined)[] = [];
  /** Inputs whose address changes from run to run. */
  private readonly moving = new Set<number>();
  private readonly places = new Map<string, Block>();
  /** Graphs that took the place of others, and replays of graphs that were there. */
  private replaced = 0;
  private replays = 0;
  private disposed = false;

  constructor(device: Runtime, program: Program) {
    this.device = device;
    this.program = program;
    program.buffers.forEach((b, i) => {
      if (b.role.kind === "input") this.inputs[b.role.index] = i;
      else if (b.role.kind === "output") this.outputs[b.role.index] = i;
    });
    try {
      this.layout = layOut(device, program, this.held.blocks);
    } catch (error) {
      // Constants may have their memory already.
      release(device, this.held);
      throw error;
    }
    this.held.arena = this.layout.arenaBytes;
    device.arena.reserve(this.held);
    forgotten.register(this, { device, held: this.held }, this);
  }

  run(inputs: readonly Buffer[]): Buffer[] {
    const { device, program, layout } = this;
    if (this.disposed) throw new DeviceError("cuda", "executable is used after it was disposed");
    invariant(
      inputs.length === program.inputs,
      `program takes ${program.inputs} inputs, got ${inputs.length}`,
    );
    const arena =
      this.held.arena === 0 ? 0 : device.arena.address((free) => doesNotFit("cuda", program, free));
    const addresses = inputs.map((b) => device.own(b).address);
    const { results, places } = this.takeOutputs(inputs);
    const nan = debugFlag("nan");
    const debug = nan || debugFlag("kernels");
    if (!debug && layout.recordable && layout.launches > 1 && layout.launches <= MOST_NODES) {
      this.runRecorded(arena, addresses, places);
      return results;
    }
    this.bind(arena, addresses, places);
    if (!debug) layout.frame.run();
    else this.runWatched(nan);
    return results;
  }

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
   * Launches directly the first time that the addresses occur, records the second time, replays from then on, as long as recordings pay. Small
   * results, and small arguments that come at a new address each time (batches), have a fixed place of ours in the graph and are copied.
   */
  private runRecorded(arena: Handle, inputs: readonly Handle[], outputs: readonly Handle[]): void {
    const { device, program, layout } = this;
    const { driver, stream } = device.engine;
    const from = inputs.map((address, i) => {
      const bytes = program.buffers[this.inputs[i] ?? -1]?.bytes ?? 0;
      if (bytes === 0 || bytes > MOST_COPIED || program.donated.includes(i)) return address;
      const before = this.lastInputs[i];
      this.lastInputs[i] = address;
      if (before !== undefined && before !== address) this.moving.add(i);
      return this.moving.has(i) ? this.fixedPlace(`input ${i}`, bytes) : address;
    });
    const to = outputs.map((address, i) => {
      const { bytes } = program.buffers[this.outputs[i]!]!;
      const copied = bytes > 0 && bytes <= MOST_COPIED && program.donated[i] === undefined;
      return copied ? this.fixedPlace(`output ${i}`, bytes) : address;
    });
    from.forEach((address, i) => {
      if (address !== inputs[i])
        driver.copyOnDevice(address, inputs[i]!, program.buffers[this.inputs[i]!]!.bytes, stream);
    });
    this.launchOrReplay([arena, ...from, ...to].join(), () => {
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

  private launchOrReplay(key: string, launch: () => void): void {
    const { device, held } = this;
    const { driver, stream } = device.engine;
    let graph = held.graphs.get(key);
    if (graph === undefined) {
      const isFull = held.graphs.size >= MOST_GRAPHS;
      if (
        !this.seen.has(key) ||
        (isFull && this.replays < REPLAYS_PER_GRAPH * (MOST_GRAPHS + this.replaced))
      ) {
        if (this.seen.size > 1000) this.seen.clear();
        this.seen.add(key);
        launch();
        return;
      }
      graph = driver.capture(stream, launch);
      if (isFull) {
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
    driver.replay(graph, stream);
  }

  /** Waits after every step: names the one that fails or makes a NaN, and prints times. */
  private runWatched(nan: boolean): void {
    const { device, program, layout } = this;
    const { driver, stream } = device.engine;
    const profile = debugFlag("kernels") ? new RunProfile() : undefined;
    driver.synchronize(stream);
    layout.frame.run((step) => {
      try {
        driver.synchronize(stream);
      } catch (cause) {
        throw new DeviceError("cuda", `step ${step} (${layout.steps[step]!.name}) failed on the device`, {
          got: (cause as Error).message,
          cause,
        });
      }
      profile?.mark(step);
      if (nan) checkFinite(device.transfers, layout, program, step);
    });
    if (profile) console.error(profile.report(program, layout.steps));
  }

  /** Binds the outputs to fresh memory, or to that of their donors, which happens last: nothing can fail after it. */
  private takeOutputs(inputs: readonly Buffer[]): { results: CudaBuffer[]; places: Handle[] } {
    const { device, program } = this;
    const fresh: Block[] = [];
    const sizes = this.outputs.map((index) => program.buffers[index]!.bytes);
    try {
      sizes.forEach((bytes, i) => {
        if (program.donated[i] === undefined)
          fresh[i] = device.pool.allocate(bytes, `output ${i} of a program`, (free) =>
            doesNotFit("cuda", program, free),
          );
      });
    } catch (error) {
      for (const block of fresh) if (block) device.pool.free(block);
      throw error;
    }
    const places: Handle[] = [];
    const results = sizes.map((bytes, i) => {
      const block = fresh[i] ?? device.own(inputs[program.donated[i]!]!).donate();
      places[i] = block.address;
      return device.adopt(block, bytes);
    });
    return { results, places };
  }

  describe(): string {
    const { program, layout } = this;
    const lines = program.steps.map((step, i) => {
      const launches = layout.frame.launches.filter((l) => l.step === i);
      const info = layout.steps[i]!;
      const kernels = launches
        .map((l) => (l.kind === "kernel" ? l.kernel.name : l.kind === "product" ? "cublas" : "host"))
        .join("+");
      const flops = info.flops > 0 ? `, ${showCount(info.flops)} flop` : "";
      return `${String(i).padStart(3)} ${info.name} ${shapeOf(step)}: ${kernels || "nothing"}, ${showBytes(bytesMoved(step))}${flops}`;
    });
    const total = `arena ${showBytes(layout.arenaBytes)}, ${layout.launches} launches${layout.recordable ? ", recorded as a graph" : ""}`;
    return [...lines, total].join("\n");
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    forgotten.unregister(this);
    release(this.device, this.held);
  }
}
