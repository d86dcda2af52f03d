export {
  alternating,
  type BuilderOptions,
  condensed,
  dispersed,
  expert,
  interleaved,
  permuted,
  type TaskOrder,
  type TaskSpec,
  variant,
} from "./curriculum/builders.ts";
export {
  type Block,
  block,
  type Curriculum,
  type CurriculumEntry,
  type CurriculumFactory,
  type Length,
  type LengthUnit,
  type Scenario,
  type TaskBlock,
  type TaskVariant,
  variantsOf,
} from "./curriculum/curriculum.ts";
export { curriculumFromText, loadCurriculum } from "./curriculum/file.ts";
export { curricula, registerCurriculum } from "./curriculum/registry.ts";
export { curriculumTotals, type CurriculumTotals, summarizeCurriculum } from "./curriculum/summary.ts";
export { type CurriculumCheck, validateCurriculum } from "./curriculum/validate.ts";
export { adaptEnvironment, type SimpleEnvironment } from "./environments/adapter.ts";
export * from "./environments/environment.ts";
export { CartPole, type CartPoleOptions } from "./environments/cartpole.ts";
export { type Level, type LevelRules, MiniGrid, type World } from "./environments/minigrid/world.ts";
export {
  type EnvironmentEntry,
  environmentEntry,
  type EnvironmentParameter,
  environments,
  makeEnvironment,
  registerEnvironment,
} from "./environments/registry.ts";
export { RandomStream, type Seed } from "./random/random-stream.ts";
export * from "./logs/format.ts";
export { aggregateLog, type AggregateFormat } from "./logs/aggregate.ts";
export {
  findLogDirs,
  l2dataRoot,
  type LifetimeLog,
  type ReadOptions,
  readLog,
  REPAIRS,
  type Repair,
  resolveLogDir,
} from "./logs/reader.ts";
export { findRegimes, type LogTable, type Regime } from "./logs/table.ts";
export { LogWriter, type LogWriterOptions } from "./logs/writer.ts";
export { type AbcPair, abcPairs, type AbcTransfer, abcTransfer } from "./metrics/abc-transfer.ts";
export {
  bootstrap,
  bootstrapPair,
  type BootstrapOptions,
  type Interval,
  separated,
} from "./metrics/bootstrap.ts";
export {
  type BaselineRun,
  type ContinualWorldMetrics,
  continualWorldMetrics,
  type ContinualWorldOptions,
  readBaselineRun,
  readSuccessRun,
  type SuccessRun,
} from "./metrics/continual-world.ts";
export { lifetimeTable, metricsDocument, regimeRecords, regimeTable } from "./metrics/documents.ts";
export {
  type EvaluationMatrix,
  evaluationMatrix,
  type StreamMetrics,
  streamMetrics,
} from "./metrics/evaluation-matrix.ts";
export type { SampleEfficiency } from "./metrics/expert-relative.ts";
export type { Lifetime, LifetimeSource, SteCurve } from "./metrics/lifetime.ts";
export type { Maintenance } from "./metrics/maintenance.ts";
export type { Metric, MetricResult } from "./metrics/metric.ts";
export {
  type DataRange,
  METRICS_OPTIONS,
  type MetricsOptions,
  type MetricsOptionSpec,
  metricsOptionsFromSettings,
  metricsSettings,
  type ResolvedMetricsOptions,
  resolveMetricsOptions,
} from "./metrics/options.ts";
export type { RegimeMetrics } from "./metrics/regime-metrics.ts";
export { type MetricInfo, metricInfo, METRICS } from "./metrics/registry.ts";
export { computeMetrics, type MetricsReport, type TaskMetrics } from "./metrics/report.ts";
export { smooth, type SmoothingWindow } from "./metrics/smooth.ts";
export { type SteData, type SteRun, SteStore } from "./metrics/ste-store.ts";
export { type GroupSummary, summarizeGroup } from "./metrics/summary.ts";
export { type TransferValue, transfers } from "./metrics/transfer.ts";
export { agents, loadAgent, registerAgent, resolveAgentOptions } from "./agents/registry.ts";
export type { Agent, AgentContext, AgentEntry, AgentOption, AgentState, Transition } from "./run/agent.ts";
export {
  type ExperimentEvent,
  type ExperimentOptions,
  type ExperimentResult,
  runExperiment,
} from "./run/experiment.ts";
export { type LifetimeEvent, type LifetimeOptions, runLifetime } from "./run/lifetime.ts";
export { type LifetimeSeeds, lifetimeSeeds } from "./run/seeds.ts";
export { parity } from "./parity.ts";
export { registerLifelong } from "./cli.ts";
export { type LiveView, startLiveView } from "./live/server.ts";
export { groupTable, metricsTable, taskTable } from "./report/tables.ts";
