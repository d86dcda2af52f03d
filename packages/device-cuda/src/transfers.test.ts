import { afterEach, expect, test, vi } from "vitest";
import type { Driver, Handle } from "./driver.ts";
import { Transfers } from "./transfers.ts";

const MIB = 2 ** 20;
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Page-locked memory that is counted; copies from the device write its address. */
class HostDriver {
  readonly held = new Map<Handle, Uint8Array>();
  peak = 0;
  fails = false;
  readonly copied: (readonly [Handle, number])[] = [];
  private next = 1;

  allocateHost(bytes: number): { address: Handle; bytes: Uint8Array } {
    const memory = { address: this.next++, bytes: new Uint8Array(bytes) };
    this.held.set(memory.address, memory.bytes);
    this.peak = Math.max(this.peak, this.total);
    return memory;
  }

  freeHost(address: Handle): void {
    if (!this.held.delete(address)) throw new Error("freed twice");
  }

  get total(): number {
    return [...this.held.values()].reduce((sum, bytes) => sum + bytes.length, 0);
  }

  copyToHost(to: Handle, from: Handle, bytes: number): void {
    this.copied.push([from, bytes]);
    this.held.get(to)!.fill(from, 0, bytes);
  }

  synchronize(): void {}

  createEvent(): Handle {
    return 7;
  }

  record(): void {}

  isDone(): boolean {
    if (this.fails) throw new Error("the device failed");
    return true;
  }
}

function made(): { driver: HostDriver; transfers: Transfers } {
  const driver = new HostDriver();
  return { driver, transfers: new Transfers(driver as unknown as Driver, 0) };
}

test("downloads of any size arrive, and large ones leave no page-locked memory behind", async () => {
  const { driver, transfers } = made();
  for (const bytes of [1, 4097, 3 * MIB, 65 * MIB, 100 * MIB, 5]) {
    const into = new Uint8Array(bytes);
    await transfers.download(9, into);
    expect([into[0], into.at(-1)]).toEqual([9, 9]);
    expect(driver.total).toBeLessThanOrEqual(5 * MIB);
  }
  // Not the next power of two.
  expect(driver.peak).toBeLessThan(105 * MIB);
});

test("very large downloads come in pieces", async () => {
  const { driver, transfers } = made();
  const into = new Uint8Array(257 * MIB + 3);
  await transfers.download(2 ** 40 + 5, into);
  expect(driver.copied).toEqual([
    ...[0, 1, 2, 3].map((i) => [2 ** 40 + 5 + 64 * MIB * i, 64 * MIB]),
    [2 ** 40 + 5 + 256 * MIB, MIB + 3],
  ]);
  expect([into[0], into.at(-1)]).toEqual([5, 5]);
  expect(driver.peak).toBeLessThan(70 * MIB);
});

test("many downloads at once take little page-locked memory", async () => {
  const { driver, transfers } = made();
  const intos = Array.from({ length: 8 }, () => new Uint8Array(129 * MIB));
  await Promise.all(intos.map((into, i) => transfers.download(i + 1, into)));
  expect(intos.map((into) => into[0])).toEqual(intos.map((_, i) => i + 1));
  expect(driver.peak).toBeLessThan(500 * MIB);
});

test("places of small downloads are used again, and few are kept", async () => {
  const { driver, transfers } = made();
  await transfers.download(1, new Uint8Array(5000));
  const [first] = driver.held.keys();
  await transfers.download(1, new Uint8Array(7000));
  expect([...driver.held.keys()]).toEqual([first]);
  await Promise.all(Array.from({ length: 9 }, () => transfers.download(2, new Uint8Array(5000))));
  expect(driver.held.size).toBe(4);
});

test("a download that fails gives its place back", async () => {
  const { driver, transfers } = made();
  driver.fails = true;
  await expect(transfers.download(1, new Uint8Array(65 * MIB))).rejects.toThrow("the device failed");
  expect(driver.total).toBe(0);
});

/** A device whose work is put off until somebody waits for it, or asks often enough whether it is over. */
class SlowDriver {
  readonly memory = new Uint8Array(32 * MIB);
  readonly held = new Map<Handle, Uint8Array>();
  /** Polls that find nothing done. */
  polls = 0;
  polled = 0;
  private readonly queue: (() => void)[] = [];
  private readonly marks = new Map<Handle, number>();
  private done = 0;
  private next = 1;

  allocateHost(bytes: number): { address: Handle; bytes: Uint8Array } {
    const memory = { address: this.next++, bytes: new Uint8Array(bytes) };
    this.held.set(memory.address, memory.bytes);
    return memory;
  }

