import type { Cell, Color } from "./cells.ts";
import type { World } from "./world.ts";

const ANSI: Readonly<Record<Color, number>> = {
  red: 31,
  green: 32,
  blue: 34,
  purple: 35,
  yellow: 33,
  grey: 90,
};
const CSS: Readonly<Record<Color, string>> = {
  red: "#ff0000",
  green: "#00ff00",
  blue: "#0000ff",
  purple: "#7027c3",
  yellow: "#ffff00",
  grey: "#646464",
};
const LETTERS: Readonly<Record<string, string>> = {
  wall: "W",
  key: "K",
  ball: "A",
  box: "B",
  goal: "G",
  lava: "V",
};
const ARROWS = ">v<^";

/** Two characters a cell: kind and colour letter; doors are `L_` locked, `D_` closed, `__` open. */
export function drawText(world: World): string {
  const rows = Array.from({ length: world.height }, (_, y) =>
    Array.from({ length: world.width }, (_, x) => {
      if (world.agent?.[0] === x && world.agent[1] === y) {
        return paint(31, ARROWS[world.direction]!.repeat(2));
      }
      const cell = world.get(x, y);
      return cell === null ? "  " : paint(ANSI[cell.color], cellText(cell));
    }).join(""),
  );
  return rows.join("\n");
}

function cellText(cell: NonNullable<Cell>): string {
  const color = cell.color[0]!.toUpperCase();
  if (cell.door === "open") return "__";
  if (cell.door !== undefined) return (cell.door === "locked" ? "L" : "D") + color;
  return LETTERS[cell.kind]! + color;
}

function paint(code: number, text: string): string {
  return `\u001b[${code}m${text}\u001b[0m`;
}

const TILE = 32;

/** A tile of 32 pixels a cell. */
export function drawSvg(world: World): string {
  const parts: string[] = [];
  for (let y = 0; y < world.height; y++) {
    for (let x = 0; x < world.width; x++) {
      parts.push(`<g transform="translate(${x * TILE} ${y * TILE})">${tile(world.get(x, y))}</g>`);
    }
  }
  if (world.agent !== null) {
    const [x, y] = world.agent;
    const turn = world.direction * 90;
    parts.push(
      `<g transform="translate(${x * TILE} ${y * TILE}) rotate(${turn} 16 16)"><path d="M4 6 L28 16 L4 26 Z" fill="#ff0000"/></g>`,
    );
  }
  const [w, h] = [world.width * TILE, world.height * TILE];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}">` +
    `<rect width="${w}" height="${h}" fill="#000"/>${parts.join("")}</svg>`
  );
}

function tile(cell: Cell): string {
  const grid = '<path d="M0 32 V0 H32" fill="none" stroke="#646464"/>';
  if (cell === null) return grid;
  const color = CSS[cell.color];
  switch (cell.kind) {
    case "wall":
    case "goal":
      return `<rect width="32" height="32" fill="${color}"/>`;
    case "lava":
      return '<rect width="32" height="32" fill="#ff8000"/><path d="M3 10 l6 4 7-4 7 4 6-4 M3 20 l6 4 7-4 7 4 6-4" fill="none" stroke="#000"/>';
    case "door":
      return cell.door === "open"
        ? `${grid}<rect x="27" y="1" width="4" height="30" fill="none" stroke="${color}" stroke-width="2"/>`
        : `<rect width="32" height="32" fill="${color}"/><rect x="3" y="3" width="26" height="26" fill="${cell.door === "locked" ? `${color}55` : "#000"}" stroke="#000" stroke-width="2"/><circle cx="24" cy="16" r="3" fill="${cell.door === "locked" ? "#000" : color}"/>`;
    case "key":
      return `${grid}<circle cx="18" cy="9" r="5" fill="none" stroke="${color}" stroke-width="3"/><path d="M18 14 V28 M18 27 H12 M18 22 H12" stroke="${color}" stroke-width="3" fill="none"/>`;
    case "ball":
      return `${grid}<circle cx="16" cy="16" r="10" fill="${color}"/>`;
    case "box":
      return `${grid}<path d="M5 5 H27 V27 H5 Z M5 16 H27" fill="none" stroke="${color}" stroke-width="3"/>`;
    default:
      return grid;
  }
}
