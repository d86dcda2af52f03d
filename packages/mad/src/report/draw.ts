// SVG charts that follow the page's light and dark colours: echarts draws with stand-in colours, which become CSS variables.

import * as echarts from "echarts";

/** Number of series colours; later series repeat them with another dash. */
export const SERIES_COLOURS = 8;
const FONT = "system-ui, sans-serif";
const INK = "#a10101";
const AXIS = "#a10102";
const GRID = "#a10103";
const VARIABLES: readonly (readonly [string, string])[] = [
  [INK, "var(--ink)"],
  [AXIS, "var(--axis)"],
  [GRID, "var(--grid)"],
  ...Array.from({ length: SERIES_COLOURS }, (_, i) => [`#a2020${i}`, `var(--s${i})`] as const),
];

/** Stand-in of a series' colour. */
export const seriesColour = (i: number): string => `#a2020${i % SERIES_COLOURS}`;
/** Dash of a series' line. */
export const seriesDash = (i: number): string =>
  ["solid", "dashed", "dotted"][Math.floor(i / SERIES_COLOURS) % 3]!;

/** Mark of a series' points. */
const seriesSymbol = (i: number): string =>
  ["circle", "diamond", "triangle"][Math.floor(i / SERIES_COLOURS) % 3]!;

interface Axis {
  readonly name: string;
  readonly kind?: "value" | "log" | "category";
  readonly min?: number;
  readonly max?: number;
  readonly categories?: readonly string[];
  readonly format?: (value: number) => string;
}

export interface ChartSeries {
  readonly name: string;
  /** Which architecture it belongs to: decides colour and dash. */
  readonly colour: number;
  readonly kind?: "line" | "scatter";
  readonly points: readonly (readonly [number | string, number | null])[];
  /** Names beside points. */
  readonly labels?: readonly string[];
  /** Grey, thin, without a mark: fronts. */
  readonly faint?: boolean;
}

export interface ChartOptions {
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly ChartSeries[];
  /** What the chart shows, for readers that do not see it. */
  readonly label: string;
  readonly width?: number;
  readonly height?: number;
}

const axisOption = (axis: Axis, gap: number): object => ({
  type: axis.kind ?? "value",
  name: axis.name,
  nameLocation: "middle",
  nameGap: gap,
  nameTextStyle: { color: INK, fontSize: 12 },
  axisLine: { show: true, lineStyle: { color: AXIS } },
  axisTick: { lineStyle: { color: AXIS } },
  axisLabel: {
    color: INK,
    fontSize: 11,
    hideOverlap: true,
    ...(axis.format ? { formatter: axis.format } : {}),
  },
  splitLine: { lineStyle: { color: GRID } },
  minorSplitLine: { show: false },
  ...(axis.categories ? { data: [...axis.categories] } : {}),
  ...(axis.min === undefined ? {} : { min: axis.min }),
  ...(axis.max === undefined ? {} : { max: axis.max }),
});

/** A chart as SVG text. Colours come from the page; legends are the page's too, shared by its charts. */
export function chart(options: ChartOptions): string {
  const { width = 440, height = 250 } = options;
  const made = echarts.init(null, null, { renderer: "svg", ssr: true, width, height });
  made.setOption({
    animation: false,
    textStyle: { fontFamily: FONT, color: INK },
    grid: { left: 54, right: 16, top: 14, bottom: 46 },
    xAxis: axisOption(options.x, 28),
    yAxis: axisOption(options.y, 40),
    series: options.series.map((s) => ({
      name: s.name,
      type: s.kind ?? "line",
      symbol: seriesSymbol(s.colour),
      symbolSize: s.kind === "scatter" ? 10 : 5,
      showSymbol: !s.faint && s.points.length < 12,
      step: s.faint ? "end" : false,
      z: s.faint ? 1 : 2,
      itemStyle: { color: s.faint ? AXIS : seriesColour(s.colour) },
      lineStyle: {
        width: s.faint ? 1 : 2,
        type: s.faint ? "dashed" : seriesDash(s.colour),
        color: s.faint ? AXIS : seriesColour(s.colour),
      },
      data: s.points.map((value, i) => ({
        value: [...value],
        ...(s.labels
          ? {
              label: {
                show: true,
                formatter: s.labels[i]!,
                position: "top",
                color: INK,
                fontSize: 11,
                textBorderWidth: 0,
              },
            }
          : {}),
      })),
      ...(s.labels ? { labelLayout: { hideOverlap: true, moveOverlap: "shiftY" } } : {}),
    })),
  });
  let svg = made.renderToSVGString();
  made.dispose();
  for (const [standIn, variable] of VARIABLES) svg = svg.replaceAll(standIn, variable);
  const label = options.label.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
  return svg.replace("<svg ", `<svg role="img" aria-label="${label}" `);
}
