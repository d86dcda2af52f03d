import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { TensorBoardLog } from "./tensorboard.ts";

const folder = mkdtempSync(join(tmpdir(), "events-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** CRC-32C bit by bit, from its definition. */
function checksum(bytes: Uint8Array): number {
  let c = 0xffffffffn;
  for (const b of bytes) {
    c ^= BigInt(b);
    for (let i = 0; i < 8; i++) c = c & 1n ? (c >> 1n) ^ 0x82f63b78n : c >> 1n;
  }
  const crc = c ^ 0xffffffffn;
  return Number((((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn);
}

/** The data of all records, checked as a reader does. */
function records(path: string): Buffer[] {
  const file = readFileSync(path);
  const out: Buffer[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64LE(at));
    expect(file.readUInt32LE(at + 8)).toBe(checksum(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(file.readUInt32LE(at + 12 + length)).toBe(checksum(data));
    out.push(data);
    at += 16 + length;
  }
  return out;
}

test("the checksum is CRC-32C", () => {
  // masked value of the check word 0xe3069283 for "123456789"
  expect(checksum(new TextEncoder().encode("123456789"))).toBe(
    Number((((BigInt(0xe3069283) >> 15n) | (BigInt(0xe3069283) << 17n)) + 0xa282ead8n) & 0xffffffffn),
  );
});

test("events carry version, step, tags and values", () => {
  using log = new TensorBoardLog(folder);
  log.write(300, { loss: 1.5, "rate/é": 2e-3 });
  const [version, scalars, ...rest] = records(log.path);
  expect(rest).toHaveLength(0);
  expect(version!.toString("latin1")).toContain("brain.Event:2");
  // field 1 (double), field 2 (varint 300 = ac 02), field 5 (bytes)
  expect(scalars![0]).toBe(0x09);
  expect(Math.abs(scalars!.readDoubleLE(1) - Date.now() / 1000)).toBeLessThan(60);
  expect([...scalars!.subarray(9, 12)]).toEqual([0x10, 0xac, 0x02]);
  const text = scalars!.toString("latin1");
  expect(text).toContain("\x0a\x04loss");
  expect(scalars!.toString("utf8")).toContain("rate/é");
  expect(scalars!.readFloatLE(scalars!.indexOf("loss") + 5)).toBe(1.5);
});

test("two logs in one folder are two files; closed ones and bad steps are refused", () => {
  const [a, b] = [new TensorBoardLog(folder), new TensorBoardLog(folder)];
  expect(a.path).not.toBe(b.path);
  expect(() => a.write(-1, { x: 1 })).toThrow("0 or more");
  a.close();
  b.close();
  expect(() => b.write(1, { x: 1 })).toThrow("is closed");
});
