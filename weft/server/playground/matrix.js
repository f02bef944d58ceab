// The similarities of texts as a coloured table, in which arrows or clicks choose a pair.

import { make } from "./dom.js";

/** More texts would not be read as a table. */
export const MOST_TEXTS = 50;

/** The cosines of vectors, [[number]]; 0 beside a vector of zeros. */
export function cosines(vectors) {
  const lengths = vectors.map((vector) => Math.hypot(...vector) || 1);
  const product = (one, other) => one.reduce((total, value, i) => total + value * other[i], 0);
  return vectors.map((one, i) => vectors.map((other, j) => product(one, other) / lengths[i] / lengths[j]));
}

/** A table of the cosines of `vectors`, a row and a column for each of `texts`, and below it the chosen pair. */
export function drawMatrix(texts, vectors) {
  const values = cosines(vectors);
  const low = Math.min(...values.flat(), 0.999);
  const cells = values.map((row, i) => row.map((value, j) => cellOf(value, low, `cell-${i}-${j}`)));
  const pair = make("p", { className: "pair", "aria-live": "polite" }, "Arrows or a click choose a pair.");
  const table = make("table", { className: "matrix", role: "grid", tabIndex: 0, "aria-label": "Similarities" },
    make("thead", {}, make("tr", {}, make("td"), ...texts.map((text, j) => headOf(text, j, "col")))),
    make("tbody", {}, ...texts.map((text, i) => make("tr", {}, headOf(text, i, "row"), ...cells[i]))));
  let at = null;
  const choose = (i, j) => {
    if (!cells[i]?.[j]) return;
    if (at) cells[at[0]][at[1]].removeAttribute("aria-selected");
    at = [i, j];
    cells[i][j].setAttribute("aria-selected", "true");
    table.setAttribute("aria-activedescendant", cells[i][j].id);
    cells[i][j].scrollIntoView({ block: "nearest", inline: "nearest" });
    pair.replaceChildren(...pairOf(texts[i], texts[j], values[i][j]));
  };
  table.addEventListener("click", ({ target }) => {
    const i = cells.findIndex((row) => row.includes(target));
    if (i >= 0) choose(i, cells[i].indexOf(target));
  });
  table.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    if (!(event.key in steps)) return;
    event.preventDefault();
    if (at) choose(at[0] + steps[event.key][0], at[1] + steps[event.key][1]);
    else choose(0, 0);
  });
  return make("div", {}, make("div", { className: "matrix-place" }, table), pair);
}

function headOf(text, number, scope) {
  const short = scope === "row" ? [make("b", {}, String(number + 1)), ` ${text}`] : [String(number + 1)];
  return make("th", { scope, title: text }, ...short);
}

function cellOf(value, low, id) {
  const cell = make("td", { id, role: "gridcell" }, value.toFixed(2));
  cell.style.setProperty("--share", (value - low) / (1 - low));
  return cell;
}

function pairOf(one, other, value) {
  return [make("b", {}, value.toFixed(4)), make("span", {}, one), make("span", {}, other)];
}
