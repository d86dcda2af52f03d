// `everlong parity DIR`: repeats cases of the original systems and prints how far ours is off.

import { ConfigError, device as openDevice, setStrict, withDevice, type Device } from "@everlong/core";
import type { ParityResult } from "@everlong/data";
import { caseNames, loadCase, type ParityCase } from "./case.ts";
import { compareDocument, compareTensor, type Deviation } from "./compare.ts";
import { runModuleCase, tolerancesFor } from "./module-case.ts";
import { dataRun, moduleBuilder } from "./registry.ts";

export interface ParityOptions {
  /** Glob over case names; several are separated by commas. Default `*`. */
  readonly only?: string;
  /** Default `cpu`. */
  readonly device?: string;
  readonly json?: boolean;
  /** Classes that are not built do not fail the run. */
  readonly allowUnsupported?: boolean;
}

export interface CaseReport {
  readonly case: string;
  readonly status: "pass" | "fail" | "unsupported";
  /** The worst tensor: largest error in units of its tolerance. */
  readonly tensor: string;
  readonly error: number;
  readonly tolerance: number | "exact" | null;
  readonly note?: string;
}

export interface ParitySummary {
  readonly passed: number;
  readonly failed: number;
  readonly unsupported: number;
}

/** Runs every matching case; `report` is called after each, `begin` before. */
export async function runParity(
  folder: string,
  options: ParityOptions,
  report: (r: CaseReport) => void,
  begin: (name: string) => void = () => {},
): Promise<ParitySummary> {
  const device = openDevice(options.device ?? "cpu");
  const counts = { pass: 0, fail: 0, unsupported: 0 };
  setStrict(device.name !== "reference");
  try {
    for (const name of await caseNames(folder, options.only ?? "*")) {
      begin(name);
      const result = await runCase(folder, name, device);
      counts[result.status]++;
      report(result);
    }
  } finally {
    setStrict(false);
  }
  return { passed: counts.pass, failed: counts.fail, unsupported: counts.unsupported };
}

async function runCase(folder: string, name: string, device: Device): Promise<CaseReport> {
  const base = { case: name, tensor: "", error: 0, tolerance: null };
  try {
    const c = await loadCase(folder, name);
    const run = dataRun(c.cls);
    const build = moduleBuilder(c.cls);
    if (!run && !build) return { ...base, status: "unsupported", note: c.cls || "names no class" };
    const deviations = run
      ? compareData(c, run(c), device)
      : await withDevice(device, () => runModuleCase(c, build!, device));
    return worst(name, deviations);
  } catch (error) {
    const note = error instanceof Error ? error.message : String(error);
    return { ...base, status: "fail", error: Number.POSITIVE_INFINITY, note };
  }
}

function compareData(c: ParityCase, result: ParityResult, device: Device): Deviation[] {
  const out: Deviation[] = [];
  for (const [name, tolerance] of Object.entries(tolerancesFor(c, device))) {
    const stored = c.tensors.get(name);
    if (stored) out.push(compareTensor(name, result.tensors.get(name), stored, tolerance));
  }
  if (typeof c.tol.json === "number") {
    if (result.json === undefined) throw new ConfigError("parity", "the case's document is not computed");
    out.push(...compareDocument(result.json, c.json, c.tol.json));
  }
  return out;
}

/** Error in units of the tolerance; anything not allowed sorts first. */
function severity(d: Deviation): number {
  if (!d.ok) return Number.MAX_VALUE;
  return typeof d.tolerance === "number" && d.tolerance > 0 ? d.error / d.tolerance : 0;
}

function worst(name: string, deviations: readonly Deviation[]): CaseReport {
  const [first] = [...deviations].sort((a, b) => severity(b) - severity(a));
  if (!first)
    return {
      case: name,
      status: "fail",
      tensor: "",
      error: Number.POSITIVE_INFINITY,
      tolerance: null,
      note: "nothing was compared",
    };
  const failed = deviations.filter((d) => !d.ok);
  const more = failed.length > 1 ? `${failed.length} of ${deviations.length} tensors fail` : undefined;
  const note = [first.note, more].filter(Boolean).join("; ");
  return {
    case: name,
    status: failed.length > 0 ? "fail" : "pass",
    tensor: first.tensor,
    error: first.error,
    tolerance: first.tolerance,
    ...(note ? { note } : {}),
  };
}
