import { expect, test } from "vitest";
import { figure, line } from "./bench-command.ts";

test("figures have three digits that count", () => {
  const texts = [512_558, 512.56, 99.95, 9.8765, 0.86, 0.08649, 0.000_123_4, 0].map(figure);
  expect(texts).toEqual(["512558", "513", "100.0", "9.88", "0.860", "0.0865", "0.000123", "0"]);
});

test("a peer of the same work shows how much better ours is, one of less work how much of it ours is", () => {
  const report = { suite: "some", case: "six", unit: "ms", limit: null, error: 0, ours: 5 };
  const text = line({ ...report, peers: { same: 10, one: 2, none: "not there" }, most: { one: 3 } });
  expect(text).toMatch(
    /same 10\.0 \(2\.00x\) · one 2\.00 \(ours is 2\.50 of it, to be at most 3\) · none: peer missing \(not there\)$/,
  );
});
