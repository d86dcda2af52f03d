import { expect, test } from "vitest";
import { Arena } from "./arena.ts";

/** An arena over so many bytes; `held` are those that it has taken. */
function arenaOf(bytes: number): { arena: Arena; held: number[] } {
  const held: number[] = [];
  let next = 1;
  const arena = new Arena({
    take: (wanted, refusal) => {
      if (wanted > bytes) throw refusal(bytes);
      held.push(wanted);
      return { address: next++, bytes: wanted };
    },
    give: (block) => void held.splice(held.indexOf(block.bytes), 1),
  });
  return { arena, held };
}
const refused = (limit: number): Error => new Error(`at most ${limit}`);

test("one region serves the largest need, and shrinks with it", () => {
  const { arena, held } = arenaOf(100);
  const [small, large] = [{ arena: 10 }, { arena: 80 }];
  arena.reserve(small);
  arena.reserve(large);
  expect(arena.address(small, refused)).toBe(arena.address(large, refused));
  expect(held).toEqual([80]);
  // Whoever runs keeps it, whoever is forgotten meanwhile.
  arena.release(large);
  expect(held).toEqual([80]);
  arena.address(small, refused);
  expect(held).toEqual([10]);
  arena.release(small);
  expect(held).toEqual([]);
});

test("a region that was given back is taken again for those that run", () => {
  const { arena, held } = arenaOf(100);
  const [small, large] = [{ arena: 10 }, { arena: 80 }];
  for (const user of [small, large]) arena.reserve(user);
  arena.address(large, refused);
  arena.trim();
  expect(held).toEqual([]);
  arena.address(small, refused);
  expect(held).toEqual([10]);
  arena.address(large, refused);
  expect(held).toEqual([80]);
  arena.trim();
  arena.release(large);
  arena.address(small, refused);
  expect(held).toEqual([10]);
});

test("a need that cannot be had is refused to its user only", () => {
  const { arena, held } = arenaOf(100);
  const [small, huge] = [{ arena: 10 }, { arena: 800 }];
  for (const user of [small, huge]) arena.reserve(user);
  for (let i = 0; i < 2; i++) {
    arena.address(small, refused);
    expect(held).toEqual([10]);
    expect(() => arena.address(huge, refused)).toThrow("at most 100");
    expect(held).toEqual([]);
  }
});
