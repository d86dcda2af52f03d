// The six task families of the M21 set, laid out draw by draw as gym-minigrid 1.0 and tella 0.8 do.

import { ConfigError } from "@everlong/core";
import type { EnvironmentEntry } from "../registry.ts";
import { ball, box, type Cell, COLOR_NAMES, door, goal, key, lava, obstacle, wall } from "./cells.ts";
import { type Level, type LevelRules, MiniGrid, type Position, type World } from "./world.ts";

/**
 * Walls with openings between start and goal.
 *
 * @throws ConfigError for an even size: walls stand on every second line
 */
export function simpleCrossing(size: number, crossings: number): Level {
  if (size % 2 === 0) {
    throw new ConfigError("environment SimpleCrossing", "size is even", {
      expected: "an odd size",
      got: String(size),
    });
  }
  return {
    width: size,
    height: size,
    maxSteps: 4 * size * size,
    throughWalls: false,
    layout(world) {
      world.room(0, 0, size, size);
      [world.agent, world.direction] = [[1, 1], 0];
      world.set(size - 2, size - 2, goal());
      const lines = ["v", "h"].flatMap((way) =>
        Array.from({ length: (size - 3) >> 1 }, (_, k) => ({ way, at: 2 + 2 * k })),
      );
      const chosen = world.random.permutation(lines).slice(0, crossings);
      const at = (way: string): number[] =>
        chosen
          .filter((line) => line.way === way)
          .map((line) => line.at)
          .sort((a, b) => a - b);
      const [columns, rows] = [at("v"), at("h")];
      for (const y of rows) for (let x = 1; x < size - 1; x++) world.set(x, y, wall());
      for (const x of columns) for (let y = 1; y < size - 1; y++) world.set(x, y, wall());
      openPath(world, columns, rows);
    },
  };
}

// a random order of crossings from the first room to the last, one opening in each crossed wall
function openPath(world: World, columns: readonly number[], rows: readonly number[]): void {
  const path = world.random.permutation([...columns.map(() => "h"), ...rows.map(() => "v")]);
  const xs = [0, ...columns, world.height - 1];
  const ys = [0, ...rows, world.width - 1];
  let [i, j] = [0, 0];
  for (const way of path) {
    if (way === "h") {
      world.set(xs[i + 1]!, world.random.integer(ys[j]! + 1, ys[j + 1]!), null);
      i++;
    } else {
      world.set(world.random.integer(xs[i]! + 1, xs[i + 1]!), ys[j + 1]!, null);
      j++;
    }
  }
}

/** A goal behind two strips of lava; the second strip's row is the variant. */
export function distShift(strip: number): Level {
  const [width, height] = [9, 7];
  return {
    width,
    height,
    maxSteps: 4 * width * height,
    throughWalls: true,
    lavaPenalty: true,
    layout(world) {
      world.room(0, 0, width, height);
      world.set(width - 2, 1, goal());
      for (let i = 0; i < width - 6; i++) {
        world.set(3 + i, 1, lava());
        world.set(3 + i, strip, lava());
      }
      [world.agent, world.direction] = [[1, 1], 0];
    },
  };
}

/** Moving balls; walking into one ends the episode with -1. */
export function dynamicObstacles(size: number, count: number): Level {
  return {
    width: size,
    height: size,
    maxSteps: 4 * size * size,
    throughWalls: true,
    layout(world): LevelRules {
      world.room(0, 0, size, size);
      world.set(size - 2, size - 2, goal());
      [world.agent, world.direction] = [[1, 1], 0];
      const balls = Array.from({ length: count }, () => {
        const thing = obstacle();
        return { thing, at: world.place(thing)! };
      });
      return {
        before(action) {
          const blocked = world.get(...world.front())?.kind === "ball";
          for (const one of balls) {
            const [x, y] = one.at;
            const next: Position | null = world.place(one.thing, [x - 1, y - 1], [3, 3], 100);
            if (next === null) continue;
            world.set(x, y, null);
            one.at = next;
          }
          return action === 2 && blocked;
        },
      };
    },
  };
}

/** Fetch a yellow key among balls and boxes; picking up anything ends the episode. */
export function fetchKey(size: number, targets: number, distractors: number): Level {
  return {
    width: size,
    height: size,
    maxSteps: 5 * size * size,
    throughWalls: true,
    layout(world): LevelRules {
      world.room(0, 0, size, size);
      for (let n = 0; n < targets; n++) world.place(key("yellow"));
      for (let n = 0; n < distractors; n++) {
        const make = world.random.pick([ball, box]);
        world.place(make(world.random.pick(COLOR_NAMES)));
      }
      world.placeAgent();
      // the original draws one of five wordings of the mission here
      world.random.integer(0, 5);
      return {
        after() {
          if (world.carrying === null) return null;
          return world.carrying.kind === "key" && world.carrying.color === "yellow" ? "success" : "failure";
        },
      };
    },
  };
}

