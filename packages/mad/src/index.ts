export * from "./tasks/options.ts";
export * from "./tasks/task.ts";
export { KeyedRandom, OriginalRandom, type TaskRandom } from "./tasks/random.ts";
export { findTask, TASKS } from "./tasks/registry.ts";
export { memorizationMap, type MemorizationMap } from "./tasks/memorization.ts";
export * from "./tasks/generate.ts";
export { checkLeakage, findLeakage, type Leakage } from "./tasks/leakage.ts";
export * from "./metrics.ts";
export * from "./protocol.ts";
export { parity } from "./parity.ts";
export { parityModules } from "./parity-modules.ts";
export type { CurvePoint, RunRecord } from "./run-record.ts";
export { layerNames, type Architecture } from "./train/architecture.ts";
export { Evaluator, type ForEachModel, type TokenModel } from "./train/evaluate.ts";
export {
  COMPAT_CHANGES,
  hyperParameters,
  makeRecipe,
  PROTOCOL_RECIPE,
  rateAt,
  stepsOf,
  stepsPerEpoch,
  type HyperParameters,
  type Recipe,
} from "./benchmark/recipe.ts";
export { findSuite, makeSetting, selectSettings, SUITES, type Suite } from "./benchmark/suites.ts";
export {
  parseArchitecture,
  resolveLayers,
  shorthandOf,
  type ResolvedLayer,
} from "./benchmark/architecture-name.ts";
export { loadPlugin, loadPlugins, type Plugin } from "./benchmark/plugin.ts";
export { makeCell, sliceOf, type Cell } from "./benchmark/cell.ts";
export * from "./benchmark/result.ts";
export { ResultStore, type Claim } from "./benchmark/store.ts";
export type { ResumeOptions } from "./benchmark/cell-training.ts";
export { trainCell, type TrainCellOptions } from "./benchmark/train-cell.ts";
export { runCells, type CellFailure, type RunCellsOptions, type RunCellsReport } from "./benchmark/runner.ts";
export * from "./benchmark/scores.ts";
export {
  ISO_STATE,
  isoState,
  type IsoStateLayer,
  type IsoStateOptions,
  type IsoStateReport,
} from "./benchmark/iso-state.ts";
export { trainRun, type OnPoint, type RunConfig } from "./train/run.ts";
export { runAll, serveRuns, type PoolOptions } from "./train/pool.ts";
export { QUICK_ARCHITECTURES, quickConfigs } from "./train/quick.ts";
export { reportPage, type PageOptions } from "./report/page.ts";
export { benchmarkPage, type BenchmarkPageOptions } from "./report/benchmark-page.ts";
export type { SavedRuns } from "./report/comparison.ts";
export { paretoFront, type Costed } from "./report/pareto.ts";
export { runsCsv, scoreTable } from "./report/score-table.ts";
export { resultTable } from "./report/table.ts";
export { registerMad } from "./cli/mad-command.ts";
export type { MadHost } from "./cli/host.ts";
export { shuffledBatches, type RowBatch } from "./train/batches.ts";
export * from "./search/evolution.ts";
export * from "./search/confirm.ts";
export { makeSpace, type Genome, type SearchSpace } from "./search/genome.ts";
export * from "./analysis/parametric.ts";
export * from "./analysis/iso-flop.ts";
export * from "./analysis/rank.ts";
export { bootstrap, type Estimate, type ResampleOptions } from "./analysis/resample.ts";
export { findColumn, numbersOf, readTable, type Row } from "./analysis/runs-table.ts";
