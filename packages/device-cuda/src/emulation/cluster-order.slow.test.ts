// Whether something orders every two accesses to the shared memory of a cluster, whichever block is slow and however late stores and copies come.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { watch, type ClusterCall, type ClusterOrder } from "./cluster-watch.ts";

const ORDERS: readonly ClusterOrder[] = [
  {},
  { late: true },
  { random: true, seed: 11 },
  { slow: 0, random: true, late: true, seed: 12 },
  { fast: 1, late: true },
];
const BOTH = ["preGate", "postGate"] as const;
const CONVOLUTION: ClusterCall = { length: 32_768, batch: 6, circular: true };
const GRADIENTS: ClusterCall = { length: 32_768, batch: 3, wanted: ["u", "k"] };

describe.skipIf(spawnSync("g++", ["--version"]).status !== 0)("clusters of blocks", () => {
  const folder = mkdtempSync(join(tmpdir(), "everlong-clusters-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each<ClusterCall>([
    // Two clusters, the last of fewer rows, one of them without its partner.
    { ...CONVOLUTION, batch: 11 },
    { ...CONVOLUTION, gates: BOTH, dtype: "bf16" },
    { length: 65_536, batch: 3, gates: BOTH },
    { length: 50_001, batch: 4, dtype: "bf16" },
    { ...GRADIENTS, batch: 4 },
    // Rows of dy that cannot travel.
    { ...GRADIENTS, length: 20_001, dtype: "bf16" },
    { ...GRADIENTS, batch: 5, circular: true },
    { ...GRADIENTS, gates: ["postGate"] },
    { ...GRADIENTS, gates: BOTH, wanted: ["u", "k", ...BOTH] },
    { ...GRADIENTS, wanted: ["k"] },
    { ...GRADIENTS, length: 65_536, circular: true, batch: 6 },
  ])("order what they do: %j", (call) => {
    const found = watch(call, ORDERS, folder);
    for (const { reports, ended } of found) {
      expect(reports).toEqual([]);
      expect(ended).toBe(true);
    }
    expect(new Set(found.map(({ bits }) => bits)).size).toBe(1);
  });

  // Of what never arrives: they wait for ever.
  test.each<readonly [ClusterCall, string, string, RegExp | undefined]>([
    [
      CONVOLUTION,
      "wait_phase(notes.barrier(FULL), parity);",
      "",
      /load_shared is not ordered after store_remote/,
    ],
    [
      CONVOLUTION,
      "wait_for_blocks(notes.barrier(DONE)",
      "wait_phase(notes.barrier(DONE)",
      /load_remote is not ordered after store_shared/,
    ],
    [
      CONVOLUTION,
      "  __syncthreads();\n  if (at.tid < S) arrive",
      "  if (at.tid < S) arrive",
      /load_remote is not ordered after store_shared/,
    ],
    [CONVOLUTION, "at.tid < S) arrive", "at.tid < S - 1) arrive", undefined],
    [CONVOLUTION, "  wait_phase(barrier, parity);", "", /of what nobody has written/],
    [
      CONVOLUTION,
      "  // The others may still read here.\n  cluster_barrier();",
      "",
      /a block may end before an access/,
    ],
    [CONVOLUTION, "begun.\n  cluster_barrier();", "begun.", /before it is known to be made/],
    [GRADIENTS, "    before_copies();", "", /copy_bulk is not ordered after a read/],
    [
      GRADIENTS,
      "wait_phase(notes.barrier(ROWS_HERE), parity); ",
      "",
      /load_shared is not ordered after copy_bulk/,
    ],
    [
      GRADIENTS,
      "    __syncthreads();\n    if (item + 1 < end) {",
      "    if (item + 1 < end) {",
      /copy_bulk is not ordered after a read/,
    ],
    [
      GRADIENTS,
      "    wait_phase(notes.barrier(FULL + 1), parity);",
      "",
      /store_shared is not ordered after store_remote/,
    ],
  ])("%j: is noticed where %j has been changed", (call, from, to, report) => {
    const [found] = watch(call, ORDERS.slice(0, 1), folder, [from, to]);
    if (report) expect(found!.reports.join("\n")).toMatch(report);
    else expect(found!.ended).toBe(false);
  });
});
