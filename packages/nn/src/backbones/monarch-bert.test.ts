import {
  abs,
  concat,
  full,
  gradients,
  matmul,
  max,
  narrow,
  random,
  relu,
  sub,
  sum,
  tensor,
  transpose,
  type Tensor,
} from "@everlong/core";
import { crossEntropy } from "@everlong/kernels";
import { expect, test } from "vitest";
import { loadState, stateDict } from "../layer.ts";
import { MonarchBert, renameMonarchBert, type MonarchBertOptions } from "./monarch-bert.ts";

const make = (more: Partial<MonarchBertOptions> = {}): MonarchBert =>
  new MonarchBert({
    key: random.key(1),
    vocabSize: 19,
    dim: 8,
    maxLength: 24,
    layers: 2,
    filter: { width: 8 },
    ...more,
  });
const ids = (seed: number, time: number): Tensor =>
  tensor([Array.from({ length: time }, (_, t) => (t * t * seed + 3) % 19)], { dtype: "i32" });
const distance = (a: Tensor, b: Tensor): Promise<number> => max(abs(sub(a, b))).item();

test("lookups do not train the token of padding; the head does", async () => {
  const a = ids(5, 20);
  const row = async (of: (model: MonarchBert) => Tensor, token: number): Promise<number> => {
    const model = make({ paddingToken: 3, gated: false });
    const table = model.bert.embeddings.wordEmbeddings.weight.value;
    const [g] = gradients(sum(of(model)), [table]);
    return max(abs(narrow(g!, 0, token, token + 1))).item();
  };
  // Token 3 stands first.
  const hidden = (model: MonarchBert): Tensor => narrow(model.hidden(a), 2, 0, 1);
  expect(await row(hidden, 3)).toBe(0);
  expect(await row(hidden, 8)).toBeGreaterThan(1e-6);
  expect(await row((model) => narrow(model.forward(a), 2, 3, 4), 3)).toBeGreaterThan(1e-6);
  expect(make({ gated: false }).bert.encoder.layer[0]!.mlp.wo.weight.shape).toEqual([4, 2, 8]);
});

test("dense maps are matrices, whose product is that of one block", async () => {
  const [dense, one] = [make({ blocks: "dense", inner: 12 }), make({ blocks: 1, inner: 12 })];
  expect(dense.bert.encoder.layer[1]!.mlp.gatedLayers.weight.shape).toEqual([24, 8]);
  expect(dense.bert.encoder.layer[1]!.mlp.gatedLayers.bias).toBeUndefined();
  const other = make({ blocks: "dense", inner: 12, key: random.key(5) });
  expect(await distance(dense.forward(ids(2, 9)), other.forward(ids(2, 9)))).toBeGreaterThan(1e-3);
  const state = [...stateDict(one)].map(
    ([name, value]) => [name, name.includes(".mlp.") && value.rank === 3 ? value.squeeze(0) : value] as const,
  );
  loadState(other, state);
  expect(await distance(other.forward(ids(2, 9)), one.forward(ids(2, 9)))).toBeLessThan(1e-12);
});

test("every position sees both sides; a masked token's loss is finite", async () => {
  const model = make();
  const a = ids(5, 20);
  const b = concat([narrow(a, 1, 0, 19), full([1, 1], 7, { dtype: "i32" })], 1);
  const [x, y] = [model.forward(a), model.forward(b)];
  expect(x.shape).toEqual([1, 20, 19]);
  expect(await distance(narrow(x, 1, 0, 1), narrow(y, 1, 0, 1))).toBeGreaterThan(1e-8);
  const targets = tensor([Array.from({ length: 20 }, (_, t) => (t === 4 ? 3 : -100))], { dtype: "i32" });
  const loss = await crossEntropy(x, targets, { ignoreIndex: -100 }).item();
  expect(loss).toBeGreaterThan(0);
  expect(loss).toBeLessThan(10);
});

test.each([{ before: 0 }, { before: 5 }, { before: 9 }])(
  "hidden states do not depend on padding: %o",
  async ({ before }) => {
    const model = make({ inputNorm: true });
    const real = ids(3, 13);
    const junk = full([1, 9], 11, { dtype: "i32" });
    const parts = [narrow(junk, 1, 0, before), real, narrow(junk, 1, before, 9)].filter((t) => t.size > 0);
    const mask = tensor([Array.from({ length: 22 }, (_, t) => t >= before && t < before + 13)], {
      dtype: "bool",
    });
    const padded = narrow(model.hidden(concat(parts, 1), { mask }), 1, before, before + 13);
    expect(await distance(padded, model.hidden(real))).toBeLessThan(1e-11);
  },
);

test("state loads from m2's names", async () => {
  const [from, to] = [make(), make({ key: random.key(2) })];
  const original = [...stateDict(from)].map(
    ([name, value]) => [name.replace(/layer_norm(?=\.)/, "LayerNorm"), value] as const,
  );
  expect(original.map(([name]) => name)).toEqual(
    expect.arrayContaining([
      "bert.embeddings.word_embeddings.weight",
      "bert.embeddings.LayerNorm.weight",
      "bert.encoder.layer.1.attention.filter_fn2.implicit_filter_rev.0.weight",
      "bert.encoder.layer.0.mlp.gated_layers.weight",
      "bert.encoder.layer.0.mlp.layernorm.bias",
      "cls.predictions.transform.LayerNorm.bias",
      "cls.predictions.decoder.bias",
    ]),
  );
  const tied = ["cls.predictions.decoder.weight", original[0]![1]] as const;
  loadState(to, [...original, tied], { rename: renameMonarchBert });
  expect(await distance(to.forward(ids(2, 9)), from.forward(ids(2, 9)))).toBe(0);
  expect(() => make().forward(ids(1, 25))).toThrow(/up to 24/);
});

test("the head's activation", async () => {
  const [bent, cut] = [make(), make({ headActivation: "relu" })];
  const given = ids(1, 5);
  const hidden = cut.hidden(given);
  const { transform } = cut.cls.predictions;
  const z = transform.layerNorm.forward(relu(transform.dense.forward(hidden)));
  const weight = cut.bert.embeddings.wordEmbeddings.weight.value;
  const expected = matmul(z, transpose(weight));
  expect(await max(abs(sub(cut.forward(given), expected))).item()).toBeLessThan(1e-12);
  expect(await max(abs(sub(cut.forward(given), bent.forward(given)))).item()).toBeGreaterThan(1e-6);
});
