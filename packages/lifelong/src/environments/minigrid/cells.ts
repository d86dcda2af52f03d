// Objects of the grid world and their codes in observations (MiniGrid, Chevalier-Boisvert et al.).

export const KINDS = [
  "unseen",
  "empty",
  "wall",
  "floor",
  "door",
  "key",
  "ball",
  "box",
  "goal",
  "lava",
  "agent",
] as const;
export type Kind = (typeof KINDS)[number];

/** Colours in the order of their codes. */
export const COLORS = ["red", "green", "blue", "purple", "yellow", "grey"] as const;
export type Color = (typeof COLORS)[number];

/** Colours in the order in which levels draw them: alphabetical. */
export const COLOR_NAMES: readonly Color[] = [...COLORS].sort();

export type DoorState = "open" | "closed" | "locked";
const DOOR_STATES: readonly DoorState[] = ["open", "closed", "locked"];

/** One object; objects have identity, since they move and are carried. */
export interface Thing {
  readonly kind: Kind;
  readonly color: Color;
  /** Doors only. */
  door?: DoorState;
  /** Whether an agent can pick it up. */
  readonly portable: boolean;
}

/** A cell: a thing, or nothing. */
export type Cell = Thing | null;

const make = (kind: Kind, color: Color, portable = false): Thing => ({ kind, color, portable });
export const wall = (): Thing => make("wall", "grey");
export const goal = (): Thing => make("goal", "green");
export const lava = (): Thing => make("lava", "red");
export const key = (color: Color): Thing => make("key", color, true);
export const ball = (color: Color): Thing => make("ball", color, true);
export const box = (color: Color): Thing => make("box", color, true);
/** A blue ball that cannot be picked up. */
export const obstacle = (): Thing => make("ball", "blue");
export const door = (color: Color, state: DoorState): Thing => ({ ...make("door", color), door: state });

/** Whether the agent can stand on it. */
export function passable(cell: Cell): boolean {
  return cell === null || cell.kind === "goal" || cell.kind === "lava" || cell.door === "open";
}

/** Whether one sees what is behind it. */
export function transparent(cell: Cell): boolean {
  return cell === null || (cell.kind !== "wall" && (cell.kind !== "door" || cell.door === "open"));
}

/** Code of a cell: kind, colour, state. */
export function encodeCell(cell: Cell): readonly [number, number, number] {
  if (cell === null) return [KINDS.indexOf("empty"), 0, 0];
  const state = cell.door === undefined ? 0 : DOOR_STATES.indexOf(cell.door);
  return [KINDS.indexOf(cell.kind), COLORS.indexOf(cell.color), state];
}
