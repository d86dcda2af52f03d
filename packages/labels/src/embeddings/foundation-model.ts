import { ConfigError } from "@everlong/core";
import type { Embeddings } from "./embeddings.ts";
import { embeddings } from "./embeddings.ts";

/** Options of {@link foundationEmbeddings}. */
export interface FoundationOptions {
  /** A model on the Hugging Face hub, or a local folder. Default `Xenova/all-MiniLM-L6-v2`. */
  readonly model?: string;
  /** Texts at once. Default 32. */
  readonly batch?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

interface Pipeline {
  (texts: string[], options: object): Promise<{ dims: number[]; data: Float32Array }>;
}

/**
 * Text embeddings of a pretrained encoder through `@huggingface/transformers`, an optional peer dependency: mean-pooled, of length 1, `[N, D]`.
 * @throws ConfigError when the library is not installed, or when the model can be neither found locally nor downloaded.
 */
export async function foundationEmbeddings(
  texts: readonly string[],
  options: FoundationOptions = {},
): Promise<Embeddings> {
  const { model = "Xenova/all-MiniLM-L6-v2", batch = 32, onProgress } = options;
  // the name is a variable so that neither compiler nor bundler wants the package
  const library = "@huggingface/transformers";
  let make: (task: string, model: string) => Promise<Pipeline>;
  try {
    ({ pipeline: make } = (await import(library)) as { pipeline: typeof make });
  } catch (problem) {
    throw new ConfigError("embeddings", `${library} is not installed`, {
      hint: `Run npm install ${library}, or use TextEmbedder, which needs no pretrained model.`,
      cause: problem,
    });
  }
  let encode: Pipeline;
  try {
    encode = await make("feature-extraction", model);
  } catch (problem) {
    throw new ConfigError("embeddings", `cannot load the model "${model}"`, {
      hint: "Without a network, pass the folder of a downloaded model, or use TextEmbedder.",
      got: problem instanceof Error ? problem.message : String(problem),
      cause: problem,
    });
  }
  const parts: Float32Array[] = [];
  let size = 0;
  for (let from = 0; from < texts.length; from += batch) {
    const { dims, data } = await encode(texts.slice(from, from + batch), {
      pooling: "mean",
      normalize: true,
    });
    size = dims.at(-1)!;
    parts.push(data);
    onProgress?.(Math.min(texts.length, from + batch), texts.length);
  }
  return embeddings(
    parts.flatMap((part) => [...part]),
    [texts.length, size],
  );
}
