import { ConfigError, nearest } from "@everlong/core";
import { ChainLabelModel } from "./chain-label-model.ts";
import { DawidSkene } from "./dawid-skene.ts";
import type { LabelModel } from "./label-model.ts";
import { MajorityVote, WeightedVote } from "./majority-vote.ts";
import { Metal } from "./metal.ts";
import { SquidLabelModel } from "./squid-label-model.ts";

/** A label model in the registry: help texts and tests are made from these. */
export interface LabelModelEntry {
  readonly name: string;
  readonly about: string;
  readonly paper: string;
  readonly create: (options?: object) => LabelModel;
}

/** Every label model, by name. A plugin adds to the list. */
export const labelModels: LabelModelEntry[] = [
  {
    name: "majority",
    about: "one function, one vote",
    paper: "baseline",
    create: (options) => new MajorityVote(options),
  },
  {
    name: "weighted",
    about: "votes weighted by log odds of accuracy",
    paper: "Nitzan and Paroush 1982",
    create: (options) => new WeightedVote(options),
  },
  {
    name: "flyingsquid",
    about: "closed form from agreement of triplets",
    paper: "Fu et al. 2020, arXiv 2002.11955",
    create: (options) => new SquidLabelModel(options),
  },
  {
    name: "metal",
    about: "matrix completion of function overlaps (Snorkel)",
    paper: "Ratner et al. 2019, arXiv 1810.02840",
    create: (options) => new Metal(options),
  },
  {
    name: "dawid-skene",
    about: "confusion matrices by expectation maximisation",
    paper: "Dawid and Skene 1979",
    create: (options) => new DawidSkene(options),
  },
  {
    name: "chain",
    about: "FlyingSquid over windows of consecutive frames, two classes",
    paper: "Fu et al. 2020, arXiv 2002.11955",
    create: (options) => new ChainLabelModel(options),
  },
];

/** Builds a label model by name. @throws ConfigError with the nearest name. */
export function createLabelModel(name: string, options?: object): LabelModel {
  const names = labelModels.map((entry) => entry.name);
  const entry = labelModels.find((e) => e.name === name);
  if (!entry) {
    const near = nearest(name, names);
    throw new ConfigError("label-model", `no label model "${name}"`, {
      expected: `one of ${names.join(", ")}`,
      ...(near ? { hint: `Did you mean "${near}"?` } : {}),
    });
  }
  return entry.create(options);
}
