import { expect, test } from "vitest";
import {
  device,
  gradients,
  recompute,
  scan,
  tensor,
  Variable,
  withDevice,
  zeros,
  type Tensor,
} from "./index.ts";

test("a variable that starts as a fill keeps its gradient inside traced bodies", async () => {
  await withDevice(device("reference"), async () => {
    const bias = new Variable(zeros([3]));
    const x = tensor([1, 2, 3]);
    const inBody = recompute((t: Tensor) => t.add(bias.value).square())(x).sum();
    const [slope] = gradients(inBody, [bias.value]);
    expect(await slope!.toArray()).toEqual([2, 4, 6]);

    const [last] = scan(
      (carry: Tensor, t: Tensor) => [carry.add(t.mul(bias.value)), null] as const,
      x,
      tensor([
        [1, 1, 1],
        [2, 2, 2],
      ]),
    );
    const [scanned] = gradients(last.sum(), [bias.value]);
    expect(await scanned!.toArray()).toEqual([3, 3, 3]);
  });
});
