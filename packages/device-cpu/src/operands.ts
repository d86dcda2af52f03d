// Where the operands of a step lie.

import { DTYPES } from "@everlong/core";
import type { Frame } from "./frame.ts";
import type { StepOperand } from "./kernel-step.ts";

/** Byte address of an operand's first element. */
export const addressOf = (frame: Frame, o: StepOperand): number =>
  frame.addresses[o.buffer]! + o.view.offset * DTYPES[o.dtype].bytes;
