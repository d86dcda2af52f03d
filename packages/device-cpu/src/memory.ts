// The one shared WebAssembly memory of the device, with typed-array views that follow its growth.

/** Bytes at the start of memory that belong to the device itself: address 0 stays unused, the thread control block follows. */
export const RESERVED_BYTES = 4096;

const PAGE = 65536;
const MAX_PAGES = 65536;

/** A 32-bit shared memory of at most 4 GiB. Views are made anew when it grows; do not keep them across allocations. */
export class SharedMemory {
  readonly wasm: WebAssembly.Memory;
  /** Bytes that the memory may grow to. */
  readonly limit: number;
  private words: Int32Array;
  private octets: Uint8Array;

  constructor(limitBytes: number = MAX_PAGES * PAGE) {
    const pages = Math.min(MAX_PAGES, Math.max(1, Math.floor(limitBytes / PAGE)));
    this.limit = pages * PAGE;
    this.wasm = new WebAssembly.Memory({ initial: Math.min(16, pages), maximum: MAX_PAGES, shared: true });
    this.words = new Int32Array(this.wasm.buffer);
    this.octets = new Uint8Array(this.wasm.buffer);
  }

  get bytes(): number {
    return this.octets.length;
  }

  get i32(): Int32Array {
    return this.words;
  }

  get u8(): Uint8Array {
    return this.octets;
  }

  get buffer(): ArrayBufferLike {
    return this.octets.buffer;
  }

  /** Grows to at least `bytes`; false when the limit or the engine refuses. */
  grow(bytes: number): boolean {
    if (bytes <= this.bytes) return true;
    if (bytes > this.limit) return false;
    const pages = Math.ceil(bytes / PAGE) - this.bytes / PAGE;
    try {
      this.wasm.grow(pages);
    } catch {
      return false;
    }
    this.words = new Int32Array(this.wasm.buffer);
    this.octets = new Uint8Array(this.wasm.buffer);
    return true;
  }
}
