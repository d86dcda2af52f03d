// `everlong label embed` and `extend`: texts to embeddings, votes to neighbours.

import type { Command } from "commander";
import { Option } from "commander";
import { ConfigError } from "@everlong/core";
import { readEmbeddings, writeEmbeddings } from "../embeddings/embedding-files.ts";
import { foundationEmbeddings } from "../embeddings/foundation-model.ts";
import { TextEmbedder } from "../embeddings/text-embedder.ts";
import { electRadii } from "../epoxy/committee.ts";
import { Epoxy } from "../epoxy/epoxy.ts";
import { analyzeFunctions, formatTable } from "../functions/analysis.ts";
import { createLabelModel } from "../label-models/registry.ts";
import { readLabels, readRecords, textsOf } from "../records.ts";
import { readVotes, writeVotes } from "../votes/vote-files.ts";
import type { Votes } from "../votes/votes.ts";
import {
  balanceOption,
  modelOption,
  modelOptionsOption,
  notation,
  numberList,
  outputFile,
  positiveInteger,
  signedOption,
} from "./options.ts";

interface ExtendFlags {
  readonly votes: string;
  readonly embeddings: string;
  readonly toVotes?: string;
  readonly toEmbeddings?: string;
  readonly radius?: number[];
  readonly devVotes?: string;
  readonly devEmbeddings?: string;
  readonly devLabels?: string;
  readonly metric: "cosine" | "l2";
  readonly approximate?: boolean;
  readonly model: string;
  readonly modelOptions: object;
  readonly classBalance?: number[];
  readonly signed?: boolean;
  readonly out: string;
}

interface EmbedFlags {
  readonly train?: string;
  readonly field: string;
  readonly size: number;
  readonly pretrained?: string;
  readonly out: string;
}

/** Adds `embed` and `extend`. */
export function registerExtend(label: Command): void {
  label
    .command("embed")
    .description("embed the texts of records: TF-IDF and SVD fitted on texts, or a pretrained encoder")
    .argument("<records>", ".jsonl, .json, .csv or .parquet")
    .requiredOption("--out <file>", "float32 .npy", outputFile)
    .option("--train <records>", "records to fit on; default the records themselves")
    .option("--field <name>", "the field that holds the text", "text")
    .option("--size <n>", "dimensions", positiveInteger, 64)
    .option("--pretrained <model>", "a model for @huggingface/transformers (optional peer dependency)")
    .action(async (records: string, flags: EmbedFlags) => {
      const texts = textsOf(await readRecords(records), flags.field, records);
      const train = flags.train ? textsOf(await readRecords(flags.train), flags.field, flags.train) : texts;
      const found = flags.pretrained
        ? await foundationEmbeddings(texts, { model: flags.pretrained })
        : new TextEmbedder({ size: flags.size }).fit(train).transform(texts);
      await writeEmbeddings(flags.out, found);
      console.log(`${found.items} texts, ${found.size} dimensions, written to ${flags.out}`);
    });

  label
    .command("extend")
    .description("extend votes to near neighbours (Epoxy), radii given or chosen on dev")
    .requiredOption("--votes <file>", "votes of the training items")
    .requiredOption("--embeddings <file>", "their embeddings: .npy, .safetensors or .parquet")
    .requiredOption("--out <file>", "extended votes as .npy, .csv or .parquet", outputFile)
    .option("--to-votes <file>", "votes to extend; default the training votes")
    .option("--to-embeddings <file>", "their embeddings")
    .option("--radius <list>", "one radius, or one per function", numberList)
    .option("--dev-votes <file>", "votes on labelled items, to choose radii")
    .option("--dev-embeddings <file>", "their embeddings")
    .option("--dev-labels <file>", "their labels")
    .option("--approximate", "search neighbours approximately")
    .addOption(new Option("--metric <name>", "distance").choices(["cosine", "l2"]).default("cosine"))
    .addOption(modelOption().default("weighted"))
    .addOption(modelOptionsOption())
    .addOption(balanceOption())
    .addOption(signedOption())
    .action(async (flags: ExtendFlags) => extend(flags));
}

async function extend(flags: ExtendFlags): Promise<void> {
  const options = { notation: notation(flags.signed) };
  const votes = await readVotes(flags.votes, options);
  const read = (file: string): Promise<Votes> => readVotes(file, { ...options, classes: votes.classes });
  const epoxy = new Epoxy(votes, await readEmbeddings(flags.embeddings), {
    metric: flags.metric,
    zeroRows: "isolate",
    search: { method: flags.approximate ? "approximate" : "exact" },
  });
  if ((flags.toVotes === undefined) !== (flags.toEmbeddings === undefined))
    throw new ConfigError("label extend", "--to-votes and --to-embeddings belong together");
  const target =
    flags.toVotes && flags.toEmbeddings
      ? await epoxy.prepare(await read(flags.toVotes), await readEmbeddings(flags.toEmbeddings))
      : await epoxy.prepare(votes, epoxy.embeddings);
  const radii = await chosenRadii(flags, epoxy, read);
  const extended = epoxy.extend(target, radii.length === 1 ? radii[0]! : radii);
  await writeVotes(flags.out, extended, notation(flags.signed));
  const before = analyzeFunctions(target.votes);
  const after = analyzeFunctions(extended);
  console.log(
    formatTable([
      ["function", "radius", "coverage before", "after"],
      ...before.functions.map((f, j) => [
        f.name,
        (radii[radii.length === 1 ? 0 : j] ?? Number.NaN).toFixed(4),
        f.coverage.toFixed(4),
        after.functions[j]!.coverage.toFixed(4),
      ]),
    ]),
  );
  console.log(
    `\nitems with a vote: ${(before.coverage * 100).toFixed(1)} % before, ${(after.coverage * 100).toFixed(1)} % after`,
  );
}

async function chosenRadii(
  flags: ExtendFlags,
  epoxy: Epoxy,
  read: (file: string) => Promise<Votes>,
): Promise<ArrayLike<number>> {
  if (flags.radius) return flags.radius;
  if (!flags.devVotes || !flags.devEmbeddings || !flags.devLabels)
    throw new ConfigError("label extend", "no radius, and nothing to choose one on", {
      expected: "--radius, or --dev-votes, --dev-embeddings and --dev-labels together",
    });
  const train = await epoxy.prepare(epoxy.votes, epoxy.embeddings);
  const dev = await epoxy.prepare(await read(flags.devVotes), await readEmbeddings(flags.devEmbeddings));
  const committee = electRadii(train, dev, await readLabels(flags.devLabels), {
    model: () => createLabelModel(flags.model, flags.modelOptions),
    ...(flags.classBalance ? { classBalance: flags.classBalance } : {}),
  });
  console.log(
    `radii chosen on ${dev.votes.items} dev items: cross-validated log loss ${committee.loss.toFixed(4)}, accuracy ${committee.accuracy.toFixed(4)}\n`,
  );
  return committee.radii();
}
