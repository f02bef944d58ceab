// The engine's figures: reads /metrics every second or two and shows them. Pauses while the page is hidden.

import { metricsText } from "./api.js";

const POLL_MS = 1500;
const SAMPLES = 40; // a minute
const byId = (id) => document.getElementById(id);
const rates = Array(SAMPLES).fill(0);
let last = null;

/** Start to show figures. Calls `report(isUp)` with whether the server answers. */
export function watchMetrics(report) {
  const tick = async () => {
    if (!document.hidden) {
      try {
        show(parse(await metricsText()));
        report(true);
      } catch {
        report(false);
      }
    }
    setTimeout(tick, POLL_MS);
  };
  tick();
}

function parse(text) {
  const sums = {};
  for (const line of text.split("\n")) {
    const found = /^weft:(\w+)(?:\{[^}]*\})? (\S+)/.exec(line);
    if (found) sums[found[1]] = (sums[found[1]] ?? 0) + Number(found[2]);
  }
  return sums;
}

function show(sums) {
  byId("running").textContent = sums.num_requests_running;
  byId("waiting").textContent = sums.num_requests_waiting;
  share("kv", sums.kv_cache_usage_perc, 1);
  share("hits", sums.prefix_cache_hits_total, sums.prefix_cache_queries_total);
  const now = performance.now();
  if (last) {
    rates.push(Math.max(0, (sums.generation_tokens_total - last.tokens) / ((now - last.time) / 1000)));
    rates.shift();
    byId("rate").textContent = rates.at(-1).toFixed(rates.at(-1) < 10 ? 1 : 0);
    draw();
  }
  last = { tokens: sums.generation_tokens_total, time: now };
}

function share(id, part, whole) {
  byId(id).textContent = whole ? `${((100 * part) / whole).toFixed(1)} %` : "–";
  const percent = whole ? (100 * part) / whole : 0;
  byId(`${id}-meter`).setAttribute("aria-valuenow", percent.toFixed(1));
  byId(`${id}-meter`).firstElementChild.style.width = `${percent}%`;
}

function draw() {
  const top = Math.max(1, ...rates);
  const points = rates.map((rate, i) => `${((120 * i) / (SAMPLES - 1)).toFixed(1)},${(26 - (24 * rate) / top).toFixed(1)}`);
  byId("spark-line").setAttribute("points", points.join(" "));
  byId("spark-area").setAttribute("d", `M0,28 L${points.join(" L")} L120,28 Z`);
}
