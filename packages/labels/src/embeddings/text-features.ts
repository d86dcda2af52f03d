import { ConfigError, checkOptions } from "@everlong/core";

/** A sparse matrix by rows: the entries of row i are `starts[i] .. starts[i + 1]`. */
export interface SparseRows {
  readonly starts: Int32Array;
  readonly columns: Int32Array;
  readonly values: Float32Array;
  readonly width: number;
}

/** What counts as a feature of a text. */
export interface TextFeatureOptions {
  /** Word n-grams, from..to. `[0, 0]` for none. Default `[1, 2]`. */
  readonly words?: readonly [number, number];
  /** Character n-grams within words padded by a space, from..to. `[0, 0]` for none. Default `[2, 5]`. */
  readonly characters?: readonly [number, number];
  /** Features in fewer training texts are dropped. Default 2. */
  readonly minDocuments?: number;
  /** Features in a larger share of the training texts are dropped. Default 0.95. */
  readonly maxShare?: number;
  /** At most this many features, the most frequent first. Default 20,000. */
  readonly maxFeatures?: number;
  /** Adds coarse shape features: length, links, digits, capitals, repeated punctuation. Default true. */
  readonly shape?: boolean;
}

/**
 * TF-IDF over word and character n-grams: `(1 + log tf) * (log((1 + N) / (1 + df)) + 1)`, each of the two groups scaled to length 1 before
 * they are joined, so that the many character n-grams do not drown the words. A text without known features is a row of zeros.
 */
export class TextFeatures {
  readonly #options: Required<TextFeatureOptions>;
  readonly #index = new Map<string, number>();
  #weights: Float32Array = new Float32Array(0);

  constructor(options: TextFeatureOptions = {}) {
    checkOptions("text-features", options, [
      "words",
      "characters",
      "minDocuments",
      "maxShare",
      "maxFeatures",
      "shape",
    ]);
    this.#options = {
      words: [1, 2],
      characters: [2, 5],
      minDocuments: 2,
      maxShare: 0.95,
      maxFeatures: 20_000,
      shape: true,
      ...options,
    };
    if (this.#options.words[1] === 0 && this.#options.characters[1] === 0)
      throw new ConfigError("text-features", "neither word nor character n-grams are wanted");
  }

  /** Features kept. */
  get width(): number {
    return this.#index.size;
  }

  /** Learns vocabulary and document frequencies. */
  fit(texts: readonly string[]): this {
    const { minDocuments, maxShare, maxFeatures } = this.#options;
    const documents = new Map<string, number>();
    for (const text of texts)
      for (const feature of this.#count(text).keys())
        documents.set(feature, (documents.get(feature) ?? 0) + 1);
    const kept = [...documents]
      .filter(([, df]) => df >= minDocuments && df <= maxShare * texts.length)
      .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
      .slice(0, maxFeatures);
    if (kept.length === 0)
      throw new ConfigError("text-features", "no feature is left", {
        expected: `features in at least ${minDocuments} texts and at most ${maxShare * 100} % of them`,
        got: `${documents.size} features in ${texts.length} texts, all outside`,
        hint: "Lower minDocuments.",
      });
    this.#index.clear();
    this.#weights = new Float32Array(kept.length);
    for (const [i, [feature, df]] of kept.entries()) {
      this.#index.set(feature, i);
      this.#weights[i] = Math.log((1 + texts.length) / (1 + df)) + 1;
    }
    return this;
  }

  /** `[N, width]`, rows of length 1 (or 0). */
  transform(texts: readonly string[]): SparseRows {
    const starts = new Int32Array(texts.length + 1);
    const columns: number[] = [];
    const values: number[] = [];
    for (const [i, text] of texts.entries()) {
      const groups = new Map<string, [number, number][]>();
      for (const [feature, tf] of this.#count(text)) {
        const column = this.#index.get(feature);
        if (column === undefined) continue;
        const group = groups.get(feature[0]!) ?? [];
        group.push([column, (1 + Math.log(tf)) * this.#weights[column]!]);
        groups.set(feature[0]!, group);
      }
      for (const [kind, group] of groups) {
        const norm = Math.hypot(...group.map(([, v]) => v));
        // shape features say little: a third of the weight of a full group
        const scale = (kind === "s" ? 0.33 : 1) / (norm * Math.sqrt(groups.size));
        for (const [column, v] of group) {
          columns.push(column);
          values.push(v * scale);
        }
      }
      starts[i + 1] = columns.length;
    }
    return {
      starts,
      columns: Int32Array.from(columns),
      values: Float32Array.from(values),
      width: this.width,
    };
  }

  #count(text: string): Map<string, number> {
    const { words, characters, shape } = this.#options;
    const counts = new Map<string, number>();
    const add = (feature: string): void => {
      counts.set(feature, (counts.get(feature) ?? 0) + 1);
    };
    const tokens = tokenize(text);
    for (let n = Math.max(1, words[0]); n <= words[1]; n++)
      for (let t = 0; t + n <= tokens.length; t++) add(`w${tokens.slice(t, t + n).join(" ")}`);
    if (characters[1] > 0)
      for (const token of tokens) {
        const padded = ` ${token} `;
        for (let n = Math.max(1, characters[0]); n <= characters[1]; n++)
          for (let t = 0; t + n <= padded.length; t++) add(`c${padded.slice(t, t + n)}`);
      }
    if (shape) for (const feature of shapeOf(text, tokens.length)) add(`s${feature}`);
    return counts;
  }
}

/** Lower-cased words, numbers, and single other signs; links keep their host as one token more. */
export function tokenize(text: string): string[] {
  const clean = text
    .normalize("NFKC")
    .replaceAll(/<br\s*\/?>/gi, " ")
    .replaceAll("&#39;", "'")
    .replaceAll("&quot;", '"')
    .replaceAll("&amp;", "&")
    .replaceAll("\uFEFF", " ")
    .toLowerCase();
  return clean.match(/[\p{L}\p{M}]+(?:'[\p{L}]+)?|\p{N}+|\p{Extended_Pictographic}|[^\s\p{L}\p{N}]/gu) ?? [];
}

function shapeOf(text: string, tokens: number): string[] {
  const letters = text.replaceAll(/[^\p{L}]/gu, "");
  const upper = letters.replaceAll(/[^\p{Lu}]/gu, "").length;
  return [
    `length${Math.min(7, Math.floor(Math.log2(1 + tokens)))}`,
    ...(/https?:|www\.|\.com\b/i.test(text) ? ["link"] : []),
    ...(/\d{3,}/.test(text) ? ["digits"] : []),
    ...(letters.length > 5 && upper / letters.length > 0.6 ? ["capitals"] : []),
    ...(/([!?.])\1{2,}/.test(text) ? ["shouting"] : []),
  ];
}
