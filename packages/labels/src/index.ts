export { ABSTAIN, Votes } from "./votes/votes.ts";
export * from "./votes/vote-files.ts";
export { readLabels, readRecords, textsOf } from "./records.ts";
export * from "./functions/labeling-function.ts";
export * from "./functions/apply.ts";
export { openVoteCache, type VoteCache } from "./functions/vote-cache.ts";
export * from "./functions/analysis.ts";
export * from "./functions/slices.ts";
export * from "./label-models/label-model.ts";
export { balanceOrUniform, countBalance } from "./label-models/class-balance.ts";
export {
  MajorityVote,
  WeightedVote,
  type MajorityVoteOptions,
  type WeightedVoteOptions,
} from "./label-models/majority-vote.ts";
export { DawidSkene, type DawidSkeneOptions } from "./label-models/dawid-skene.ts";
export { Metal, type MetalOptions } from "./label-models/metal.ts";
export {
  FlyingSquid,
  type FlyingSquidOptions,
  type SquidFitOptions,
  type SquidMoment,
} from "./label-models/flyingsquid/flyingsquid.ts";
export type { Clique, DependencyGraph, JunctionTree } from "./label-models/flyingsquid/graph.ts";
export type { NegativeRule } from "./label-models/flyingsquid/marginals.ts";
export { SquidLabelModel, type SquidLabelModelOptions } from "./label-models/squid-label-model.ts";
export { ChainLabelModel, type ChainLabelModelOptions } from "./label-models/chain-label-model.ts";
export { MultiLabelModel } from "./label-models/multi-label.ts";
export { createLabelModel, labelModels, type LabelModelEntry } from "./label-models/registry.ts";
export { readModel, requireSameFunctions, writeModel, type ModelFile } from "./label-models/model-file.ts";
export {
  embeddingRows,
  embeddings,
  stackEmbeddings,
  unitRows,
  type Embeddings,
} from "./embeddings/embeddings.ts";
export { readEmbeddings, writeEmbeddings } from "./embeddings/embedding-files.ts";
export {
  TextFeatures,
  tokenize,
  type SparseRows,
  type TextFeatureOptions,
} from "./embeddings/text-features.ts";
export { truncatedSvd, type TruncatedSvd, type TruncatedSvdOptions } from "./embeddings/truncated-svd.ts";
export { TextEmbedder, type TextEmbedderOptions } from "./embeddings/text-embedder.ts";
export { TextEncoder, type TextEncoderOptions } from "./embeddings/text-encoder.ts";
export { foundationEmbeddings, type FoundationOptions } from "./embeddings/foundation-model.ts";
export {
  referenceNearest,
  type Metric,
  type NearestTask,
  type NearestVotes,
  type ZeroRows,
} from "./neighbours/nearest-votes.ts";
export { nearestVotes, type SearchOptions } from "./neighbours/nearest.ts";
export { closedRadius, extendVotes } from "./epoxy/extend.ts";
export { Epoxy, type EpoxyOptions, type PreparedVotes } from "./epoxy/epoxy.ts";
export {
  radiusCandidates,
  searchRadii,
  type RadiusChoice,
  type RadiusSearchOptions,
} from "./epoxy/radius-search.ts";
export {
  electLabelModel,
  electRadii,
  preparedRows,
  RadiusCommittee,
  type CommitteeOptions,
} from "./epoxy/committee.ts";
export { labelSmoothness, radiusCurve, type RadiusPoint, type SmoothnessBin } from "./epoxy/diagnostics.ts";
export { assignParts, kMeans, type KMeans, type KMeansOptions } from "./liger/kmeans.ts";
export { Liger, type DevSet, type LigerOptions, type LigerPart } from "./liger/liger.ts";
export {
  LigerCommittee,
  searchLiger,
  type LigerChoice,
  type LigerSearchOptions,
} from "./liger/liger-search.ts";
export {
  EndModel,
  nearestNeighbours,
  oneHotLabels,
  tuneByFolds,
  tuneOnDev,
  type EndModelOptions,
} from "./end-models/end-model.ts";
export * from "./evaluation/metrics.ts";
export { bootstrap, pairedDifference, type Interval } from "./evaluation/bootstrap.ts";
export { stratifiedFolds } from "./evaluation/folds.ts";
export { compareWithMajority, type MajorityComparison } from "./evaluation/scored-labels.ts";
export { seededUniform, syntheticVotes, type SyntheticVotes } from "./evaluation/synthetic-votes.ts";
export { labelReportPage, type LabelReport } from "./report/page.ts";
export { commentFunctions, readComments, type Comment, type CommentSplit } from "./youtube-spam/comments.ts";
export { studyComments, type CommentStudy, type StudyOptions, type StudyRow } from "./demo/comment-study.ts";
export { studyReport, studySummary, studyTable } from "./demo/study-report.ts";
export { registerLabel } from "./cli.ts";
export { parity } from "./parity.ts";
