// Tab-separated text with the quoting rules of the log format: `"` quotes, doubled inside, LF line ends.

/** Quotes a cell when it holds a tab, a quote or a line break. */
export function encodeCell(text: string): string {
  return /["\t\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Python's `json.dumps` spacing (`{"a": 1, "b": [2, 3]}`), so that logs equal the original's byte for byte. */
export function dumpJson(value: unknown): string {
  if (value === undefined) return "null";
  if (Array.isArray(value)) return `[${value.map(dumpJson).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    return `{${Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => `${asciiString(key)}: ${dumpJson(item)}`)
      .join(", ")}}`;
  }
  return typeof value === "string" ? asciiString(value) : JSON.stringify(value);
}

function asciiString(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** One parsed table. `complete` is false when the text does not end in a line break: the last line may be cut. */
export interface TsvTable {
  readonly header: readonly string[];
  /** Column-major cells: `columns[c][row]`. */
  readonly columns: readonly (readonly string[])[];
  readonly length: number;
  /** Line number (1-based) of each row, for messages. */
  readonly lines: readonly number[];
  /** Rows whose number of cells differs from the header's: line and cell count; not in `columns`. */
  readonly ragged: readonly { readonly line: number; readonly cells: number }[];
  readonly complete: boolean;
}

/** Parses tab-separated text; a quoted cell may span lines. Blank lines are skipped. */
export function parseTsv(text: string): TsvTable {
  const scanner = new Scanner(text);
  const header = scanner.row();
  const columns = header.map((): string[] => []);
  const lines: number[] = [];
  const ragged: { line: number; cells: number }[] = [];
  while (!scanner.done) {
    const first = scanner.line;
    const cells = scanner.row();
    if (cells.length === 1 && cells[0] === "") continue;
    if (cells.length !== header.length) {
      ragged.push({ line: first, cells: cells.length });
      continue;
    }
    for (let c = 0; c < cells.length; c++) columns[c]!.push(cells[c]!);
    lines.push(first);
  }
  return { header, columns, length: lines.length, lines, ragged, complete: text.endsWith("\n") };
}

const TAB = 9;
const LF = 10;
const CR = 13;
const QUOTE = 34;

class Scanner {
  /** Line number of the next row, from 1. */
  line = 1;
  readonly #text: string;
  #at: number;
  /** Quoted cells repeat: a lifetime has a few task parameters and 100,000 rows. */
  readonly #known = new Map<string, string>();

  constructor(text: string) {
    this.#text = text;
    this.#at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  }

  get done(): boolean {
    return this.#at >= this.#text.length;
  }

  /** Cells of the next row; stops behind its line break. */
  row(): string[] {
    const cells: string[] = [];
    for (;;) {
      cells.push(this.#text.charCodeAt(this.#at) === QUOTE ? this.#quoted() : this.#plain());
      const tab = this.#text.charCodeAt(this.#at) === TAB;
      this.#at++;
      if (tab) continue;
      this.line++;
      return cells;
    }
  }

  #plain(): string {
    const start = this.#at;
    this.#skipToSeparator();
    const cr = this.#at > start && this.#text.charCodeAt(this.#at - 1) === CR;
    return this.#text.slice(start, cr ? this.#at - 1 : this.#at);
  }

  #quoted(): string {
    const open = ++this.#at;
    let close = this.#text.indexOf('"', open);
    while (close >= 0 && this.#text.charCodeAt(close + 1) === QUOTE) {
      close = this.#text.indexOf('"', close + 2);
    }
    if (close < 0) close = this.#text.length;
    const raw = this.#text.slice(open, close);
    this.#at = close + 1;
    // anything between the closing quote and the next separator is dropped: only a cut or foreign line has it
    this.#skipToSeparator();
    let cell = this.#known.get(raw);
    if (cell === undefined) this.#known.set(raw, (cell = raw.replaceAll('""', '"')));
    if (raw.includes("\n")) this.line += raw.split("\n").length - 1;
    return cell;
  }

  #skipToSeparator(): void {
    const text = this.#text;
    let at = this.#at;
    for (; at < text.length; at++) {
      const c = text.charCodeAt(at);
      if (c === TAB || c === LF) break;
    }
    this.#at = at;
  }
}
