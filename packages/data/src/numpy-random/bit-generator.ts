/**
 * A source of random bits as numpy's distributions see one. The distributions in this folder take their draws
 * through it in exactly numpy's order, so that equal bits give equal numbers.
 */
export interface BitGenerator {
  /** The next 32 bits, as an unsigned integer. */
  uint32(): number;
  /** The next 64 bits, unsigned. */
  uint64(): bigint;
  /** The next double in [0, 1), of 53 random bits. */
  double(): number;
}
