// Charts as SVG text, drawn by echarts without a browser.

import { CustomChart, HeatmapChart, LineChart, ScatterChart } from "echarts/charts";
import {
  GridComponent,
  LegendComponent,
  MarkAreaComponent,
  MarkLineComponent,
  TitleComponent,
  VisualMapComponent,
} from "echarts/components";
import * as echarts from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import type { EChartsCoreOption } from "echarts/core";
import { expertCurves, trainingCurve } from "../metrics/expert-relative.ts";
import type { Interval } from "../metrics/bootstrap.ts";
import { metricInfo } from "../metrics/registry.ts";
import type { MetricsReport } from "../metrics/report.ts";
import { mean } from "../metrics/statistics.ts";
import type { GroupSummary } from "../metrics/summary.ts";
import { color } from "./palette.ts";

echarts.use([
  CustomChart,
  HeatmapChart,
  LineChart,
  ScatterChart,
  GridComponent,
  LegendComponent,
  MarkAreaComponent,
  MarkLineComponent,
  TitleComponent,
  VisualMapComponent,
  SVGRenderer,
]);

const FONT = "ui-sans-serif, system-ui, sans-serif";
const INK = "#334155";
/** Points drawn at most a curve: a page stays small however long a lifetime is. */
const MAX_POINTS = 1200;

interface Size {
  readonly width: number;
  readonly height: number;
}

function draw(option: EChartsCoreOption, { width, height }: Size): string {
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width, height });
  chart.setOption({ animation: false, textStyle: { fontFamily: FONT, color: INK }, ...option });
  const svg = chart.renderToSVGString();
  chart.dispose();
  // scales with the page instead of the pixel size it was laid out for
  return svg.replace(
    /width="\d+" height="\d+"/,
    `viewBox="0 0 ${width} ${height}" style="width:100%;height:auto"`,
  );
}

const axis = (name: string): object => ({
  type: "value",
  name,
  nameLocation: "middle",
  nameGap: 30,
  scale: true,
  axisLabel: { color: INK },
  nameTextStyle: { color: INK },
  splitLine: { lineStyle: { color: "#e2e8f0" } },
});

const legend = (names: readonly string[]): object => ({
  data: names,
  top: 0,
  type: "plain",
  itemWidth: 14,
  itemGap: 26,
  textStyle: { color: INK },
});

type Point = readonly [number, number];

/** Every k-th point, so that at most {@link MAX_POINTS} remain; ends stay. */
function thin(points: readonly Point[]): readonly Point[] {
  const every = Math.ceil(points.length / MAX_POINTS);
  return every <= 1 ? points : points.filter((_, i) => i % every === 0 || i === points.length - 1);
}

/** Blocks as stripes: learning white, evaluation grey. */
function blockShading(report: MetricsReport): object {
  const { regimes, position } = report.lifetime;
  const stripes = regimes
    .filter((r) => r.blockType === "test")
    .map((r) => [{ xAxis: position[r.start]! }, { xAxis: position[r.end - 1]! + 1 }]);
  return { silent: true, itemStyle: { color: "rgba(100,116,139,0.13)" }, data: stripes };
}

/** Raw experiences as points, smoothed training curves as lines, saturation (▲) and recovery (◆) marked. */
export function lifetimeChart(report: MetricsReport): string {
  const { lifetime } = report;
  const { regimes, raw, position, tasks } = lifetime;
  const smoothed = lifetime.smoothed ?? raw;
  const series: object[] = [{ type: "line", data: [], markArea: blockShading(report) }];
  for (const [t, task] of tasks.entries()) {
    const own = regimes.filter((r) => r.task === task);
    const points = own.flatMap((r) =>
      Array.from({ length: r.end - r.start }, (_, i): Point => [position[r.start + i]!, raw[r.start + i]!]),
    );
    series.push({
      type: "scatter",
      name: task,
      symbolSize: 3,
      itemStyle: { color: color(t), opacity: 0.35 },
      data: thin(points),
    });
    for (const r of own.filter((regime) => regime.blockType === "train")) {
      const curve = Array.from({ length: r.end - r.start }, (_, i): Point => [
        position[r.start + i]!,
        smoothed[r.start + i]!,
      ]);
      series.push({
        type: "line",
        name: task,
        showSymbol: false,
        lineStyle: { color: color(t), width: 2 },
        itemStyle: { color: color(t) },
        data: thin(curve),
      });
    }
    series.push(...landmarks(report, task, color(t), smoothed));
  }
  return draw(
    {
      legend: legend(tasks),
      grid: { left: 56, right: 16, top: 34, bottom: 44 },
      xAxis: { ...axis(lifetime.options.unit === "steps" ? "steps" : "experiences"), max: "dataMax" },
      yAxis: { ...axis(lifetime.options.perfMeasure), nameGap: 40 },
      series,
    },
    { width: 980, height: 360 },
  );
}

