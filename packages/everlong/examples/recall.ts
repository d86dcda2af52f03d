import { cpu, kernels, mad, nn, random, tensor, train } from "everlong";

cpu.enableWide();
const { train: data } = mad.generateSplits({ task: "in-context-recall" }, { train: 2048, test: 256 });

const model = new nn.LanguageModel({
  key: random.key(1),
  vocabSize: 16,
  dim: 64,
  maxLength: data.length,
  layers: ["hyena", "swiglu", "attention", "swiglu"],
});
const batches = mad.shuffledBatches(data, 32, 1).map(({ inputs, targets, rows }) => ({
  inputs: tensor(inputs, [rows, data.length]),
  targets: tensor(targets, [rows, data.length]),
}));
await train.fit({
  optimizer: new train.AdamW(model, { learningRate: 1e-3, weightDecay: 0.1 }),
  loss: ({ inputs, targets }) => kernels.crossEntropy(model.forward(inputs!), targets!),
  batches,
  steps: 50,
  onStep: ({ step, loss }) => console.log(step, loss.toFixed(3)),
});
