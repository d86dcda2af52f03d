// TensorBoard event files of scalars: records of protocol-buffer messages with masked checksums, as TensorFlow writes them
// (tensorflow/core/lib/io/record_writer.h, event.proto, summary.proto). It is not: histograms, images, graphs.

import { closeSync, existsSync, openSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { ConfigError } from "@everlong/core";

const CASTAGNOLI = 0x82f63b78;
const TABLE: Uint32Array = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ CASTAGNOLI : c >>> 1;
  return c;
});

/** CRC-32C, then rotated and shifted so that a checksum of checksums is not trivial. */
function maskedChecksum(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const b of bytes) c = TABLE[(c ^ b) & 0xff]! ^ (c >>> 8);
  c = ~c >>> 0;
  return (((c >>> 15) | (c << 17)) + 0xa282ead8) >>> 0;
}

/** Length, its checksum, data, its checksum. */
function record(data: Uint8Array): Uint8Array {
  const out = new Uint8Array(data.length + 16);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedChecksum(out.subarray(0, 8)), true);
  out.set(data, 12);
  view.setUint32(12 + data.length, maskedChecksum(data), true);
  return out;
}

function varint(value: number): number[] {
  const out: number[] = [];
  let rest = BigInt(value);
  while (rest > 0x7fn) {
    out.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  return [...out, Number(rest)];
}

const fixed = (bytes: number, set: (view: DataView) => void): number[] => {
  const buffer = new Uint8Array(bytes);
  set(new DataView(buffer.buffer));
  return [...buffer];
};
const field = (number: number, wire: 0 | 1 | 2 | 5): number => (number << 3) | wire;
const nested = (number: number, bytes: readonly number[]): number[] => [
  field(number, 2),
  ...varint(bytes.length),
  ...bytes,
];
const text = (value: string): number[] => [...new TextEncoder().encode(value)];

/** Event: wall_time 1 (double), step 2 (int64), file_version 3 (string), summary 5 { value 1 { tag 1, simple_value 2 (float) } }. */
function event(seconds: number, step: number, rest: readonly number[]): Uint8Array {
  const time = fixed(8, (v) => v.setFloat64(0, seconds, true));
  return Uint8Array.from([field(1, 1), ...time, field(2, 0), ...varint(step), ...rest]);
}

/** Writes scalars that TensorBoard shows: `tensorboard --logdir FOLDER`. */
export class TensorBoardLog {
  readonly path: string;
  #file: number | undefined;

  /** A new event file in `folder`, which must exist. */
  constructor(folder: string) {
    const seconds = Date.now() / 1000;
    const name = `events.out.tfevents.${Math.floor(seconds)}.${hostname()}.${process.pid}`;
    // Several logs may begin within a second; TensorBoard reads all files of a folder.
    let path = join(folder, name);
    for (let n = 1; existsSync(path); n++) path = join(folder, `${name}.${n}`);
    this.path = path;
    this.#file = openSync(path, "wx");
    this.#write(event(seconds, 0, nested(3, text("brain.Event:2"))));
  }

  /** Appends scalars of one step, by name. */
  write(step: number, scalars: Readonly<Record<string, number>>): void {
    if (!Number.isSafeInteger(step) || step < 0)
      throw new ConfigError("TensorBoardLog", "bad step", {
        expected: "a whole number, 0 or more",
        got: `${step}`,
      });
    const values = Object.entries(scalars).flatMap(([name, value]) => {
      const number = fixed(4, (v) => v.setFloat32(0, value, true));
      return nested(1, [...nested(1, text(name)), field(2, 5), ...number]);
    });
    this.#write(event(Date.now() / 1000, step, nested(5, values)));
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #write(data: Uint8Array): void {
    if (this.#file === undefined) throw new ConfigError("TensorBoardLog", `${this.path} is closed`);
    writeSync(this.#file, record(data));
  }
}
