import { expect, test } from "vitest";
import type { Driver, Handle } from "./driver.ts";
import { Transfers } from "./transfers.ts";

const MIB = 2 ** 20;

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
