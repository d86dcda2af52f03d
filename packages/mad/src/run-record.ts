// What a finished MAD run leaves behind; reports and tables are made from these.

/** A point of a learning curve, measured on held-out examples. */
export interface CurvePoint {
  readonly step: number;
  readonly seconds: number;
  /** Mean training loss since the last point. */
  readonly trainLoss: number;
  readonly testLoss: number;
  /** Token accuracy, 0 to 1. */
  readonly accuracy: number;
}

export interface RunRecord {
  /** Architecture's short name, as in the tables. */
  readonly architecture: string;
  /** Layer names in order. */
  readonly layers: readonly string[];
  readonly task: string;
  readonly seed: number;
  readonly curve: readonly CurvePoint[];
  /** Share of counted test positions predicted right. */
  readonly tokenAccuracy: number;
  /** Mean over classes of the recall, over the whole test set. */
  readonly macroAccuracy: number;
  readonly testLoss: number;
  /** Trainable elements, embeddings included. */
  readonly parameters: number;
  /** Bytes of recurrent state (or cache) for one sequence of the task's length. */
  readonly stateBytes: number;
  /** Training tokens per second, forward, backward and update. */
  readonly tokensPerSecond: number;
  readonly steps: number;
  readonly seconds: number;
  /** Every setting of the run. */
  readonly config: Readonly<Record<string, unknown>>;
}
