// Compiled kernels by key. A kernel is a module of its own; its exports are functions with ids that all threads agree on.

import { ModuleBuilder } from "@everlong/wasm";
import type { KernelEntry } from "./control-block.ts";
import type { WasmStep, WasmTarget } from "./kernel-step.ts";
import type { SharedMemory } from "./memory.ts";
import type { ThreadPool } from "./threads.ts";

/** A callable kernel entry and its id in the threads' function tables. */
export interface KernelFunction {
  readonly id: number;
  readonly entry: KernelEntry;
}

/** Builds kernels at first use and keeps them for the life of the device. */
export class KernelCache {
  target: WasmTarget;
  /** Kernels built so far. */
  built = 0;
  private readonly memory: SharedMemory;
  private readonly pool: ThreadPool;
  private readonly kernels = new Map<string, ReadonlyMap<string, KernelFunction>>();
  private nextId = 0;

  constructor(memory: SharedMemory, pool: ThreadPool, target: WasmTarget) {
    this.memory = memory;
    this.pool = pool;
    this.target = target;
  }

  get(kernel: WasmStep["kernel"], entry: string): KernelFunction {
    const key = `${this.target.width}${this.target.relaxed ? "r" : ""} ${kernel.key}`;
    let functions = this.kernels.get(key);
    if (!functions) {
      functions = this.build(kernel);
      this.kernels.set(key, functions);
    }
    const found = functions.get(entry);
    if (!found) throw new Error(`[cpu] kernel "${kernel.key}" has no entry "${entry}"`);
    return found;
  }

  private build(kernel: WasmStep["kernel"]): ReadonlyMap<string, KernelFunction> {
    const builder = new ModuleBuilder(this.target);
    kernel.build(builder);
    const module = new WebAssembly.Module(builder.bytes());
    const instance = new WebAssembly.Instance(module, { env: { memory: this.memory.wasm } });
    const names = WebAssembly.Module.exports(module).map((e) => e.name);
    const first = this.nextId;
    this.nextId += names.length;
    this.pool.addModule(module, names, first);
    this.built++;
    return new Map(
      names.map((name, i) => [name, { id: first + i, entry: instance.exports[name] as KernelEntry }]),
    );
  }
}
