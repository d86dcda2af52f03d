// flash-linear-attention's protocol for cached generation (its run_test_generation), over every mixer with steps: rows that
// start at random places of a left-padded batch, fed in four chunks, against each row alone through `forward`.

import "@everlong/device-cpu";
import {
  abs,
  compile,
  max,
  narrow,
  random,
  slice,
  sub,
  tensor,
  withDevice,
  type Tensor,
} from "@everlong/core";
import { describe, expect, test } from "vitest";
import { LanguageModel, type ModelState } from "../backbones/language-model.ts";
import { mixers } from "../registry.ts";

const [BATCH, LENGTH, CHUNKS, VOCABULARY] = [4, 92, 4, 19];
const CHUNK = LENGTH / CHUNKS;

/** Mixers that read the future have steps only when told not to. */
const optionsOf = (entry: (typeof mixers)[number]): Record<string, boolean> =>
  "bidirectional" in entry.options ? { bidirectional: false } : {};
const shape = { key: random.key(1), dim: 32, maxLength: LENGTH };
const stepping = mixers.filter((entry) => "step" in entry.build(shape, optionsOf(entry)));

test("all mixers have steps", () => expect(stepping.map((e) => e.name)).toEqual(mixers.map((e) => e.name)));

describe.each(stepping.map((e) => [e.name, e] as const))("%s", (name, entry) => {
  test("chunks through the cache are what each row gives alone", () =>
    withDevice("cpu", async () => {
      const model = new LanguageModel({
        key: random.key(7),
        vocabSize: VOCABULARY,
        dim: 32,
        maxLength: LENGTH,
        layers: [
          { layer: name, options: optionsOf(entry) },
          "mlp",
          { layer: name, options: optionsOf(entry) },
        ],
      });
      const ids = random.integers(random.key(8), [BATCH, LENGTH], 0, VOCABULARY);
      const drawn = await random.integers(random.key(name.length), [BATCH], 0, CHUNK).data();
      const starts = Array.from(drawn, (n, row) => (row === 0 ? 0 : Number(n)));
      const real = starts.flatMap((from) => Array.from({ length: CHUNK }, (_, t) => t >= from));
      const mask = tensor(real, { dtype: "bool" }).reshape([BATCH, CHUNK]);
      const rows = starts.map((from, row) =>
        model.forward(narrow(narrow(ids, 0, row, row + 1), 1, from, LENGTH)),
      );
      const worst = async (logits: Tensor, from: number): Promise<void> => {
        for (const [row, start] of starts.entries()) {
          const got = narrow(slice(logits, [row]), 0, Math.max(0, start - from), logits.shape[1]!);
          const at = Math.max(from, start) - start;
          const want = narrow(slice(rows[row]!, [0]), 0, at, at + got.shape[0]!);
          const scale = Number(await max(abs(want)).item());
          const error = Number(await max(abs(sub(got, want))).item());
          expect(error / scale, `row ${row} from ${from}`).toBeLessThan(TOLERANCE);
        }
      };
      let { logits, state } = model.prefill(narrow(ids, 1, 0, CHUNK), { capacity: LENGTH, mask });
      await worst(logits, 0);
      const step = compile((token: Tensor, s: ModelState) => model.step(token, s));
      for (let t = CHUNK; t < LENGTH; t++) {
        ({ logits, state } = step(slice(ids, [null, t]), state));
        if ((t + 1) % CHUNK === 0 || t % 11 === 0) await worst(logits.reshape([BATCH, 1, VOCABULARY]), t);
      }
      expect(step.traces).toBe(1);
      step.dispose();
    }));
});

/** fla allows 2e-3; long convolutions and recurrences here stay within 1e-4 of the largest logit. */
const TOLERANCE = 1e-4;
