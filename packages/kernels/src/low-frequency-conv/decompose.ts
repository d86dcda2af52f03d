// The low-frequency convolution out of dense ones, for devices without a kernel: filters are filtered once, circularly, by the sum of the
// kept waves; the result is a two-sided filter.

import {
  broadcastTo,
  cast,
  Complex,
  concat,
  iota,
  irfft,
  less,
  narrow,
  pad,
  permute,
  reshape,
  squeeze,
  unsqueeze,
  zerosLike,
  type Tensor,
} from "@everlong/core";
import { fftConv } from "../fft-conv/fft-conv.ts";
import { axesOf } from "../fft-conv/sequences.ts";
import { named, wideDtype } from "../inputs.ts";
import type { LowFrequencyConvParams } from "./op.ts";

export function lowFrequencyByWaves(inputs: readonly Tensor[], params: LowFrequencyConvParams): Tensor[] {
  const { u, k, preGate, postGate } = named(params.inputs, inputs);
  const { layout, bins, adjoint } = params;
  const turn = (t: Tensor): Tensor => (layout === "bdl" ? t : permute(t, [1, 0]));
  const length = u!.shape[axesOf(layout).time]!;
  const rows = turn(k!);
  const [channels, taps] = rows.shape as [number, number];
  const n = 2 * length;
  const wide = pad(rows, [
    [0, 0],
    [0, n - taps],
  ]);
  // Recorded arithmetic: decompositions hold no values of their own.
  const kept = cast(less(iota([1, length + 1], 1, { device: k!.device }), bins), wideDtype(u!.dtype));
  const waves = irfft(new Complex(kept, zerosLike(kept)), { n });
  const filtered = (): Tensor =>
    squeeze(fftConv(unsqueeze(wide, 0), broadcastTo(waves, [channels, n]), { mode: "circular" }), 0);
  const period = bins > length ? wide : filtered();
  const start = narrow(period, 1, 0, 1);
  const ahead = narrow(period, 1, 1, length);
  const behind = narrow(period, 1, length + 1, n).flip(1);
  const options = {
    layout,
    ...(preGate ? { preGate } : {}),
    ...(postGate ? { postGate } : {}),
  };
  if (length === 1) return [fftConv(u!, turn(reshape(start, [channels, 1])), options)];
  const [forward, backward] = adjoint ? [behind, ahead] : [ahead, behind];
  return [
    fftConv(u!, turn(concat([start, forward], 1)), {
      ...options,
      mode: "two-sided",
      backward: turn(backward),
      firstBackwardLag: -1,
    }),
  ];
}
