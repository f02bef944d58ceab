// The comparison of texts by a model that pools: how alike they are, and which fit a query best.

import { posted } from "./api.js";
import { byId, make } from "./dom.js";
import { fit } from "./editor.js";
import { showFailure } from "./failure.js";
import { clearFieldErrors } from "./field_errors.js";
import { drawMatrix, MOST_TEXTS } from "./matrix.js";
import { tell } from "./notice.js";

const STORE = "weft-texts"; // in the tab: {texts, query}
let controller = null; // of the running comparison

/** Whether the model of a card of /v1/models makes vectors; undefined while that is not known. */
export const embeds = (card) => card?.meta?.tasks.includes("embed");

/** Listen to the form. card(): the model's card; refused(): as of showFailure; answered(): called after an answer. */
export function setUpComparison(context) {
  const [texts, query] = [byId("texts"), byId("query")];
  const kept = JSON.parse(sessionStorage.getItem(STORE) ?? "{}");
  [texts.value, query.value] = [kept.texts ?? "", kept.query ?? ""];
  byId("comparison").addEventListener("input", () => {
    fit(texts);
    sessionStorage.setItem(STORE, JSON.stringify({ texts: texts.value, query: query.value }));
  });
  texts.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("comparison").requestSubmit();
  });
  byId("comparison").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!controller) compare(context);
  });
}

/** Make the box as high as its text; for when it comes into view. */
export const fitTexts = () => fit(byId("texts"));

/** Say what the model of a card can do. Forgets what another model has answered. */
export function showAbilities(card) {
  byId("query").required = embeds(card) === false;
  byId("query-use").textContent = byId("query").required ? "" : ", or none";
  show([], null, null);
}

/** End the running comparison. False if there is none. */
export function stopComparison() {
  controller?.abort();
  return controller !== null;
}

async function compare({ card, refused, answered }) {
  const texts = byId("texts").value.split("\n").map((line) => line.trim()).filter(Boolean);
  const query = byId("query").value.trim();
  clearFieldErrors();
  tell("");
  setRunning(new AbortController());
  try {
    const [vectors, ranking] = await Promise.all([
      embeds(card()) === false ? null : vectorsOf(card(), texts), query ? rankingOf(card(), query, texts) : null]);
    show(texts, vectors, ranking);
    byId("status").textContent = `${texts.length} texts are compared.`;
    answered();
  } catch (error) {
    controller.abort(); // the other request
    if (error.name !== "AbortError") showFailure(error, refused);
  }
  setRunning(null);
}

async function vectorsOf(card, texts) {
  const body = { model: card?.id, input: texts.slice(0, MOST_TEXTS) };
  return (await posted("v1/embeddings", body, controller.signal)).data.map(({ embedding }) => embedding);
}

async function rankingOf(card, query, documents) {
  const body = { model: card?.id, query, documents, return_documents: false };
  return (await posted("rerank", body, controller.signal)).results;
}

function show(texts, vectors, ranking) {
  byId("ranked").hidden = !ranking;
  byId("ranking").replaceChildren(...(ranking ? rowsOf(texts, ranking) : []));
  byId("alike").hidden = !vectors;
  byId("matrix").replaceChildren(...(vectors ? [drawMatrix(texts.slice(0, MOST_TEXTS), vectors)] : []));
  byId("left-out").hidden = texts.length <= MOST_TEXTS;
  byId("left-out").textContent = `The first ${MOST_TEXTS} of ${texts.length} texts.`;
}

function rowsOf(texts, ranking) {
  const scores = ranking.map(({ relevance_score: score }) => score);
  const [low, high] = [Math.min(0, ...scores), Math.max(1, ...scores)];
  return ranking.map(({ index, relevance_score: score }) => {
    const bar = make("span", { className: "bar-part" });
    bar.style.width = `${(100 * (score - low)) / (high - low)}%`;
    return make("li", {}, make("span", { className: "ranked-text" }, texts[index]),
      make("span", { className: "share" }, score.toFixed(3)), make("span", { className: "bar-whole" }, bar));
  });
}

function setRunning(next) {
  controller = next;
  byId("compare").disabled = Boolean(next);
  byId("comparison").classList.toggle("busy", Boolean(next));
}