function landmarks(report: MetricsReport, task: string, fill: string, curve: Float64Array): object[] {
  const { position } = report.lifetime;
  const training = report.regimes.filter(
    ({ regime }) => regime.task === task && regime.blockType === "train",
  );
  const at = (row: number): Point => [position[row]!, curve[row]!];
  const saturations = training
    .filter((m) => !Number.isNaN(m.expToSaturation))
    .map((m) => at(Math.min(m.regime.start + m.expToSaturation, m.regime.end - 1)));
  const times = report.tasks.find((t) => t.task === task)!.recoveryTimes;
  const recoveries = training
    .slice(1)
    .flatMap(({ regime }, k) =>
      times[k]! < regime.end - regime.start ? [at(regime.start + times[k]!)] : [],
    );
  const mark = (symbol: string, data: readonly Point[], size: number): object => ({
    type: "scatter",
    symbol,
    symbolSize: size,
    z: 5,
    itemStyle: { color: fill, borderColor: "#fff", borderWidth: 1 },
    data,
  });
  return [mark("triangle", saturations, 11), mark("diamond", recoveries, 12)];
}

/** Terminal performance of each evaluation, a line a task; trainings of the task as vertical lines. */
export function evaluationChart(report: MetricsReport, lines = true): string {
  const { tasks, position } = report.lifetime;
  const series = tasks.map((task, t) => {
    const own = report.regimes.filter(({ regime }) => regime.task === task);
    const points = own
      .filter(({ regime }) => regime.blockType === "test")
      .map(({ regime, terminal }): Point => [position[regime.start]!, terminal]);
    const trained = own
      .filter(({ regime }) => regime.blockType === "train")
      .map(({ regime }) => [{ xAxis: position[regime.start]! }, { xAxis: position[regime.end - 1]! }]);
    return {
      type: "line",
      name: task,
      symbol: "circle",
      symbolSize: 7,
      lineStyle: { color: color(t), width: lines ? 2 : 0 },
      itemStyle: { color: color(t) },
      markArea: { silent: true, itemStyle: { color: color(t), opacity: 0.1 }, data: trained },
      data: points,
    };
  });
  return draw(
    {
      legend: legend(tasks),
      grid: { left: 56, right: 16, top: 34, bottom: 44 },
      xAxis: {
        ...axis(report.lifetime.options.unit === "steps" ? "steps" : "experiences"),
        max: position.at(-1)!,
      },
      yAxis: { ...axis("evaluation"), nameGap: 40 },
      series,
    },
    { width: 980, height: 300 },
  );
}

/** A task's whole training as one curve, with its experts' (dashed). */
export function learningChart(report: MetricsReport, task: string, withExperts = true): string {
  const { lifetime } = report;
  const t = lifetime.tasks.indexOf(task);
  const own = trainingCurve(lifetime, task);
  const joints: object[] = [];
  let length = 0;
  for (const r of own.regimes.slice(0, -1)) joints.push({ xAxis: (length += r.end - r.start) });
  const line = (name: string, perf: ArrayLike<number>, style: object): object => ({
    type: "line",
    name,
    showSymbol: false,
    lineStyle: { width: 2, color: color(t), ...style },
    data: thin(Array.from(perf, (v, i): Point => [i, v])),
  });
  const experts = withExperts ? expertCurves(lifetime, task) : [];
  return draw(
    {
      title: { text: task, left: "center", top: 4, textStyle: { fontSize: 13, color: INK, fontWeight: 600 } },
      grid: { left: 48, right: 10, top: 32, bottom: 40 },
      xAxis: { ...axis("learning experiences"), max: "dataMax" },
      yAxis: axis(""),
      series: [
        {
          ...line("lifetime", own.perf, {}),
          markLine: {
            silent: true,
            symbol: "none",
            label: { show: false },
            lineStyle: { color: "#94a3b8", type: "solid", width: 1 },
            data: joints,
          },
        },
        ...experts.map(({ source, perf }) =>
          line(source, perf, { color: "#64748b", type: "dashed", width: 1.5 }),
        ),
      ],
    },
    { width: 480, height: 240 },
  );
}

