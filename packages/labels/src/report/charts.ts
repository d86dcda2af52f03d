// Charts as SVG text, drawn by echarts without a browser.

import { CustomChart, HeatmapChart, LineChart, ScatterChart } from "echarts/charts";
import { GridComponent, LegendComponent, MarkLineComponent, VisualMapComponent } from "echarts/components";
import * as echarts from "echarts/core";
import type { EChartsCoreOption } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import type { RadiusPoint, SmoothnessBin } from "../epoxy/diagnostics.ts";
import type { Interval } from "../evaluation/bootstrap.ts";
import type { CalibrationBin } from "../evaluation/metrics.ts";

echarts.use([
  CustomChart,
  HeatmapChart,
  LineChart,
  ScatterChart,
  GridComponent,
  LegendComponent,
  MarkLineComponent,
  VisualMapComponent,
  SVGRenderer,
]);

const INK = "#334155";
const LINE = "#e2e8f0";
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7f3c8d", "#5b6770"];

function draw(option: EChartsCoreOption, width: number, height: number): string {
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width, height });
  chart.setOption({
    animation: false,
    color: COLORS,
    textStyle: { fontFamily: "ui-sans-serif, system-ui, sans-serif", color: INK },
    ...option,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg.replace(
    /width="\d+" height="\d+"/,
    `viewBox="0 0 ${width} ${height}" style="width:100%;height:auto;max-width:${width}px"`,
  );
}

const axis = (name: string, more: object = {}): object => ({
  type: "value",
  name,
  nameLocation: "middle",
  nameGap: 28,
  axisLabel: { color: INK },
  nameTextStyle: { color: INK },
  splitLine: { lineStyle: { color: LINE } },
  ...more,
});

/** A dot with its interval for every system; `zero` marks no difference. */
export function intervalChart(
  rows: readonly { readonly name: string; readonly interval: Interval }[],
  unit: string,
): string {
  const data = rows.map(({ interval }, i) => [interval.value, i, interval.low, interval.high]);
  return draw(
    {
      // some 6.3 pixels a letter at the axis font
      grid: { left: 16 + 6.3 * Math.max(...rows.map((r) => r.name.length)), right: 24, top: 8, bottom: 44 },
      xAxis: axis(unit, {
        min: (v: { min: number }) => Math.floor(Math.min(v.min, ...rows.map((r) => r.interval.low)) / 5) * 5,
        max: (v: { max: number }) => Math.ceil(Math.max(v.max, ...rows.map((r) => r.interval.high)) / 5) * 5,
      }),
      yAxis: {
        type: "category",
        inverse: true,
        data: rows.map((r) => r.name),
        axisLabel: { color: INK, width: 250, overflow: "truncate" },
        axisTick: { show: false },
      },
      series: [
        {
          type: "custom",
          data,
          renderItem: (_: unknown, api: WhiskerApi) => {
            const [low, high] = [2, 3].map((at) => api.coord([api.value(at), api.value(1)]));
            return {
              type: "line",
              shape: { x1: low![0], y1: low![1], x2: high![0], y2: high![1] },
              style: { stroke: "#94a3b8", lineWidth: 3, lineCap: "round" },
            };
          },
        },
        {
          type: "scatter",
          data,
          symbolSize: 9,
          itemStyle: {
            color: (p: { data: number[] }) =>
              p.data[2]! > 0 ? "#009e73" : p.data[3]! < 0 ? "#d55e00" : "#0072b2",
          },
          markLine: {
            silent: true,
            symbol: "none",
            label: { show: false },
            lineStyle: { color: INK, type: "solid" },
            data: [{ xAxis: 0 }],
          },
        },
      ],
    },
    900,
    60 + rows.length * 24,
  );
}

interface WhiskerApi {
  value(at: number): number;
  coord(point: number[]): number[];
}

/** Share of items on which two functions vote and disagree. */
export function conflictChart(matrix: Float64Array, names: readonly string[]): string {
  const m = names.length;
  const data = Array.from(matrix, (value, at) => [
    at % m,
    Math.floor(at / m),
    Number((value * 100).toFixed(2)),
  ]);
  const category = { type: "category", data: [...names], axisLabel: { color: INK, rotate: 0 } };
  return draw(
    {
      grid: { left: 110, right: 90, top: 10, bottom: 70 },
      xAxis: { ...category, axisLabel: { color: INK, rotate: 40 } },
      yAxis: { ...category, inverse: true },
      visualMap: {
        min: 0,
        max: Math.max(1, ...data.map((d) => d[2]!)),
        right: 0,
        top: "middle",
        calculable: false,
        formatter: (v: number) => `${v.toFixed(1)} %`,
        inRange: { color: ["#f8fafc", "#d55e00"] },
        textStyle: { color: INK },
      },
      series: [
        {
          type: "heatmap",
          data,
          label: {
            show: m <= 12,
            color: INK,
            formatter: (p: { data: number[] }) => (p.data[2]! > 0 ? p.data[2]!.toFixed(1) : ""),
          },
        },
      ],
    },
    620,
    Math.min(620, 140 + m * 34),
  );
}

/** Accuracy of the extended votes against coverage, one line per function. */
export function extensionChart(
  curves: readonly { readonly name: string; readonly points: readonly RadiusPoint[] }[],
): string {
  return draw(
    {
      legend: { top: 0, type: "plain", textStyle: { color: INK } },
      grid: { left: 56, right: 16, top: 46, bottom: 48 },
      xAxis: axis("coverage after extension (% of items)"),
      yAxis: axis("accuracy of the new votes (%)", { nameGap: 38, min: 0, max: 100 }),
      series: curves.map(({ name, points }) => ({
        type: "line",
        name,
        symbolSize: 5,
        data: points
          .filter((p) => p.accuracy !== null)
          .map((p) => [Number((p.coverage * 100).toFixed(1)), Number((p.accuracy! * 100).toFixed(1))]),
      })),
    },
    720,
    340,
  );
}

/** Predicted against observed frequency; the diagonal is perfect. */
export function calibrationChart(
  systems: readonly { readonly name: string; readonly bins: readonly CalibrationBin[] }[],
): string {
  return draw(
    {
      legend: { top: 0, textStyle: { color: INK } },
      grid: { left: 52, right: 16, top: 40, bottom: 48 },
      xAxis: axis("predicted P(class 1)", { min: 0, max: 1 }),
      yAxis: axis("observed share", { min: 0, max: 1, nameGap: 36 }),
      series: [
        {
          type: "line",
          data: [
            [0, 0],
            [1, 1],
          ],
          showSymbol: false,
          silent: true,
          lineStyle: { color: "#94a3b8", type: "dashed" },
        },
        ...systems.map(({ name, bins }) => ({
          type: "line",
          name,
          data: bins.map((b) => [Number(b.predicted.toFixed(3)), Number(b.observed.toFixed(3)), b.count]),
          symbolSize: (d: number[]) => Math.min(20, 4 + Math.sqrt(d[2]!)),
        })),
      ],
    },
    520,
    360,
  );
}

/** How often labels differ, by the distance of the pair: flat means the space says nothing about the label. */
export function smoothnessChart(bins: readonly SmoothnessBin[], metric: "cosine" | "l2"): string {
  return draw(
    {
      grid: { left: 52, right: 16, top: 14, bottom: 48 },
      xAxis: axis(metric === "cosine" ? "1 - cosine of a pair" : "distance of a pair", { scale: true }),
      yAxis: axis("labels differ (%)", { min: 0, nameGap: 36 }),
      series: [
        {
          type: "line",
          data: bins.map((b) => [Number(b.distance.toFixed(4)), Number((b.labelChange * 100).toFixed(1))]),
          symbolSize: 6,
        },
      ],
    },
    520,
    300,
  );
}
