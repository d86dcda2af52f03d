export { ABSTAIN, Votes } from "./votes/votes.ts";
export type { Embeddings } from "./embeddings/embeddings.ts";
export { embeddingRows, embeddings, stackEmbeddings, unitRows } from "./embeddings/embeddings.ts";
export type { LabelModel, LabelModelFit } from "./label-models/label-model.ts";
export { decide } from "./label-models/label-model.ts";
export type {
  FlyingSquidOptions,
  SquidFitOptions,
  SquidMoment,
} from "./label-models/flyingsquid/flyingsquid.ts";
export { FlyingSquid } from "./label-models/flyingsquid/flyingsquid.ts";
export type { Metric, NearestVotes, ZeroRows } from "./neighbours/nearest-votes.ts";
export { closedRadius, extendVotes } from "./epoxy/extend.ts";
export type { KMeans, KMeansOptions } from "./liger/kmeans.ts";
export { assignParts, kMeans } from "./liger/kmeans.ts";
export { parity } from "./parity.ts";
