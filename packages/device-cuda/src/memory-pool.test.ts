import { expect, test } from "vitest";
import type { Driver, Handle } from "./driver.ts";
import { MemoryPool, roundSize, type Block } from "./memory-pool.ts";

const MIB = 2 ** 20;

/** A driver that counts what it has given out, and takes nothing back while work is under way that may use it. */
class CountingDriver {
  given = 0;
  /** Whether work was launched since somebody last waited. */
  busy = false;
  private readonly sizes = new Map<Handle, number>();
  private readonly capacity: number;
  private next = 1;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  allocate(bytes: number): Handle | undefined {
    if (this.given + bytes > this.capacity) return undefined;
    this.given += bytes;
    this.sizes.set(this.next, bytes);
    return this.next++;
  }

  free(address: Handle): void {
    if (this.busy) throw new Error("freed under work");
    this.given -= this.sizes.get(address)!;
    this.sizes.delete(address);
  }

  memoryInfo(): { free: number; total: number } {
    return { free: this.capacity - this.given, total: this.capacity };
  }

  synchronize(): void {
    this.busy = false;
  }
}

function poolOf(capacity: number, limit?: number): { driver: CountingDriver; pool: MemoryPool } {
  const driver = new CountingDriver(capacity);
  return { driver, pool: new MemoryPool(driver as unknown as Driver, 0, limit) };
}

test("freed blocks are given out again, and go back to the driver when it is full", () => {
  const { driver, pool } = poolOf(10 * MIB);
  const first = pool.allocate(4 * MIB, "a");
  pool.free(first);
  expect(pool.allocate(4 * MIB, "b").address).toBe(first.address);
  pool.free(first);
  // Another size does not fit beside the kept block.
  pool.allocate(8 * MIB, "c");
  expect(driver.given).toBe(8 * MIB);
  expect([pool.liveBytes, pool.peakBytes]).toEqual([8 * MIB, 8 * MIB]);
});

test("what is kept beyond the most that was in use is given back, that freed longest ago first", () => {
  const { driver, pool } = poolOf(16_000 * MIB);
  // A sixteenth of the device.
  const room = 1000 * MIB;
  for (let size = 100; size < 900; size += 7) {
    pool.free(pool.allocate(size * MIB, "a"));
    expect(driver.given).toBeLessThanOrEqual(pool.peakBytes + room);
    expect(driver.given).toBe(pool.liveBytes + pool.keptBytes);
  }
  const last = pool.allocate(893 * MIB, "b");
  expect(driver.given).toBeGreaterThan(roundSize(893 * MIB));
  pool.trim();
  expect([driver.given, pool.keptBytes]).toEqual([last.bytes, 0]);
});

test("blocks of forgotten owners are asked for before much more is taken, and before anyone is refused", () => {
  const { driver, pool } = poolOf(16_000 * MIB);
  const forgotten: Block[] = [];
  let asked = 0;
  pool.reclaim = () => {
    asked++;
    for (const block of forgotten.splice(0)) pool.free(block);
  };
  for (let i = 0; i < 300; i++) {
    forgotten.push(pool.allocate((20 + i) * MIB, "a"));
    expect(driver.given).toBeLessThanOrEqual(2500 * MIB);
  }
  expect(asked).toBeGreaterThan(30);
  expect(asked).toBeLessThan(100);

  const held = [7000, 4000].map((size) => pool.allocate(size * MIB, "b"));
  asked = 0;
  for (let i = 0; i < 20; i++) pool.free(pool.allocate((500 + i) * MIB, "c"));
  expect(asked).toBe(0);
  forgotten.push(pool.allocate(3000 * MIB, "d"));
  held.push(pool.allocate(4000 * MIB, "e"));
  expect(asked).toBe(1);
});

test("blocks go back to the driver only when the work that used them is over", () => {
  const { driver, pool } = poolOf(64 * MIB);
  const use = (size: number): void => {
    const block = pool.allocate(size * MIB, "a");
    driver.busy = true;
    pool.free(block);
  };
  // When asked for, where kept blocks of other sizes are in the way, and beyond what is kept.
  use(3);
  pool.trim();
  expect([driver.given, driver.busy]).toEqual([0, false]);
  for (const size of [40, 30, 50, 61, 7]) use(size);
  expect(driver.given).toBeLessThanOrEqual(64 * MIB);
  const wide = poolOf(16_000 * MIB);
  for (let size = 100; size < 900; size += 50) {
    const block = wide.pool.allocate(size * MIB, "b");
    wide.driver.busy = true;
    wide.pool.free(block);
  }
  expect(wide.driver.given).toBeLessThan(2000 * MIB);
  // Nothing to give back, nothing to wait for.
  pool.trim();
  driver.busy = true;
  pool.trim();
  expect(driver.busy).toBe(true);
});

test("the limit counts blocks that are kept", () => {
  const { driver, pool } = poolOf(100 * MIB, 8 * MIB);
  for (const size of [1, 2, 3, 4, 5, 6, 7]) {
    pool.free(pool.allocate(size * MIB, "a"));
    expect(driver.given).toBeLessThanOrEqual(8 * MIB);
  }
});

test("what is refused is told what the limit leaves", () => {
  const { pool } = poolOf(100 * MIB, 8 * MIB);
  pool.allocate(5 * MIB, "a");
  expect(() => pool.allocate(4 * MIB, "b")).toThrow(
    /out of memory for b: expected at most 3\.00 MiB \(8\.00 MiB in all/,
  );
  let told = -1;
  const refuse = (free: number): Error => ((told = free), new Error("refused"));
  expect(() => pool.allocate(4 * MIB, "b", refuse)).toThrow("refused");
  expect(told).toBe(3 * MIB);
  expect(pool.liveBytes).toBe(5 * MIB);
});

test("sizes are rounded up, by an eighth of the next power of two at most, and by 64 MiB", () => {
  for (const bytes of [5 * 2 ** 30 + 1, 66e9]) expect(roundSize(bytes)).toBeLessThan(bytes + 64 * MIB);
  for (const bytes of [0, 1, 512, 513, 4096, 4097, 5000, 2 ** 20 + 1, 3 * 2 ** 30 + 7]) {
    const size = roundSize(bytes);
    expect(size % 512).toBe(0);
    expect(size).toBeGreaterThanOrEqual(Math.max(1, bytes));
    expect(size).toBeLessThanOrEqual(Math.max(512, bytes + Math.max(512, bytes / 4)));
  }
});
