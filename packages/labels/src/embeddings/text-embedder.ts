import { ConfigError, checkOptions } from "@everlong/core";
import type { Embeddings } from "./embeddings.ts";
import { unitRows } from "./embeddings.ts";
import type { TextFeatureOptions } from "./text-features.ts";
import { TextFeatures } from "./text-features.ts";
import type { TruncatedSvd } from "./truncated-svd.ts";
import { project, truncatedSvd } from "./truncated-svd.ts";

/** Options of {@link TextEmbedder}. */
export interface TextEmbedderOptions extends TextFeatureOptions {
  /** D. Default 64, at most the number of texts and features. */
  readonly size?: number;
  /** Exponent of the singular values: 1 is plain latent semantic analysis, 0 whitens. Default 1. */
  readonly spectrum?: number;
  readonly seed?: number;
}

/**
 * Text embeddings that need no pretrained model: TF-IDF over word and character n-grams, reduced by a truncated SVD
 * (latent semantic analysis, Deerwester et al. 1990), rows of length 1.
 *
 * @example
 * const embedder = new TextEmbedder({ size: 128 }).fit(trainTexts);
 * const test = embedder.transform(testTexts); // [N, 128]
 */
export class TextEmbedder {
  readonly #features: TextFeatures;
  readonly #size: number;
  readonly #spectrum: number;
  readonly #seed: number;
  #svd: TruncatedSvd | undefined;

  constructor(options: TextEmbedderOptions = {}) {
    const { size = 64, spectrum = 1, seed = 1, ...features } = options;
    checkOptions("text-embedder", options, [
      "size",
      "spectrum",
      "seed",
      "words",
      "characters",
      "minDocuments",
      "maxShare",
      "maxFeatures",
      "shape",
    ]);
    this.#features = new TextFeatures(features);
    this.#size = size;
    this.#spectrum = spectrum;
    this.#seed = seed;
  }

  /** Learns vocabulary and directions from texts alone. */
  fit(texts: readonly string[]): this {
    const rows = this.#features.fit(texts).transform(texts);
    const size = Math.min(this.#size, texts.length, rows.width);
    const svd = truncatedSvd(rows, { size, seed: this.#seed });
    const scale = svd.singularValues.map((s) => (s < 1e-9 ? 0 : s ** (this.#spectrum - 1)));
    const directions = svd.directions.map((x, at) => x * scale[at % size]!);
    this.#svd = { directions, singularValues: svd.singularValues };
    return this;
  }

  /** `[N, D]`, rows of length 1; a text without any known feature is a row of zeros. */
  transform(texts: readonly string[]): Embeddings {
    if (!this.#svd)
      throw new ConfigError("text-embedder", "the embedder is not fitted", {
        hint: "Call fit(texts) first.",
      });
    return unitRows(project(this.#features.transform(texts), this.#svd));
  }
}
