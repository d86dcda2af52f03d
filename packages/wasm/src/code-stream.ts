// The instruction stream of one function, with virtual locals, and its translation to bytes. Virtual locals are many (each op
// result is one); a linear scan maps them to few real ones. At the ends of loops and branches every v128 local that is dead is
// overwritten by a never-assigned zero local: this costs no machine code, but without it dead values become loop phis, which V8's
// revectorizer counts as uses of a high half.

import { pushUnsigned } from "./encoding.ts";
import { TYPE_CODE, type ValueType } from "./values.ts";

const GET = 0;
const SET = 1;
const TEE = 2;
const DECLARE = 3;
const OPEN = 4;
const CLOSE = 5;
const CLEAR = 6;

// Marks live in the byte stream as negative numbers.
const mark = (kind: number, id: number): number => -(id * 8 + kind) - 1;

interface Interval {
  readonly id: number;
  readonly type: ValueType;
  readonly start: number;
  end: number;
}

interface Span {
  readonly loop: boolean;
  readonly parent: number;
  begin: number;
  end: number;
}

/** Records bytes, uses of virtual locals and scopes; `assemble` turns them into a function body. */
export class CodeStream {
  private readonly prologue: number[] = [];
  private readonly body: number[] = [];
  private readonly types: ValueType[] = [];
  private readonly parameters: number;
  private readonly scopes: { readonly loop: boolean; readonly parent: number }[] = [
    { loop: false, parent: -1 },
  ];
  private scope = 0;

  constructor(parameters: readonly ValueType[]) {
    this.types.push(...parameters);
    this.parameters = parameters.length;
  }

  /** A new virtual local. */
  newLocal(type: ValueType): number {
    this.types.push(type);
    return this.types.length - 1;
  }

  byte(...bytes: number[]): void {
    for (const b of bytes) this.body.push(b);
  }

  unsigned(value: number): void {
    pushUnsigned(this.body, value);
  }

  get(id: number): void {
    this.body.push(mark(GET, id));
  }

  set(id: number): void {
    this.body.push(mark(SET, id));
  }

  tee(id: number): void {
    this.body.push(mark(TEE, id));
  }

  /** Gives `id` the extent of the scope that is open now: it keeps its value until that scope ends. */
  declare(id: number): void {
    this.body.push(mark(DECLARE, id));
  }

  /** A local set once before the body by the instructions `bytes`. */
  hoisted(type: ValueType, bytes: readonly number[]): number {
    const id = this.newLocal(type);
    this.prologue.push(...bytes, mark(SET, id));
    return id;
  }

  /** Opens a scope; `clearable` scopes (loops, branches) start with dead v128 locals cleared. */
  open(loop: boolean): number {
    const id = this.scopes.push({ loop, parent: this.scope }) - 1;
    this.scope = id;
    this.body.push(mark(OPEN, id), mark(CLEAR, id));
    return id;
  }

  /** Clears what `scope` assigned and nobody reads any more. */
  clear(scope: number): void {
    this.body.push(mark(CLEAR, scope));
  }

  close(id: number): void {
    if (this.scope !== id) throw new Error("[wasm] scopes must be closed in the order of nesting");
    this.body.push(mark(CLOSE, id));
    this.scope = this.scopes[id]!.parent;
  }

  /** The function body: local declarations, code and the final `end`. */
  assemble(): Uint8Array {
    const code = [...this.prologue, ...this.body];
    const spans: Span[] = this.scopes.map((s) => ({ ...s, begin: 0, end: code.length }));
    const intervals = this.liveIntervals(code, spans);
    const { slots, locals } = this.assignSlots(intervals);
    const zero = this.parameters + locals.length;
    const clears = clearPlan(code, spans, intervals, slots);

    const out: number[] = [];
    const groups = [...locals, "v128" as const];
    pushUnsigned(out, groups.length);
    for (const type of groups) out.push(1, TYPE_CODE[type]);
    code.forEach((x, position) => {
      if (x >= 0) {
        out.push(x);
        return;
      }
      const kind = (-x - 1) % 8;
      const id = Math.floor((-x - 1) / 8);
      if (kind === GET || kind === SET || kind === TEE) {
        out.push(kind === GET ? 0x20 : kind === SET ? 0x21 : 0x22);
        pushUnsigned(out, id < this.parameters ? id : slots.get(id)!);
      } else if (kind === CLEAR) {
        for (const slot of clears.get(position) ?? []) {
          out.push(0x20);
          pushUnsigned(out, zero);
          out.push(0x21);
          pushUnsigned(out, slot);
        }
      }
    });
    out.push(0x0b);
    return Uint8Array.from(out);
  }

