import { expect, test } from "vitest";
import { tensor } from "./ops/creation.ts";
import { neg } from "./ops/elementwise.ts";
import { broadcastShapes, contiguousStrides, normalizeAxes, sizeOf } from "./shape.ts";
import { device, setDefaultDevice } from "./settings.ts";
import { flattenTree, mapTree, unflattenTree } from "./tree.ts";
import "./index.ts";

setDefaultDevice(device("reference"));

test("trees flatten in order of keys and come back, nulls at their places", () => {
  const [a, b, c] = [tensor(1), tensor(2), tensor(3)];
  const tree = { w: [a, null, { inner: b }], gap: undefined, last: c, empty: [] };
  const { leaves, structure } = flattenTree(tree);
  expect(leaves).toEqual([a, b, c]);
  expect(unflattenTree(structure, leaves)).toEqual(tree);
});

test("mapTree keeps the form", async () => {
  const out = mapTree(neg, { x: [tensor([1, 2])] }) as { x: [ReturnType<typeof tensor>] };
  expect(await out.x[0].toArray()).toEqual([-1, -2]);
});

test("shapes", () => {
  expect(sizeOf([])).toBe(1);
  expect(contiguousStrides([2, 3, 4])).toEqual([12, 4, 1]);
  expect(broadcastShapes("add", [3, 1], [2, 1, 4])).toEqual([2, 3, 4]);
  expect(broadcastShapes("add", [1], [0])).toEqual([0]);
  expect(normalizeAxes("sum", [-1, 0], 3)).toEqual([0, 2]);
  expect(normalizeAxes("sum", undefined, 2)).toEqual([0, 1]);
});
