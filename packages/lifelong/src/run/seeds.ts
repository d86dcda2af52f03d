import { randomBytes } from "node:crypto";
import { ConfigError } from "@everlong/core";
import { RandomStream, type Seed } from "../random/random-stream.ts";

/** Seeds of one lifetime. */
export interface LifetimeSeeds {
  readonly lifetime: number;
  readonly agent: bigint;
  readonly curriculum: bigint;
}

/** A seed from the system's entropy, 64 bits. */
export function freshSeed(): bigint {
  return randomBytes(8).readBigUInt64LE();
}

/**
 * Seeds of lifetimes `first` to `first + count - 1`: draw k of each of the two streams belongs to lifetime k, so a
 * lifetime can be run alone.
 */
export function lifetimeSeeds(
  agentSeed: Seed,
  curriculumSeed: Seed,
  first: number,
  count: number,
): LifetimeSeeds[] {
  const [agent, curriculum] = [new RandomStream(agentSeed), new RandomStream(curriculumSeed)];
  const all = Array.from({ length: first + count }, (_, lifetime) => ({
    lifetime,
    agent: agent.raw(),
    curriculum: curriculum.raw(),
  }));
  return all.slice(first);
}

/** A seed from text. @throws ConfigError unless it is a non-negative integer */
export function parseSeed(name: string, text: string): bigint {
  if (!/^\d+$/.test(text)) {
    throw new ConfigError("run", `${name} is not a seed`, { expected: "a non-negative integer", got: text });
  }
  return BigInt(text);
}
