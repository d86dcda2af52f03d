import { describe, expect, test } from "vitest";
import { makeEnvironment } from "../registry.ts";
import { ball, box, door, goal, key, lava, wall } from "./cells.ts";
import { ACTIONS, type Level, MiniGrid, VIEW, type World } from "./world.ts";

const [LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE] = ACTIONS.map((_, i) => i) as [
  number,
  number,
  number,
  number,
  number,
  number,
];

/** A corridor of 8 cells with the agent at its left end, looking right. */
function corridor(lay: (world: World) => void, options: Partial<Level> = {}): MiniGrid {
  const env = new MiniGrid({
    width: 10,
    height: 3,
    maxSteps: 20,
    throughWalls: false,
    ...options,
    layout(world) {
      world.room(0, 0, 10, 3);
      [world.agent, world.direction] = [[1, 1], 0];
      lay(world);
    },
  });
  env.reset();
  return env;
}

/** Code of the cell `ahead` cells in front of the agent in its view. */
const seen = (observation: ArrayLike<number>, ahead: number): number[] => {
  const at = 3 * ((VIEW >> 1) * VIEW + VIEW - 1 - ahead);
  return [observation[at]!, observation[at + 1]!, observation[at + 2]!];
};
const play = (env: MiniGrid, ...actions: number[]) => actions.map((action) => env.step(action)).at(-1)!;

describe("rules", () => {
  test("reward on success is 1 - 0.9 steps / limit", () => {
    const env = corridor((w) => w.set(4, 1, goal()));
    expect(play(env, FORWARD, FORWARD)).toMatchObject({ reward: 0, terminated: false });
    expect(play(env, FORWARD)).toMatchObject({
      reward: 1 - 0.9 * (3 / 20),
      terminated: true,
      truncated: false,
    });
  });

  test("the limit truncates, unless the last step succeeds", () => {
    const env = corridor(() => {}, { maxSteps: 3 });
    expect(play(env, LEFT, LEFT, LEFT)).toMatchObject({ reward: 0, terminated: false, truncated: true });
    const late = corridor((w) => w.set(4, 1, goal()), { maxSteps: 3 });
    expect(play(late, FORWARD, FORWARD, FORWARD)).toMatchObject({ terminated: true, truncated: false });
    expect(
      play(
        corridor((w) => w.set(4, 1, goal()), { maxSteps: 3 }),
        FORWARD,
        FORWARD,
        FORWARD,
      ).reward,
    ).toBeCloseTo(0.1, 12);
  });

  test("lava ends the episode, with a penalty where the level says so", () => {
    const lay = (w: World): void => w.set(2, 1, lava());
    expect(play(corridor(lay), FORWARD)).toMatchObject({ reward: 0, terminated: true });
    expect(play(corridor(lay, { lavaPenalty: true }), FORWARD)).toMatchObject({
      reward: -1,
      terminated: true,
    });
  });

  test("a locked door opens with the key of its colour only", () => {
    const lay =
      (color: "red" | "blue") =>
      (w: World): void => {
        w.set(2, 1, key(color));
        w.set(4, 1, door("blue", "locked"));
      };
    const wrong = corridor(lay("red"));
    expect(seen(play(wrong, PICKUP, FORWARD, FORWARD, TOGGLE).observation, 1)).toEqual([4, 2, 2]);
    expect(seen(play(wrong, FORWARD).observation, 0)).toEqual([5, 0, 0]);
    const right = corridor(lay("blue"));
    expect(seen(play(right, PICKUP, FORWARD, FORWARD, TOGGLE).observation, 1)).toEqual([4, 2, 0]);
    expect(seen(play(right, TOGGLE).observation, 1)).toEqual([4, 2, 1]);
    expect(right.world!.agent).toEqual([3, 1]);
    play(right, TOGGLE, FORWARD);
    expect(right.world!.agent).toEqual([4, 1]);
  });

  test("one thing is carried, dropped only on an empty cell; boxes open and vanish", () => {
    const env = corridor((w) => {
      w.set(2, 1, ball("green"));
      w.set(3, 1, box("red"));
    });
    play(env, PICKUP, FORWARD, PICKUP, DROP);
    expect(env.world!.carrying?.kind).toBe("ball");
    expect(env.world!.get(3, 1)?.kind).toBe("box");
    play(env, TOGGLE, DROP);
    expect(env.world!.carrying).toBeNull();
    expect(env.world!.get(3, 1)).toMatchObject({ kind: "ball", color: "green" });
  });

  test("walls and closed doors hide what is behind them", () => {
    const behind = (cell: ReturnType<typeof wall> | null): number[] => {
      const env = corridor((w) => {
        w.set(3, 1, cell);
        w.set(4, 1, goal());
      });
      return seen(play(env, LEFT, RIGHT).observation, 3);
    };
    expect(behind(null)).toEqual([8, 1, 0]);
    expect(behind(wall())).toEqual([0, 0, 0]);
    expect(behind(door("red", "closed"))).toEqual([0, 0, 0]);
    expect(behind(door("red", "open"))).toEqual([8, 1, 0]);
  });

  test("actions outside the space and steps before a reset are errors", () => {
    expect(() => corridor(() => {}).step(6)).toThrow(/expected 0 to 5, got 6/);
    expect(() => makeEnvironment("DoorKey").step(0)).toThrow(/step before reset/);
    expect(() => makeEnvironment("CartPole").step(0)).toThrow(/step before reset/);
    expect(() => makeEnvironment("SimpleCrossing", { size: 8 })).toThrow(/size is even/);
  });
});

test("drawings show the world", () => {
  const env = corridor((w) => {
    w.set(3, 1, key("yellow"));
    w.set(5, 1, door("blue", "locked"));
    w.set(7, 1, door("red", "open"));
  });
  // oxlint-disable-next-line no-control-regex
  const text = env.render("ansi").replaceAll(/\u001b\[\d+m/g, "");
  expect(text.split("\n")[1]).toBe("WG>>  KY  LB  __  WG");
  const svg = env.render("svg");
  expect(svg).toMatch(/^<svg .*<\/svg>$/s);
  expect(svg.match(/<g transform="translate/g)).toHaveLength(31);
  const pole = makeEnvironment("CartPole");
  pole.reset({ seed: 1 });
  expect(pole.render("svg")).toContain("<rect");
  expect(pole.render("ansi").split("\n")).toHaveLength(7);
});
