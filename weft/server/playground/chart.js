// A small chart: lines over the last minutes, with a legend that tells the last values.

import { make, makeSvg } from "./dom.js";

const [WIDTH, HEIGHT] = [300, 84];

/** A chart. series: [{name, format}], format: a value as text. Returns {node, push}: push(values) adds one value a line.
 *  top: the height of the chart, where that is fixed. num: values that it shows. */
export function makeChart(title, series, { num, top = null }) {
  const values = series.map(() => Array(num).fill(null));
  const lines = series.map((_, i) => makeSvg("polyline", { class: `line line-${i}` }));
  const area = makeSvg("path", { class: "area" });
  const told = series.map(() => make("b", {}, "–"));
  const scale = make("span", { className: "scale" });
  const svg = makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title },
    makeSvg("path", { class: "rule", d: `M0,1 H${WIDTH} M0,${HEIGHT / 2} H${WIDTH} M0,${HEIGHT - 1} H${WIDTH}` }), area, ...lines);
  const legend = series.map(({ name }, i) => make("span", { className: `key key-${i}` }, `${name} `, told[i]));
  const node = make("figure", { className: "chart card" }, make("figcaption", {}, title, scale),
    svg, make("div", { className: "legend" }, ...legend));

  function push(next) {
    for (const [i, value] of next.entries()) {
      values[i].push(value);
      values[i].shift();
      told[i].textContent = value === null ? "–" : series[i].format(value);
    }
    const high = top ?? niceTop(Math.max(0, ...values.flat().map((value) => value ?? 0)));
    const points = values.map((row) => pointsOf(row, high));
    lines.forEach((line, i) => line.setAttribute("points", points[i].join(" ")));
    area.setAttribute("d", points[0].length > 1 ? areaOf(points[0]) : "");
    scale.textContent = series[0].format(high);
    svg.setAttribute("aria-label", `${title}: ${series.map(({ name }, i) => `${name} ${told[i].textContent}`).join(", ")}`);
  }
  return { node, push };
}

function pointsOf(row, high) {
  return row.flatMap((value, i) => value === null ? [] : [
    `${((WIDTH * i) / (row.length - 1)).toFixed(1)},${(HEIGHT - 1 - ((HEIGHT - 2) * Math.min(value, high)) / high).toFixed(1)}`]);
}

function areaOf(points) {
  const [first, last] = [points[0], points.at(-1)].map((point) => point.split(",")[0]);
  return `M${first},${HEIGHT} L${points.join(" L")} L${last},${HEIGHT} Z`;
}

/** A round number that is not below `value`. */
function niceTop(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}
