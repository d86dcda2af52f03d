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

test("owners of earlier jobs and of this one give back what they held", async () => {
  const given: number[] = [];
  const owners = new Owners<{ id: number }>(({ id }) => void given.push(id));
  const kept: object[] = [];
  const records: { id: number }[] = [];
  const adopt = (from: number): void => {
    for (let id = from; id < from + 20; id++) {
      const [owner, held] = [{}, { id }];
      if (id % 4 === 0) kept.push(owner);
      if (id % 4 < 3) records.push(held);
      owners.adopt(owner, held);
    }
  };
  adopt(0);
  await Promise.resolve();
  adopt(20);
  for (const held of records) if (held.id % 4 === 1) owners.release(held);
  expect(given).toEqual([1, 5, 9, 13, 17, 21, 25, 29, 33, 37]);
  for (const held of records) if (held.id % 4 === 2) expect(owners.forget(held)).toBe(true);
  owners.reclaim();
  const forgotten = given.slice(10);
  // The last one may still lie on the stack.
  expect(forgotten.length).toBeGreaterThanOrEqual(9);
  expect(forgotten.filter((id) => id % 4 !== 3)).toEqual([]);
  owners.releaseAll();
  expect(new Set(given.slice(20))).toEqual(new Set([0, 4, 8, 12, 16, 20, 24, 28, 32, 36]));
  expect(given.length).toBe(30);
  expect(kept).toHaveLength(10);
});

test("nobody needs to ask: what is collected gives back, once its job is over", async () => {
  const given: number[] = [];
  const owners = new Owners<{ id: number }>(({ id }) => void given.push(id));
  const elsewhere = new Owners<object>(() => {});
  for (let id = 0; id < 20; id++) owners.adopt({}, { id });
  for (let round = 0; round < 20 && given.length < 15; round++) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    elsewhere.reclaim();
  }
  expect(given.length).toBeGreaterThanOrEqual(15);
});
