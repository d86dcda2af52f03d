// Streams and events of a driver that runs nothing and knows what is surely over when, for tests.

import type { Handle } from "./driver.ts";

/** Work is known by its number, in the order in which it was given. */
export class RecordedStreams {
  /** Of each piece of work, what is over when it starts. */
  readonly behind: ReadonlySet<number>[] = [];
  /** The streams that work went to. */
  readonly streamOf: Handle[] = [];
  private next = 100;
  private readonly streams = new Map<Handle, Set<number>>();
  private readonly events = new Map<Handle, ReadonlySet<number>>();

  createStream(): Handle {
    const made = this.next++;
    this.streams.set(made, new Set());
    return made;
  }

  createEvent(): Handle {
    return this.next++;
  }

  record(event: Handle, stream: Handle): void {
    this.events.set(event, new Set(this.on(stream)));
  }

  /** As the driver, an event that was never recorded stands for nothing. */
  waitOn(stream: Handle, event: Handle): void {
    for (const i of this.events.get(event) ?? []) this.on(stream).add(i);
  }

  /** Work that is given to a stream; its number. */
  work(stream: Handle): number {
    const known = this.on(stream);
    const number = this.behind.push(new Set(known)) - 1;
    this.streamOf.push(stream);
    known.add(number);
    return number;
  }

  private on(stream: Handle): Set<number> {
    const known = this.streams.get(stream);
    if (!known) throw new Error(`there is no stream ${stream}`);
    return known;
  }
}
