// The engine's page: what it does now and did in the last minutes, how long requests take, and the model.

import { makeChart } from "./chart.js";
import { byId, make } from "./dom.js";
import { drawModel } from "./model_drawing.js";
import { buckets, countOf, ofModel, percentile, since, sum } from "./prometheus.js";
import { seconds, share, short } from "./units.js";

const NUM_SAMPLES = 80; // two minutes
const WINDOW_S = 60;
const LATENCIES = [
  ["First token", "weft:time_to_first_token_seconds"], ["Between tokens", "weft:inter_token_latency_seconds"],
  ["In the queue", "weft:request_queue_time_seconds"], ["Whole request", "weft:e2e_request_latency_seconds"],
];
const SHARES = [0.5, 0.9, 0.99];
let model = null; // the chosen model's name
const readings = []; // {time, samples}, the last minute and the one before it

const rate = (value) => short(value);
const charts = {
  tokens: makeChart("Tokens per second", [{ name: "generated", format: rate }, { name: "of prompts", format: rate }], { num: NUM_SAMPLES }),
  requests: makeChart("Requests", [{ name: "running", format: short }, { name: "waiting", format: short }], { num: NUM_SAMPLES }),
  cache: makeChart("KV cache", [{ name: "in use", format: share }, { name: "prefix hits", format: share }], { num: NUM_SAMPLES, top: 1 }),
  first: makeChart("Time to first token", [{ name: "median", format: seconds }, { name: "90 of 100", format: seconds }], { num: NUM_SAMPLES }),
};

/** Build the page. */
export function setUpEngine() {
  byId("charts").append(...Object.values(charts).map(({ node }) => node));
  byId("latency-since").addEventListener("change", showLatencies);
}

/** Show the model of a card of /v1/models, and from now on its metrics. */
export function showModel(card) {
  if (model !== card.id) readings.length = 0;
  model = card.id;
  byId("model-place").replaceChildren(drawModel(card));
}

/** Show a reading of /metrics; as `watchMetrics` calls it. */
export function showMetrics(all, time) {
  byId("engine-down").hidden = all !== null;
  if (!all) return;
  const samples = ofModel(all, model);
  const last = readings.at(-1);
  readings.push({ samples, time });
  while (readings.length > 2 && readings[1].time < time - WINDOW_S) readings.shift();
  const perSecond = (name) => last ? Math.max(0, sum(samples, name) - sum(last.samples, name)) / (time - last.time) : null;
  const queries = sum(samples, "weft:prefix_cache_queries_total");
  charts.tokens.push([perSecond("weft:generation_tokens_total"), perSecond("weft:prompt_tokens_total")]);
  charts.requests.push([sum(samples, "weft:num_requests_running"), sum(samples, "weft:num_requests_waiting")]);
  charts.cache.push([sum(samples, "weft:kv_cache_usage_perc"),
    queries ? sum(samples, "weft:prefix_cache_hits_total") / queries : null]);
  charts.first.push([0.5, 0.9].map((part) => finite(percentile(inWindow(LATENCIES[0][1]), part))));
  showLatencies();
}

const finite = (value) => (Number.isFinite(value) ? value : null);

function inWindow(name) {
  return since(buckets(readings.at(-1).samples, name), buckets(readings[0].samples, name));
}

function showLatencies() {
  if (!readings.length) return;
  const isWhole = byId("latency-since").value === "start";
  byId("latencies").replaceChildren(...LATENCIES.map(([title, name]) => {
    const found = isWhole ? buckets(readings.at(-1).samples, name) : inWindow(name);
    const cells = SHARES.map((part) => textOf(percentile(found, part), found));
    return make("tr", {}, make("th", { scope: "row" }, title), ...[...cells, countOf(found).toLocaleString("en")].map((text) => make("td", {}, text)));
  }));
}

/** A percentile as text. In the first and the last bucket only its bound is known. */
function textOf(value, found) {
  if (value === null) return "–";
  if (value < found[0].le) return `< ${seconds(found[0].le)}`;
  return value === Infinity ? `> ${seconds(found.at(-2).le)}` : seconds(value);
}