  private liveIntervals(code: readonly number[], spans: Span[]): Map<number, Interval> {
    const intervals = new Map<number, Interval>();
    const home = new Map<number, number>();
    const extend: { readonly interval: Interval; readonly loop: number }[] = [];
    const declared: { readonly interval: Interval; readonly scope: number }[] = [];
    let scope = 0;
    const touch = (id: number, position: number): void => {
      if (id < this.parameters) return;
      let interval = intervals.get(id);
      if (!interval) {
        interval = { id, type: this.types[id]!, start: position, end: position };
        intervals.set(id, interval);
        home.set(id, scope);
        return;
      }
      interval.end = Math.max(interval.end, position);
      // A value from outside a loop must survive to the loop's end, since the next round reads it again.
      let outermost = -1;
      for (let s = scope; s !== home.get(id) && s > 0; s = spans[s]!.parent)
        if (spans[s]!.loop) outermost = s;
      if (outermost >= 0) extend.push({ interval, loop: outermost });
    };
    code.forEach((x, position) => {
      if (x >= 0) return;
      const kind = (-x - 1) % 8;
      const id = Math.floor((-x - 1) / 8);
      if (kind === OPEN) {
        scope = id;
        spans[id]!.begin = position;
      } else if (kind === CLOSE) {
        spans[id]!.end = position;
        scope = spans[id]!.parent;
      } else if (kind === DECLARE) {
        touch(id, position);
        declared.push({ interval: intervals.get(id)!, scope });
      } else if (kind !== CLEAR) touch(id, position);
    });
    for (const { interval, loop } of extend) interval.end = Math.max(interval.end, spans[loop]!.end);
    // One short of the closing mark, so that the clearing before it still covers the variable.
    for (const { interval, scope } of declared)
      interval.end = Math.max(interval.end, lastClear(code, spans[scope]!));
    return intervals;
  }

  private assignSlots(intervals: Map<number, Interval>): { slots: Map<number, number>; locals: ValueType[] } {
    const slots = new Map<number, number>();
    const locals: ValueType[] = [];
    const busy: { end: number; type: ValueType; slot: number }[] = [];
    const free = new Map<ValueType, number[]>();
    for (const interval of [...intervals.values()].sort((a, b) => a.start - b.start)) {
      for (let i = busy.length - 1; i >= 0; i--) {
        const entry = busy[i]!;
        if (entry.end >= interval.start) continue;
        if (!free.has(entry.type)) free.set(entry.type, []);
        free.get(entry.type)!.push(entry.slot);
        busy.splice(i, 1);
      }
      const pool = free.get(interval.type);
      const slot = pool && pool.length > 0 ? pool.pop()! : this.parameters + locals.push(interval.type) - 1;
      slots.set(interval.id, slot);
      busy.push({ end: interval.end, type: interval.type, slot });
    }
    return { slots, locals };
  }
}

// Position of the last clearing that belongs to a scope; the code's end for the function itself.
function lastClear(code: readonly number[], span: Span): number {
  for (let p = span.end - 1; p > span.begin; p--) if (code[p]! < 0 && (-code[p]! - 1) % 8 === CLEAR) return p;
  return span.end;
}

// For every clearing mark, the v128 slots that its scope assigns and that hold nothing alive there.
function clearPlan(
  code: readonly number[],
  spans: readonly Span[],
  intervals: Map<number, Interval>,
  slots: Map<number, number>,
): Map<number, number[]> {
  const vectors = [...intervals.values()].filter((i) => i.type === "v128");
  const sets = new Map<number, number[]>();
  code.forEach((x, position) => {
    if (x >= 0) return;
    const kind = (-x - 1) % 8;
    const slot = slots.get(Math.floor((-x - 1) / 8));
    if ((kind !== SET && kind !== TEE) || slot === undefined) return;
    if (!sets.has(slot)) sets.set(slot, []);
    sets.get(slot)!.push(position);
  });
  const bySlot = new Map<number, Interval[]>();
  for (const interval of vectors) {
    const slot = slots.get(interval.id)!;
    if (!bySlot.has(slot)) bySlot.set(slot, []);
    bySlot.get(slot)!.push(interval);
  }
  const plan = new Map<number, number[]>();
  code.forEach((x, position) => {
    if (x >= 0 || (-x - 1) % 8 !== CLEAR) return;
    const span = spans[Math.floor((-x - 1) / 8)]!;
    const dead: number[] = [];
    for (const [slot, ranges] of bySlot) {
      const assigned = sets.get(slot)!;
      if (!assigned.some((p) => p > span.begin && p < span.end)) continue;
      if (assigned[0]! > position) continue;
      if (ranges.some((r) => r.start < position && r.end > position)) continue;
      dead.push(slot);
    }
    plan.set(position, dead);
  });
  return plan;
}
