import { expect, test } from "vitest";
import { figure } from "./bench-command.ts";

test("figures have three digits that count", () => {
  const texts = [512_558, 512.56, 99.95, 9.8765, 0.86, 0.08649, 0.000_123_4, 0].map(figure);
  expect(texts).toEqual(["512558", "513", "100.0", "9.88", "0.860", "0.0865", "0.000123", "0"]);
});
