// The memory plan: temporaries share one arena by lifetime, results may overwrite arguments that die in the same step.

import type { BufferSpec, Step } from "../device.ts";
import { readBy, writtenBy } from "../execution/step-operands.ts";
import { operandKey } from "./loop-builder.ts";
import type { DraftBuffer, DraftStep } from "./draft.ts";

/** Every temporary starts on a cache line. */
const ALIGN = 64;
const align = (n: number): number => Math.ceil(n / ALIGN) * ALIGN;

export interface MemoryPlan {
  readonly buffers: BufferSpec[];
  readonly arenaBytes: number;
  readonly donated: (number | undefined)[];
}

interface Life {
  readonly first: number;
  last: number;
}

/** Whether step `s` may write `output` over `input` while it still reads it. */
function mayOverwrite(step: Step, output: number, input: number): boolean {
  if (step.kind === "loop") {
    const written = step.outputs.filter((o) => o.operand.buffer === output);
    const key = written[0] && operandKey(written[0].operand).split("|").slice(1).join("|");
    const reads = step.args.filter((o) => o.buffer === input);
    // Same place, same width: every element is read before it is written, whatever the vector length.
    return (
      written.length === 1 &&
      reads.length > 0 &&
      reads.every(
        (o) => operandKey(o).split("|").slice(1).join("|") === key && o.dtype === written[0]!.operand.dtype,
      )
    );
  }
  if (step.kind === "fused") {
    const i = step.outputs.findIndex((o) => o.buffer === output);
    const from = step.def.inPlace?.[i];
    if (from === undefined || step.inputs[from]?.buffer !== input) return false;
    return step.inputs.filter((o) => o.buffer === input).length === 1;
  }
  return false;
}

function lifetimes(steps: readonly DraftStep[]): Map<number, Life> {
  const lives = new Map<number, Life>();
  steps.forEach(({ step }, s) => {
    for (const o of [...writtenBy(step), ...readBy(step)]) {
      const life = lives.get(o.buffer);
      if (life) life.last = s;
      else lives.set(o.buffer, { first: s, last: s });
    }
  });
  return lives;
}

export function planMemory(
  steps: readonly DraftStep[],
  drafts: readonly DraftBuffer[],
  outputs: number,
  donate: readonly (number | undefined)[],
): MemoryPlan {
  const lives = lifetimes(steps);
  const donated = planDonation(steps, drafts, outputs, donate);
  const offsets = new Map<number, number>();
  const arena = new Arena();
  const born = new Map<number, number[]>();
  const dies = new Map<number, number[]>();
  drafts.forEach((d, b) => {
    const life = lives.get(b);
    if (d.role.kind !== "temp" || !life) return;
    born.set(life.first, [...(born.get(life.first) ?? []), b]);
    dies.set(life.last, [...(dies.get(life.last) ?? []), b]);
  });
  steps.forEach(({ step }, s) => {
    const dying = new Set(dies.get(s) ?? []);
    // Large ones first: best fit then wastes least.
    for (const b of (born.get(s) ?? []).sort((x, y) => drafts[y]!.bytes - drafts[x]!.bytes)) {
      const over = [...dying].find(
        (d) => offsets.has(d) && drafts[d]!.bytes === drafts[b]!.bytes && d !== b && mayOverwrite(step, b, d),
      );
      if (over !== undefined) {
        offsets.set(b, offsets.get(over)!);
        dying.delete(over);
      } else {
        offsets.set(b, arena.take(align(drafts[b]!.bytes)));
      }
    }
    for (const b of dying) arena.give(offsets.get(b)!, align(drafts[b]!.bytes));
  });
  const buffers = drafts.map((d, b): BufferSpec => ({
    bytes: d.bytes,
    dtype: d.dtype,
    role: d.role.kind === "temp" ? { kind: "temp", offset: offsets.get(b) ?? 0 } : d.role,
  }));
  return { buffers, arenaBytes: arena.size, donated };
}

/** Which outputs can really be written over their donated inputs. */
function planDonation(
  steps: readonly DraftStep[],
  drafts: readonly DraftBuffer[],
  outputs: number,
  donate: readonly (number | undefined)[],
): (number | undefined)[] {
  const inputBuffer = new Map<number, number>();
  const outputBuffer = new Map<number, number>();
  drafts.forEach((d, b) => {
    if (d.role.kind === "input") inputBuffer.set(d.role.index, b);
    if (d.role.kind === "output") outputBuffer.set(d.role.index, b);
  });
  return Array.from({ length: outputs }, (_, o) => {
    const i = donate[o];
    if (i === undefined) return undefined;
    const [from, to] = [inputBuffer.get(i)!, outputBuffer.get(o)!];
    if (drafts[from]!.bytes !== drafts[to]!.bytes) return undefined;
    const writers = steps.flatMap(({ step }, s) => (writtenBy(step).some((w) => w.buffer === to) ? [s] : []));
    if (writers.length !== 1) return undefined;
    const [w] = writers as [number];
    const readers = steps.flatMap(({ step }, s) => (readBy(step).some((r) => r.buffer === from) ? [s] : []));
    if (readers.some((s) => s > w)) return undefined;
    const atOnce = readers.includes(w);
    // The output must not be read by steps that come before it is written (it never is), nor clash in its own step.
    return !atOnce || mayOverwrite(steps[w]!.step, to, from) ? i : undefined;
  });
}

/** First-fit free list that grows at the end. */
class Arena {
  size = 0;
  #free: { at: number; bytes: number }[] = [];

  take(bytes: number): number {
    let best: { at: number; bytes: number } | undefined;
    for (const f of this.#free) if (f.bytes >= bytes && (!best || f.bytes < best.bytes)) best = f;
    if (!best) {
      const tail = this.#free.find((f) => f.at + f.bytes === this.size);
      const at = tail ? tail.at : this.size;
      if (tail) this.#free.splice(this.#free.indexOf(tail), 1);
      this.size = at + bytes;
      return at;
    }
    const { at } = best;
    best.at += bytes;
    best.bytes -= bytes;
    if (best.bytes === 0) this.#free.splice(this.#free.indexOf(best), 1);
    return at;
  }

  give(at: number, bytes: number): void {
    if (bytes === 0) return;
    this.#free.push({ at, bytes });
    this.#free.sort((a, b) => a.at - b.at);
    const joined: { at: number; bytes: number }[] = [];
    for (const f of this.#free) {
      const last = joined[joined.length - 1];
      if (last && last.at + last.bytes === f.at) last.bytes += f.bytes;
      else joined.push({ ...f });
    }
    this.#free = joined;
  }
}
