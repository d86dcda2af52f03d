// What the transfer function of a diagonal plus low-rank state space is made of.

export const TRANSFER_INPUTS = ["bRe", "bIm", "cRe", "cIm", "pRe", "pIm", "aRe", "aIm", "dt"] as const;
export type TransferInput = (typeof TRANSFER_INPUTS)[number];
