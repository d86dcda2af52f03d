// A worker thread: waits for jobs in shared memory, takes chunks of them, and goes back to its event loop only for new modules.

import {
  ACTIVE_MASK,
  FAILED,
  JOB_ARGS,
  JOB_FUNCTION,
  JOB_GRAIN,
  JOB_SCRATCH,
  JOB_SCRATCH_STRIDE,
  JOB_UNITS,
  MAIL,
  MAIN_SLEEPS,
  NEXT,
  SEQUENCE_STEP,
  SLEEPERS,
  STATE,
  type KernelEntry,
  type WorkerMessage,
} from "./control-block.ts";

const entries: KernelEntry[] = [];
let words: Int32Array | undefined;
let memory: WebAssembly.Memory | undefined;
let index = 0;
let spins = 0;
let mailSeen = 0;

function receive(message: WorkerMessage): void {
  if (message.kind === "start") {
    memory = message.memory;
    words = new Int32Array(memory.buffer);
    index = message.index;
    spins = message.spins;
  } else {
    const instance = new WebAssembly.Instance(message.module, { env: { memory: memory! } });
    message.entries.forEach(
      (name, i) => (entries[message.first + i] = instance.exports[name] as KernelEntry),
    );
    mailSeen = message.mail;
  }
  // Blocks this thread until the next mail; every message that has come must be taken before.
  if (words && mailSeen === Atomics.load(words, MAIL)) serve(words);
}

/** Works on jobs until there is mail. */
function serve(control: Int32Array): void {
  let idle = 0;
  let skipped = -1;
  while (Atomics.load(control, MAIL) === mailSeen) {
    const state = Atomics.load(control, STATE);
    const open = (state & SEQUENCE_STEP) !== 0;
    const sequence = state & ~ACTIVE_MASK;
    if (open && sequence !== skipped) {
      if (join(control, state)) skipped = sequence;
      idle = 0;
    } else if (idle < spins) {
      idle++;
    } else {
      Atomics.add(control, SLEEPERS, 1);
      // Mail rings at the same word, by a change of state or by a wake-up of its own; the limit covers a lost one.
      if (Atomics.load(control, MAIL) === mailSeen) Atomics.wait(control, STATE, state, 1000);
      Atomics.sub(control, SLEEPERS, 1);
      idle = 0;
    }
  }
}

/** Takes part in the open job; false when it closed or changed meanwhile. */
function join(control: Int32Array, state: number): boolean {
  if (Atomics.compareExchange(control, STATE, state, state + 1) !== state) return false;
  const entry = entries[control[JOB_FUNCTION]!];
  if (entry) {
    const args = control[JOB_ARGS]!;
    const units = control[JOB_UNITS]!;
    const grain = control[JOB_GRAIN]!;
    const scratch = (control[JOB_SCRATCH]! + index * control[JOB_SCRATCH_STRIDE]!) | 0;
    try {
      for (;;) {
        const begin = Atomics.add(control, NEXT, grain);
        if (begin >= units) break;
        entry(args, begin, Math.min(begin + grain, units), scratch);
      }
    } catch {
      Atomics.store(control, FAILED, 1);
    }
  }
  Atomics.sub(control, STATE, 1);
  if (Atomics.load(control, MAIN_SLEEPS) !== 0) Atomics.notify(control, STATE);
  return true;
}

interface Port {
  on(event: "message", listener: (message: WorkerMessage) => void): void;
}

const node = (
  globalThis as { process?: { getBuiltinModule?: (name: string) => { parentPort: Port | null } } }
).process;
const port = node?.getBuiltinModule?.("node:worker_threads").parentPort;
if (port) port.on("message", receive);
else globalThis.addEventListener("message", (event: MessageEvent<WorkerMessage>) => receive(event.data));
