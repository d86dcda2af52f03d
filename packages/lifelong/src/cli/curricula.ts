import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { agents } from "../agents/registry.ts";
import type { Curriculum } from "../curriculum/curriculum.ts";
import { loadCurriculum, readConfigFile } from "../curriculum/file.ts";
import { curricula } from "../curriculum/registry.ts";
import { curriculumTotals, summarizeCurriculum } from "../curriculum/summary.ts";
import { validateCurriculum } from "../curriculum/validate.ts";
import { environments } from "../environments/registry.ts";
import { type Repair, readLog } from "../logs/reader.ts";
import { filterRows, findRegimes } from "../logs/table.ts";
import { textTable } from "../report/tables.ts";
import { parseSeed } from "../run/seeds.ts";
import { withReadOptions } from "./metrics.ts";
import { type Output, outputOf, withJson } from "./output.ts";

interface CurriculumFlags {
  readonly curriculumSeed: string;
  readonly curriculumConfig?: string;
  readonly json?: boolean;
}

/** Options that make a curriculum of a factory. */
function withCurriculumOptions(command: Command): Command {
  return withJson(
    command
      .option("--curriculum-seed <seed>", "seed of the curriculum itself", "0")
      .option("--curriculum-config <file>", "configuration file of the curriculum"),
  );
}

async function curriculumOf(reference: string, flags: CurriculumFlags): Promise<Curriculum> {
  const { make } = await loadCurriculum(reference);
  const config = flags.curriculumConfig === undefined ? null : readConfigFile(flags.curriculumConfig);
  return make({ seed: parseSeed("--curriculum-seed", flags.curriculumSeed), config });
}

/** `summary`: outline of a curriculum. */
export function registerSummary(parent: Command): void {
  withCurriculumOptions(
    parent
      .command("summary")
      .description("outline of a curriculum")
      .argument("<curriculum>", "name, YAML, JSON or module file, or package"),
  ).action(async (reference: string, flags: CurriculumFlags) => {
    const out = outputOf(flags);
    const curriculum = await curriculumOf(reference, flags);
    validateCurriculum(curriculum);
    const totals = curriculumTotals(curriculum);
    out.text(summarizeCurriculum(curriculum));
    const amount = (of: { episodes: number; steps: number }): string =>
      [of.episodes > 0 ? `${of.episodes} episodes` : "", of.steps > 0 ? `${of.steps} steps` : ""]
        .filter(Boolean)
        .join(" and ") || "nothing";
    out.text(`\nIn all: ${amount(totals.learn)} of learning, ${amount(totals.evaluate)} of evaluation.`);
    out.result({
      name: curriculum.name,
      scenario: curriculum.scenario,
      ...totals,
      outline: curriculum.blocks,
    });
  });
}

/** `validate`: a curriculum, or a log folder. */
export function registerValidate(parent: Command): void {
  withReadOptions(
    withCurriculumOptions(
      parent
        .command("validate")
        .description("check a curriculum or a log folder")
        .argument("<what>", "curriculum (name, file, package) or log folder"),
    ),
  ).action(async (what: string, flags: CurriculumFlags & { repair?: Repair[] }) => {
    const out = outputOf(flags);
    if (existsSync(join(what, "logger_info.json"))) validateLog(what, flags.repair ?? [], out);
    else {
      const curriculum = await curriculumOf(what, flags);
      const { warnings, observationSpace, actionSpace } = validateCurriculum(curriculum);
      for (const warning of warnings) out.note(warning);
      out.text(`curriculum ${curriculum.name} is valid: ${curriculum.blocks.length} blocks`);
      out.result({
        valid: true,
        kind: "curriculum",
        name: curriculum.name,
        observationSpace,
        actionSpace,
        warnings,
      });
    }
  });
}

function validateLog(dir: string, repair: readonly Repair[], out: Output): void {
  const log = readLog(dir, { repair });
  for (const warning of log.warnings) out.note(warning);
  const regimes = findRegimes(filterRows(log.table, (row) => log.table.complete[row] === 1));
  out.text(`log ${log.runId} is valid: ${log.table.rows} experiences`);
  const rows = regimes.map((r) =>
    [r.index, r.blockNum, r.blockType, r.blockSubtype, r.task, r.end - r.start].map(String),
  );
  out.text(textTable(["regime", "block", "type", "subtype", "task", "length"], rows));
  out.result({
    valid: true,
    kind: "log",
    run: log.runId,
    experiences: log.table.rows,
    regimes,
    warnings: log.warnings,
  });
}

/** `curricula`, `envs`, `agents`: what is registered. */
export function registerLists(parent: Command): void {
  withJson(parent.command("curricula").description("registered curricula")).action(
    (flags: { json?: boolean }) => {
      const out = outputOf(flags);
      out.text(
        textTable(
          ["name", "about"],
          curricula().map(({ name, about }) => [name, about]),
        ),
      );
      out.result(curricula().map(({ name, about }) => ({ name, about })));
    },
  );
  withJson(
    parent.command("envs").description("registered environments, their variants and parameters"),
  ).action((flags: { json?: boolean }) => {
    const out = outputOf(flags);
    for (const { name, about, variants, parameters } of environments()) {
      out.text(`${name}: ${about}\n  variants: ${Object.keys(variants).join(", ")}`);
      for (const [key, spec] of Object.entries(parameters))
        out.text(`  ${key} = ${spec.default}: ${spec.about}`);
    }
    out.result(environments());
  });
  withJson(parent.command("agents").description("registered agents and their options")).action(
    (flags: { json?: boolean }) => {
      const out = outputOf(flags);
      for (const { name, about, options } of agents()) {
        out.text(`${name}: ${about}`);
        for (const [key, spec] of Object.entries(options))
          out.text(`  ${key} = ${spec.default}: ${spec.about}`);
      }
      out.result(agents());
    },
  );
}
