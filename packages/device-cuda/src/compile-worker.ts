// A thread that compiles kernels. It answers on its port and counts on shared memory, since who asks waits without an event loop.

import { createRequire } from "node:module";
import { workerData } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";
import type { CompileAnswer, CompileRequest } from "./compile-threads.ts";
import { compileSource, openNvrtc, type NvrtcFunctions } from "./nvrtc-compile.ts";

const { library, port, answers } = workerData as {
  readonly library: string;
  readonly port: MessagePort;
  readonly answers: Int32Array;
};
let nvrtc: NvrtcFunctions | undefined;

function compile({ source, entry, options }: CompileRequest): Uint8Array<ArrayBuffer> | undefined {
  try {
    nvrtc ??= openNvrtc(createRequire(import.meta.url)("koffi"), library);
    const image = compileSource(nvrtc, source, entry, options);
    return image instanceof Uint8Array ? image : undefined;
  } catch {
    // Who asked compiles it then, and tells what is wrong.
    return undefined;
  }
}

port.on("message", (request: CompileRequest) => {
  const image = compile(request);
  const answer: CompileAnswer = { job: request.job, ...(image && { image }) };
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port has no origin
  port.postMessage(answer);
  Atomics.add(answers, 0, 1);
  Atomics.notify(answers, 0);
});