/** Mean transfer of each ordered pair over some lifetimes: rows trained, columns evaluated. */
export function transferChart(reports: readonly MetricsReport[], key: string): string | null {
  const tasks = [...new Set(reports.flatMap((report) => report.lifetime.tasks))];
  const neutral = key.endsWith("ratio") ? 1 : 0;
  const cells: [number, number, number][] = [];
  for (const [y, from] of tasks.entries()) {
    for (const [x, to] of tasks.entries()) {
      const values = reports.flatMap(
        (r) => r.tasks.find((t) => t.task === from)?.transfer[key]?.[to]?.[0] ?? [],
      );
      if (values.length > 0) cells.push([x, y, mean(values)]);
    }
  }
  if (cells.length === 0) return null;
  const spread = Math.max(...cells.map(([, , v]) => Math.abs(v - neutral)), 1e-9);
  /** Pixels for the name of a task below its column. */
  const room = (480 - 166) / tasks.length;
  const category = (name: string): object => ({
    type: "category",
    data: tasks,
    name,
    nameLocation: "middle",
    nameGap: 62,
    axisLabel: { color: INK, interval: 0, width: 112, overflow: "truncate" },
    splitArea: { show: true, areaStyle: { color: ["#f8fafc", "#f8fafc"] } },
  });
  return draw(
    {
      title: { text: metricInfo(key)?.title ?? key, left: "center", textStyle: { fontSize: 13, color: INK } },
      grid: { left: 150, right: 16, top: 38, bottom: 60 },
      xAxis: {
        ...category("evaluated"),
        nameGap: 36,
        axisLabel: { color: INK, interval: 0, rotate: tasks.some((t) => 7 * t.length > room) ? 25 : 0 },
      },
      yAxis: { ...category("trained"), nameGap: 128, inverse: true },
      visualMap: {
        show: false,
        min: neutral - spread,
        max: neutral + spread,
        inRange: { color: ["#c0392b", "#f8fafc", "#1f78b4"] },
      },
      series: [
        {
          type: "heatmap",
          data: cells,
          itemStyle: { borderColor: "#fff", borderWidth: 2 },
          label: {
            show: true,
            color: "#0f172a",
            formatter: (p: { data: number[] }) => p.data[2]!.toFixed(2),
          },
        },
      ],
    },
    { width: 480, height: Math.max(200, 110 + 44 * tasks.length) },
  );
}

/** One metric over several agents: value and interval a line, success threshold dashed. */
export function comparisonChart(
  key: string,
  groups: readonly GroupSummary[],
  threshold: number | null,
): string {
  const intervals = groups.map((group): Interval | null => group.values[key] ?? null);
  const data = intervals.map((v, i) => [v?.value ?? null, i, v?.low ?? null, v?.high ?? null]);
  const whisker = {
    type: "custom",
    data,
    encode: { x: [0, 2, 3], y: 1 },
    renderItem(_: unknown, api: { value(i: number): number; coord(p: number[]): number[] }): object | null {
      const [low, high, row] = [api.value(2), api.value(3), api.value(1)];
      if (!Number.isFinite(low) || !Number.isFinite(high)) return null;
      const [x1, y] = api.coord([low, row]) as [number, number];
      const [x2] = api.coord([high, row]) as [number];
      const style = { stroke: color(row), lineWidth: 2 };
      const line = (a: number, b: number, c: number, d: number): object => ({
        type: "line",
        shape: { x1: a, y1: b, x2: c, y2: d },
        style,
      });
      return {
        type: "group",
        children: [line(x1, y, x2, y), line(x1, y - 5, x1, y + 5), line(x2, y - 5, x2, y + 5)],
      };
    },
  };
  return draw(
    {
      title: {
        text: metricInfo(key)?.title ?? key,
        left: "center",
        textStyle: { fontSize: 13, color: INK },
      },
      grid: { left: 130, right: 20, top: 36, bottom: 28 },
      xAxis: { ...axis(""), nameGap: 0 },
      yAxis: { type: "category", inverse: true, data: groups.map((g) => g.name), axisLabel: { color: INK } },
      series: [
        whisker,
        {
          type: "scatter",
          symbolSize: 10,
          data: data.map(([value, row]) => ({ value: [value, row], itemStyle: { color: color(row!) } })),
          ...(threshold === null
            ? {}
            : {
                markLine: {
                  silent: true,
                  symbol: "none",
                  label: { show: false },
                  lineStyle: { color: "#94a3b8", type: "dashed" },
                  data: [{ xAxis: threshold }],
                },
              }),
        },
      ],
    },
    { width: 480, height: 76 + 30 * groups.length },
  );
}