  freeHost(address: Handle): void {
    this.held.delete(address);
  }

  createEvent(): Handle {
    return this.next++;
  }

  dropEvent(): void {}

  record(event: Handle): void {
    this.marks.set(event, this.queue.length);
  }

  copyToDevice(to: Handle, from: Handle, bytes: number): void {
    this.queue.push(() => this.memory.set(this.held.get(from)!.subarray(0, bytes), to));
  }

  copyToHost(to: Handle, from: Handle, bytes: number): void {
    this.queue.push(() => this.held.get(to)!.set(this.memory.subarray(from, from + bytes)));
  }

  waitFor(event: Handle): void {
    while (this.done < (this.marks.get(event) ?? 0)) this.queue[this.done++]!();
  }

  synchronize(): void {
    while (this.done < this.queue.length) this.queue[this.done++]!();
  }

  isDone(event: Handle): boolean {
    if (++this.polled > 100_000) throw new Error("the event loop stands still");
    if (this.polls-- > 0) return false;
    this.waitFor(event);
    return true;
  }
}

function slow(): { driver: SlowDriver; transfers: Transfers } {
  const driver = new SlowDriver();
  return { driver, transfers: new Transfers(driver as unknown as Driver, 0) };
}

/** Bytes that differ from chunk to chunk. */
function bytesOf(count: number, seed: number): Uint8Array {
  const out = new Uint8Array(count);
  for (let i = 0; i < count; i++) out[i] = Math.imul(i + seed, 2654435761) >>> 24;
  return out;
}
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

test("uploads are what they were when they were asked for, whenever the device takes them", () => {
  const { driver, transfers } = slow();
  // Whole chunks and rests, one behind the other, each more than the staging holds.
  const sizes = [1, 9 * MIB + 5, 4 * MIB, 300, 12 * MIB];
  const expected: Uint8Array[] = [];
  let at = 0;
  for (const [seed, size] of sizes.entries()) {
    const data = bytesOf(size, seed);
    expected.push(data.slice());
    transfers.upload(at, data);
    data.fill(0);
    at += size;
  }
  driver.synchronize();
  expect(same(driver.memory.subarray(0, at), Buffer.concat(expected))).toBe(true);
});

test("downloads are what the device held when they were asked for, and wait for it", async () => {
  const { driver, transfers } = slow();
  const [first, second] = [bytesOf(5000, 1), bytesOf(5000, 2)];
  transfers.upload(0, first);
  driver.polls = 3;
  const into = Array.from({ length: 4 }, () => new Uint8Array(5000));
  const before = transfers.download(0, into[0]!);
  const beside = transfers.download(0, into[1]!);
  transfers.upload(0, second);
  const behind = transfers.download(0, into[2]!);
  transfers.downloadNow(0, into[3]!);
  expect(same(into[3]!, second)).toBe(true);
  await Promise.all([before, beside, behind]);
  expect(into.slice(0, 3).map((found) => [same(found, first), same(found, second)])).toEqual([
    [true, false],
    [true, false],
    [false, true],
  ]);
});

test("the event loop goes on while the device is waited for", async () => {
  const { driver, transfers } = slow();
  driver.polls = Infinity;
  const turns: string[] = [];
  const over = transfers.settled().then(() => turns.push("over"));
  setImmediate(() => turns.push("immediate"));
  setTimeout(() => {
    turns.push("timer");
    driver.polls = 0;
  }, 5);
  await over;
  expect(turns).toEqual(["immediate", "timer", "over"]);
});

test("long work is asked for once a millisecond, and after half a minute it is said that it goes on", async () => {
  vi.useFakeTimers();
  const eager = vi.spyOn(globalThis, "setImmediate");
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  const { driver, transfers } = slow();
  driver.polls = Infinity;
  let over = false;
  const settled = transfers.settled().then(() => (over = true));
  await vi.advanceTimersByTimeAsync(1000);
  // Some hundred at first, without a pause.
  expect(eager).toHaveBeenCalled();
  expect(eager.mock.calls.length).toBeLessThan(500);
  expect(driver.polled).toBeGreaterThan(500);
  expect(driver.polled).toBeLessThan(1500);
  await vi.advanceTimersByTimeAsync(28_000);
  expect(warn).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(40_000);
  expect(warn.mock.calls).toEqual([
    [expect.stringMatching(/at work for 30 s without an end; EVERLONG_DEBUG=kernels names the step/)],
  ]);
  expect(over).toBe(false);
  driver.polls = 0;
  await vi.advanceTimersByTimeAsync(2);
  await settled;
  expect(over).toBe(true);
});
