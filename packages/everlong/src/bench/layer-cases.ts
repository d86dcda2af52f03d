// StripedHyena 2's operators, Monarch Mixer's layers and S4ND, forward and with all gradients, beside the same layers in PyTorch.

import { gradients, mul, random, reshape, sum, type Device, type Tensor } from "@everlong/core";
import { BlockDiagonalLinear, MonarchMixer, S4nd, StripedHyena, parameters } from "@everlong/nn";
import { operatorCase, ourPeer, type Work } from "./operator-case.ts";
import { torchPeer } from "./peers.ts";
import type { BenchCase } from "./suite.ts";

const DIM = 192;
const BATCH = 4;

interface Forward {
  forward(x: Tensor): Tensor;
}

/** A layer on the device of its input, made once. */
function layerWork(make: (key: Tensor) => Forward, gradientsToo: boolean): (length: number) => Work {
  const made = new Map<Device, Forward>();
  const on = (x: Tensor): Forward => {
    const known = made.get(x.device) ?? make(random.key(5, x.device));
    made.set(x.device, known);
    return known;
  };
  return (length) => {
    const shape = [BATCH, length, DIM];
    if (!gradientsToo) return { shapes: [shape], fn: (x) => on(x!).forward(x!) };
    return {
      shapes: [shape, shape],
      fn: (x, probe) => {
        const layer = on(x!);
        const wrt = [x!, ...[...parameters(layer).values()].map((v) => v.value)];
        return gradients(sum(mul(layer.forward(x!), probe!)), wrt);
      },
    };
  };
}

/** A layer of images on the same rows: images of 32 rows of pixels where the length allows it. */
const images = (layer: S4nd): Forward & { readonly layer: S4nd } => ({
  layer,
  forward: (x) => {
    const [batch, length, channels] = x.shape as [number, number, number];
    const height = length % 32 === 0 ? 32 : 8;
    const y = layer.forward(reshape(x, [batch, height, length / height, channels]));
    return reshape(y, [batch, length, channels]);
  },
});

const LAYERS: Readonly<Record<string, (key: Tensor) => Forward>> = {
  "striped-short": (key) => new StripedHyena({ key, dim: DIM, stripe: "short", groups: 48 }),
  "striped-medium": (key) => new StripedHyena({ key, dim: DIM, stripe: "medium", groups: 48, scale: 1 }),
  "striped-long": (key) => new StripedHyena({ key, dim: DIM, stripe: "long", groups: 48 }),
  "monarch-mixer": (key) =>
    new MonarchMixer({ key, dim: DIM, maxLength: 2048, filter: { embeddingDim: 5, width: 128 } }),
  s4nd: (key) => images(new S4nd({ key, dim: DIM, axes: 2 })),
};

/** Layers at the length of a case; the map of widths at its number of rows. */
export const layerCases = (): readonly BenchCase[] => [
  ...Object.entries(LAYERS).flatMap(([name, make]) =>
    [false, true].map((gradientsToo) => {
      const length = 1536;
      const suffix = gradientsToo ? " and gradients" : "";
      return operatorCase(
        `${name}${suffix}, ${BATCH} x ${length} x ${DIM}`,
        layerWork(make, gradientsToo),
        length,
        [torchPeer(`${name}${gradientsToo ? "-gradients" : ""}`, length, 1, "layers_peer.py")],
      );
    }),
  ),
  operatorCase(
    `block-diagonal map of ${DIM} to ${4 * DIM} in 4 blocks, ${BATCH} x 1536 rows`,
    layerWork((key) => new BlockDiagonalLinear({ key, inputs: DIM, outputs: 4 * DIM }), false),
    1536,
    [
      ourPeer(
        "ours dense",
        layerWork(
          (key) => new BlockDiagonalLinear({ key, inputs: DIM, outputs: 4 * DIM, blocks: 1 }),
          false,
        )(1536),
      ),
      torchPeer("block-diagonal", 1536, 1, "layers_peer.py"),
    ],
  ),
];
