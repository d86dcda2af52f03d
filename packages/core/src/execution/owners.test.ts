import { expect, test } from "vitest";
import { Owners } from "./owners.ts";

test("what forgotten owners held is given back in one go, without waiting for the event loop", () => {
  const given: number[] = [];
  const owners = new Owners<{ id: number }>(({ id }) => void given.push(id));
  const kept: object[] = [];
  const make = (id: number): object => {
    const [owner, held] = [{}, { id }];
    owners.adopt(owner, held);
    return owner;
  };
  for (let id = 0; id < 20; id++) {
    const owner = make(id);
    if (id % 5 === 0) kept.push(owner);
  }
  owners.reclaim();
  // The last one may still lie on the stack.
  expect(given.length).toBeGreaterThanOrEqual(15);
  expect(given.filter((id) => id % 5 === 0)).toEqual([]);
  expect(kept).toHaveLength(4);
});

test("a record is given back once, or never when it was forgotten", () => {
  const given: number[] = [];
  const owners = new Owners<{ id: number }>(({ id }) => void given.push(id));
  const owner = {};
  const [first, second] = [{ id: 1 }, { id: 2 }];
  for (const held of [first, second]) owners.adopt(owner, held);
  owners.release(first);
  owners.release(first);
  expect(owners.forget(second)).toBe(true);
  expect(owners.forget(second)).toBe(false);
  owners.release(second);
  expect(given).toEqual([1]);
  for (const id of [3, 4]) owners.adopt(owner, { id });
  owners.releaseAll();
  owners.releaseAll();
  expect(given).toEqual([1, 3, 4]);
});
