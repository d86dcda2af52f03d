// Bytes of the WebAssembly binary format: integers, names, vectors and sections.

/** Appends `value` (0 <= value < 2^32) as unsigned LEB128. */
export function pushUnsigned(out: number[], value: number): void {
  let rest = value >>> 0;
  while (rest > 0x7f) {
    out.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  out.push(rest);
}

/** Appends the 32-bit integer `value` as signed LEB128; both the signed and the unsigned reading are taken. */
export function pushSigned(out: number[], value: number): void {
  let rest = value | 0;
  for (;;) {
    const byte = rest & 0x7f;
    rest >>= 7;
    if ((rest === 0 && (byte & 0x40) === 0) || (rest === -1 && (byte & 0x40) !== 0)) {
      out.push(byte);
      return;
    }
    out.push(byte | 0x80);
  }
}

/** Appends `value` as signed LEB128 of at most 64 bits. */
export function pushSigned64(out: number[], value: bigint): void {
  let rest = BigInt.asIntN(64, value);
  for (;;) {
    const byte = Number(rest & 0x7fn);
    rest >>= 7n;
    if ((rest === 0n && (byte & 0x40) === 0) || (rest === -1n && (byte & 0x40) !== 0)) {
      out.push(byte);
      return;
    }
    out.push(byte | 0x80);
  }
}

const scratch = new DataView(new ArrayBuffer(8));

/** Little-endian bytes of a float32. */
export function float32Bytes(value: number): number[] {
  scratch.setFloat32(0, value, true);
  return [0, 1, 2, 3].map((i) => scratch.getUint8(i));
}

/** Little-endian bytes of a float64. */
export function float64Bytes(value: number): number[] {
  scratch.setFloat64(0, value, true);
  return [0, 1, 2, 3, 4, 5, 6, 7].map((i) => scratch.getUint8(i));
}

/** A length-prefixed UTF-8 name. */
export function nameBytes(name: string): number[] {
  const bytes = new TextEncoder().encode(name);
  const out: number[] = [];
  pushUnsigned(out, bytes.length);
  out.push(...bytes);
  return out;
}

/** A section: id, size, then a vector of already encoded items. */
export function section(id: number, items: readonly ArrayLike<number>[]): Uint8Array {
  const count: number[] = [];
  pushUnsigned(count, items.length);
  const size = items.reduce((n, item) => n + item.length, count.length);
  const head = [id];
  pushUnsigned(head, size);
  return joinBytes([head, count, ...items]);
}

/** The parts one after the other. */
export function joinBytes(parts: readonly ArrayLike<number>[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
