// Reading parts of files. `node:fs` is loaded on first use, so that browser bundles can import this package.

import { DataError } from "@everlong/core";

/** A file opened for reading anywhere in it. */
export interface RandomAccessFile {
  readonly path: string;
  /** Bytes in the file when it was opened. */
  readonly size: number;
  /** Reads exactly `length` bytes from `position`. @throws DataError when the file ends before */
  read(position: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
}

// one read call takes at most 2 GiB - 1 bytes on Linux
const MAX_CALL = 2 ** 30;

/** Opens a file (Node only). @throws DataError when it is absent, a folder or unreadable */
export async function openFile(path: string): Promise<RandomAccessFile> {
  const { open } = await import("node:fs/promises");
  const handle = await open(path, "r").catch((cause: unknown) => {
    throw new DataError(path, "cannot open file", { got: (cause as Error).message, cause });
  });
  const stat = await handle.stat();
  if (!stat.isFile()) {
    await handle.close();
    throw new DataError(path, "not a file", { expected: "a regular file" });
  }
  return {
    path,
    size: stat.size,
    async read(position, length) {
      const bytes = new Uint8Array(length);
      let done = 0;
      while (done < length) {
        const want = Math.min(MAX_CALL, length - done);
        const { bytesRead } = await handle.read(bytes, done, want, position + done);
        if (bytesRead === 0) {
          throw new DataError(path, "file ends early", {
            expected: `${length} bytes at ${position}`,
            got: `${done}`,
            hint: "Was it changed while it was open?",
          });
        }
        done += bytesRead;
      }
      return bytes;
    },
    close: () => handle.close(),
  };
}

/** Reads a whole file (Node only). @throws DataError when it is absent, a folder or unreadable */
export async function readFileBytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const file = await openFile(path);
  try {
    return await file.read(0, file.size);
  } finally {
    await file.close();
  }
}
