// A line of progress with the time left: redrawn in place on a terminal, a line now and then elsewhere.

const BAR = 24;

/** `83` -> `1:23`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "-:--";
  const s = Math.max(0, Math.round(seconds));
  const [h, m] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  const tail = String(s % 60).padStart(2, "0");
  return h > 0 ? `${h}:${String(m).padStart(2, "0")}:${tail}` : `${m}:${tail}`;
}

/** `#####-----  50 %  1:23 left  loss 0.123`. */
export function progressLine(done: number, total: number, seconds: number, text: string): string {
  const part = total > 0 ? Math.min(1, done / total) : 0;
  const filled = Math.round(part * BAR);
  const left = done > 0 ? (seconds / done) * (total - done) : Number.POSITIVE_INFINITY;
  const bar = "#".repeat(filled) + "-".repeat(BAR - filled);
  return `${bar} ${String(Math.round(part * 100)).padStart(3)} %  ${duration(left)} left  ${text}`;
}

export interface ProgressStream {
  readonly isTTY?: boolean;
  /** Width of a terminal: a longer line would wrap and not be redrawn in place. */
  readonly columns?: number;
  write(text: string): unknown;
}

/** Shows progress on a stream, by default standard error. */
export class Progress {
  readonly #stream: ProgressStream;
  readonly #total: number;
  readonly #began: number = performance.now();
  /** Milliseconds between updates. */
  readonly #every: number;
  #last = Number.NEGATIVE_INFINITY;

  constructor(total: number, stream: ProgressStream = process.stderr) {
    this.#total = total;
    this.#stream = stream;
    this.#every = stream.isTTY ? 100 : 5000;
  }

  update(done: number, text = ""): void {
    const now = performance.now();
    if (now - this.#last < this.#every && done < this.#total) return;
    this.#last = now;
    const line = progressLine(done, this.#total, (now - this.#began) / 1000, text);
    const { isTTY, columns = 80 } = this.#stream;
    this.#stream.write(isTTY ? `\r\u001B[K${line.slice(0, columns - 1)}` : `${line}\n`);
  }

  /** Ends the line. */
  done(): void {
    if (this.#stream.isTTY) this.#stream.write("\n");
  }
}
