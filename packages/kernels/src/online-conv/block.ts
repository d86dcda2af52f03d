/** Inputs that outputs read directly; older ones reach them through whole blocks. */
export const ONLINE_BLOCK = 32;