/** Two rooms: unlock the door between them. */
export function unlock(size: number): Level {
  const width = 2 * (size - 1) + 1;
  return {
    width,
    height: size,
    maxSteps: 8 * size * size,
    throughWalls: false,
    layout(world): LevelRules {
      world.room(0, 0, size, size);
      world.room(size - 1, 0, size, size);
      const doorAt: Position = [size - 1, world.random.integer(1, size - 1)];
      const color = world.random.pick(COLOR_NAMES);
      const lock = door(color, "locked");
      world.set(...doorAt, lock);
      world.place(key(color), [0, 0], [size, size], 1000);
      let front: Cell;
      do {
        world.placeAgent([0, 0], [size, size]);
        front = world.get(...world.front());
      } while (front !== null && front.kind !== "wall");
      return { after: (action) => (action === 5 && lock.door === "open" ? "success" : null) };
    },
  };
}

/** Take the key, open the door, reach the goal. */
export function doorKey(size: number): Level {
  return {
    width: size,
    height: size,
    maxSteps: 10 * size * size,
    throughWalls: false,
    layout(world) {
      world.room(0, 0, size, size);
      world.set(size - 2, size - 2, goal());
      const split = world.random.integer(2, size - 2);
      world.column(split, 0, size);
      world.placeAgent([0, 0], [split, size]);
      world.set(split, world.random.integer(1, size - 2), door("yellow", "locked"));
      world.place(key("yellow"), [0, 0], [split, size]);
    },
  };
}

const size = (value: number) => ({
  default: value,
  min: 5,
  max: 25,
  integer: true,
  about: "side of the grid",
});

/** MiniGrid tasks of the M21 curricula; the variants have the original's labels. */
export const MINIGRID_TASKS: readonly EnvironmentEntry[] = [
  {
    name: "SimpleCrossing",
    about: "Find the openings in walls and reach the goal.",
    parameters: {
      size: { ...size(9), about: "side of the grid, odd" },
      crossings: { default: 1, min: 1, max: 6, integer: true, about: "number of walls" },
    },
    variants: { S9N1: { crossings: 1 }, S9N2: { crossings: 2 }, S9N3: { crossings: 3 } },
    make: (p) => new MiniGrid(simpleCrossing(p["size"]!, p["crossings"]!)),
  },
  {
    name: "DistShift",
    about: "Reach the goal around strips of lava; lava costs 1.",
    parameters: { strip: { default: 2, min: 2, max: 5, integer: true, about: "row of the second strip" } },
    variants: { R2: { strip: 2 }, R5: { strip: 5 }, R3: { strip: 3 } },
    make: (p) => new MiniGrid(distShift(p["strip"]!)),
  },
  {
    name: "DynObstacles",
    about: "Reach the goal among moving balls; a collision costs 1.",
    parameters: {
      size: size(6),
      obstacles: { default: 1, min: 0, max: 10, integer: true, about: "number of balls" },
    },
    variants: {
      S6N1: { size: 6, obstacles: 1 },
      S8N2: { size: 8, obstacles: 2 },
      S10N3: { size: 10, obstacles: 3 },
    },
    make: (p) => new MiniGrid(dynamicObstacles(p["size"]!, p["obstacles"]!)),
  },
  {
    name: "CustomFetch",
    about: "Pick up a yellow key and nothing else.",
    parameters: {
      size: size(5),
      targets: { default: 1, min: 1, max: 4, integer: true, about: "number of yellow keys" },
      distractors: { default: 2, min: 0, max: 5, integer: true, about: "number of balls and boxes" },
    },
    variants: {
      S5T1N2: { size: 5, targets: 1, distractors: 2 },
      S8T1N2: { size: 8, targets: 1, distractors: 2 },
      S10T2N4: { size: 10, targets: 2, distractors: 4 },
    },
    make: (p) => new MiniGrid(fetchKey(p["size"]!, p["targets"]!, p["distractors"]!)),
  },
  {
    name: "CustomUnlock",
    about: "Find the key and open the door between two rooms.",
    parameters: { size: { ...size(5), about: "side of a room" } },
    variants: { S5: { size: 5 }, S7: { size: 7 }, S9: { size: 9 } },
    make: (p) => new MiniGrid(unlock(p["size"]!)),
  },
  {
    name: "DoorKey",
    about: "Take the key, open the door and reach the goal.",
    parameters: { size: size(5) },
    variants: { S5: { size: 5 }, S6: { size: 6 }, S7: { size: 7 } },
    make: (p) => new MiniGrid(doorKey(p["size"]!)),
  },
];
