/** A lifetime metric as reports describe it. */
export interface MetricInfo {
  /** Key in results. */
  readonly key: string;
  readonly title: string;
  /** What it measures, in a sentence. */
  readonly about: string;
  /** Value from which lifelong learning is shown (arXiv 2201.08278); null where none is defined. */
  readonly success: number | null;
  readonly needs: "training" | "evaluation" | "expert";
}

/** The eight metrics of the L2M programme; maintenance and transfer have two forms each (arXiv 2201.08278, section 5). */
export const METRICS: readonly MetricInfo[] = [
  {
    key: "perf_recovery",
    title: "Performance recovery",
    about: "Minus the trend of the time needed to regain the level of the previous training.",
    success: null,
    needs: "training",
  },
  {
    key: "avg_train_perf",
    title: "Mean training performance",
    about: "Mean over training regimes of their mean performance.",
    success: null,
    needs: "training",
  },
  {
    key: "avg_eval_perf",
    title: "Mean evaluation performance",
    about: "Mean over evaluation regimes of their mean performance.",
    success: null,
    needs: "evaluation",
  },
  {
    key: "perf_maintenance_mrlep",
    title: "Performance maintenance (MRLEP)",
    about: "Later evaluations minus the first one after the latest training; below 0 is forgetting.",
    success: 0,
    needs: "evaluation",
  },
  {
    key: "perf_maintenance_mrtlp",
    title: "Performance maintenance (MRTLP)",
    about: "Later evaluations minus the end of the latest training; below 0 is forgetting.",
    success: 0,
    needs: "evaluation",
  },
  {
    key: "forward_transfer_ratio",
    title: "Forward transfer (ratio)",
    about: "Evaluation of a task not yet trained, after over before the training of another.",
    success: 1,
    needs: "evaluation",
  },
  {
    key: "backward_transfer_ratio",
    title: "Backward transfer (ratio)",
    about: "Evaluation of a task already trained, after over before the training of another.",
    success: 1,
    needs: "evaluation",
  },
  {
    key: "forward_transfer_contrast",
    title: "Forward transfer (contrast)",
    about: "Difference over sum of the evaluations after and before the training of another task.",
    success: 0,
    needs: "evaluation",
  },
  {
    key: "backward_transfer_contrast",
    title: "Backward transfer (contrast)",
    about: "The same for a task already trained.",
    success: 0,
    needs: "evaluation",
  },
  {
    key: "ste_rel_perf",
    title: "Performance relative to experts",
    about: "Area of the training curve over that of a single-task expert.",
    success: 1,
    needs: "expert",
  },
  {
    key: "sample_efficiency",
    title: "Sample efficiency",
    about: "Saturation and time to it, relative to a single-task expert.",
    success: 1,
    needs: "expert",
  },
];

/** Metric by key. */
export function metricInfo(key: string): MetricInfo | undefined {
  return METRICS.find((metric) => metric.key === key);
}
