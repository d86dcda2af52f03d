// Charts as SVG text, drawn by echarts on the server side, so that the page needs no script.

import * as echarts from "echarts";
import type { RunRecord } from "../run-record.ts";

/** Colours that stay apart for colour-blind readers (Okabe & Ito 2008). */
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8a8a8a"];
const FONT = "system-ui, sans-serif";

function draw(option: echarts.EChartsCoreOption, width: number, height: number): string {
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width, height });
  chart.setOption({ animation: false, textStyle: { fontFamily: FONT }, color: COLOURS, ...option });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

type Measure = "accuracy" | "testLoss";

/** Learning curves of one task, one line an architecture. */
export function curveChart(records: readonly RunRecord[], measure: Measure): string {
  const isShare = measure === "accuracy";
  return draw(
    {
      grid: { left: 56, right: 16, top: 34, bottom: 44 },
      // Text is measured without a browser here, too narrow by a little: the gap makes up for it.
      legend: {
        top: 0,
        icon: "roundRect",
        itemWidth: 14,
        itemHeight: 4,
        itemGap: 30,
        textStyle: { fontSize: 12 },
      },
      xAxis: { type: "value", name: "step", nameLocation: "middle", nameGap: 28, min: 0 },
      yAxis: {
        type: "value",
        name: isShare ? "test accuracy" : "test loss",
        nameLocation: "middle",
        nameGap: 40,
        ...(isShare ? { min: 0, max: 1 } : { min: 0 }),
      },
      series: records.map((r) => ({
        name: r.architecture,
        type: "line",
        showSymbol: false,
        lineStyle: { width: 2 },
        data: r.curve.map((p) => [p.step, p[measure]]),
      })),
    },
    560,
    300,
  );
}

/** Accuracy by architecture and task. */
export function heatMap(records: readonly RunRecord[]): string {
  const tasks = [...new Set(records.map((r) => r.task))];
  const architectures = [...new Set(records.map((r) => r.architecture))].reverse();
  const data = records.map((r) => [
    tasks.indexOf(r.task),
    architectures.indexOf(r.architecture),
    Number(r.tokenAccuracy.toFixed(3)),
  ]);
  return draw(
    {
      grid: { left: 190, right: 90, top: 10, bottom: 40 },
      xAxis: { type: "category", data: tasks, splitArea: { show: true }, axisLabel: { interval: 0 } },
      yAxis: { type: "category", data: architectures, splitArea: { show: true } },
      visualMap: {
        min: 0,
        max: 1,
        right: 0,
        top: "middle",
        calculable: false,
        text: ["1", "0"],
        inRange: { color: ["#f7fbff", "#9ecae1", "#4292c6", "#08519c"] },
      },
      series: [
        {
          type: "heatmap",
          data: data.map((value) => ({
            value,
            // White digits on dark cells.
            label: {
              show: true,
              formatter: value[2]!.toFixed(3),
              color: value[2]! > 0.55 ? "#fff" : "#1a1a1a",
              fontSize: 13,
            },
          })),
        },
      ],
    },
    720,
    60 + 44 * architectures.length,
  );
}
