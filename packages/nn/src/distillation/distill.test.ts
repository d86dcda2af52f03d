import { abs, div, max, narrow, random, slice, stack, sub, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { LanguageModel } from "../backbones/language-model.ts";
import { generate } from "../generation/generate.ts";
import type { Mixer, MixerState } from "../mixer.ts";
import { H3Conv } from "../mixers/h3-conv.ts";
import { HyenaExperts } from "../mixers/hyena-experts.ts";
import { Hyena } from "../mixers/hyena.ts";
import { LongConv } from "../mixers/long-conv.ts";
import { MultiHeadHyena } from "../mixers/multi-head-hyena.ts";
import { distill, type LongFilterLayer } from "./distill.ts";

const [DIM, LENGTH, PROMPT] = [4, 48, 11];
const key = random.key(1);
const shape = { key, dim: DIM, maxLength: LENGTH };
const layers: readonly (readonly [string, number, () => Mixer & LongFilterLayer])[] = [
  ["hyena", 2, () => new Hyena({ ...shape, order: 3 })],
  ["hyena-experts", 1, () => new HyenaExperts({ ...shape, experts: 2 })],
  ["mh-hyena", 1, () => new MultiHeadHyena({ ...shape, heads: 2, projectionGroups: 1 })],
  ["long-conv", 1, () => new LongConv({ ...shape, filter: { smoothing: "time" } })],
  ["h3-conv", 2, () => new H3Conv({ ...shape, headDim: 2 })],
];

/** Steps behind a prompt, and the last state. */
function run(layer: Mixer, x: Tensor): { y: Tensor; state: MixerState } {
  let { state }: { state: MixerState } = layer.prefill!(narrow(x, 1, 0, PROMPT), { capacity: LENGTH });
  const ys: Tensor[] = [];
  for (let t = PROMPT; t < x.shape[1]!; t++) {
    const out = layer.step!(slice(x, [null, t]), state);
    state = out.state;
    ys.push(out.y);
  }
  return { y: stack(ys, 1), state };
}

test.each(layers)("%s: a fixed state that errs as little as its filters", async (_, filters, make) => {
  const layer = make();
  const x = random.normal(random.key(2), [2, 30, DIM]);
  const exact = narrow(layer.forward(x), 1, PROMPT, 30);
  const error = async (y: Tensor): Promise<number> =>
    Number(await div(max(abs(sub(y, exact))), max(abs(exact))).item());
  const grown = layer.stateBytes(LENGTH);
  const report = await distill(layer, { modes: 8 });
  expect(report.map((r) => r.filter)).toEqual(Array.from({ length: filters }, (_, i) => i));
  const worst = Math.max(...report.map((r) => r.worst));
  const { y, state } = run(layer, x);
  expect(await error(y)).toBeLessThan(3 * worst + 1e-9);
  // Of one sequence, whatever its length.
  const held = Object.entries(state).reduce((n, [, t]) => n + (4 * t.size) / 2, 0);
  expect(layer.stateBytes(10_000)).toBe(held);
  expect(held).not.toBe(grown);
  layer.modal = undefined;
  expect(await error(run(layer, x).y)).toBeLessThan(1e-10);
});

test("a distilled model goes on beyond the longest input; one without long filters cannot be distilled", async () => {
  const make = (layer: string): LanguageModel =>
    new LanguageModel({ key, vocabSize: 7, dim: DIM, maxLength: 40, layers: [layer, "mlp", layer] });
  const model = make("hyena");
  const options = { maxTokens: 50, temperature: 0 };
  await expect(generate(model, [[1, 2, 3]], options)).rejects.toThrow(
    /must hold the prompt and fit the filter/,
  );
  const report = await distill(model, { modes: 6 });
  expect(report.map((r) => [r.layer, r.kind])).toEqual([
    [0, "Hyena"],
    [1, "Hyena"],
  ]);
  expect((await generate(model, [[1, 2, 3]], options))[0]).toHaveLength(50);
  await expect(distill(make("s4d"), { modes: 4 })).rejects.toThrow(/no layer with a long filter/);
});
