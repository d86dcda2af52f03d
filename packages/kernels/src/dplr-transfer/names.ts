// What the transfer function of a diagonal plus low-rank state space is made of.

export const TRANSFER_INPUTS = ["bRe", "bIm", "cRe", "cIm", "pRe", "pIm", "aRe", "aIm", "dt"] as const;
export type TransferInput = (typeof TRANSFER_INPUTS)[number];

/** Ranks whose elimination the kernels unroll; HiPPO's need 1 to 3. */
export const MOST_RANK = 4;
