// Compiling many kernels at once: NVRTC takes 50 to 200 ms for each on one thread, and a program's first run needs dozens.

import { availableParallelism } from "node:os";
import { MessageChannel, receiveMessageOnPort, Worker, type MessagePort } from "node:worker_threads";

export interface CompileRequest {
  readonly job: number;
  readonly source: string;
  readonly entry: string;
  readonly options: readonly string[];
}

export interface CompileAnswer {
  readonly job: number;
  /** Absent where the source does not compile. */
  readonly image?: Uint8Array<ArrayBuffer>;
}

const MOST_THREADS = 16;
/** Milliseconds without an answer after which the threads are given up: before the first, and later. A kernel takes at most a few seconds. */
const FIRST_PATIENCE = 10_000;
const PATIENCE = 30_000;

interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
}

/** Threads that wait for the next kernels. They do not keep the process alive. */
export class CompileThreads {
  private readonly library: string;
  private readonly answers = new Int32Array(new SharedArrayBuffer(4));
  private readonly threads: Thread[] = [];
  private broken = false;

  /** @param library what NVRTC is opened by */
  constructor(library: string) {
    this.library = library;
  }

  /**
   * Compiles all sources, waiting in place. Where an image is missing, compiling it alone says why.
   * @param most threads at most. Default: one a core, 16
   */
  compile(
    jobs: readonly { readonly source: string; readonly entry: string }[],
    options: readonly string[],
    most: number = Math.min(MOST_THREADS, availableParallelism()),
  ): (Uint8Array | undefined)[] {
    const images: (Uint8Array | undefined)[] = jobs.map(() => undefined);
    if (this.broken) return images;
    const crew = Math.min(most, jobs.length);
    while (this.threads.length < crew) this.threads.push(this.start());
    // Long sources first, so that no thread ends with one.
    const order = jobs.map((_, i) => i).sort((a, b) => jobs[b]!.source.length - jobs[a]!.source.length);
    let asked = 0;
    const ask = ({ port }: Thread): void => {
      if (asked === order.length) return;
      const job = order[asked++]!;
      const request: CompileRequest = { job, ...jobs[job]!, options };
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port has no origin
      port.postMessage(request);
    };
    let seen = Atomics.load(this.answers, 0);
    for (const thread of this.threads) ask(thread);
    for (let missing = jobs.length; missing > 0;) {
      const patience = seen === 0 ? FIRST_PATIENCE : PATIENCE;
      if (Atomics.wait(this.answers, 0, seen, patience) === "timed-out") {
        this.giveUp();
        break;
      }
      seen = Atomics.load(this.answers, 0);
      for (const thread of this.threads) {
        const answer = receiveMessageOnPort(thread.port)?.message as CompileAnswer | undefined;
        if (!answer) continue;
        images[answer.job] = answer.image;
        missing--;
        ask(thread);
      }
    }
    return images;
  }

  private start(): Thread {
    const { port1, port2 } = new MessageChannel();
    const own = import.meta.url;
    const worker = new Worker(
      new URL(own.endsWith(".ts") ? "./compile-worker.ts" : "./compile-worker.js", own),
      {
        // Not those of the process: the flags of `node -e` keep a thread from starting.
        execArgv: [],
        workerData: { library: this.library, port: port2, answers: this.answers },
        transferList: [port2],
      },
    );
    worker.on("error", () => this.giveUp());
    worker.unref();
    port1.unref();
    return { worker, port: port1 };
  }

  private giveUp(): void {
    this.broken = true;
    this.dispose();
  }

  /** Ends the threads. */
  dispose(): void {
    for (const { worker, port } of this.threads.splice(0)) {
      port.close();
      void worker.terminate();
    }
  }
}
