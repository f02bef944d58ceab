// The model, drawn from its description: the way of a token up through its layers, and each kind of layer in words.

import { make, makeSvg } from "./dom.js";
import { bytes, count } from "./units.js";

const [WIDTH, BOX, CENTRE] = [240, 34, 120];

/** The drawing and the facts of a card of /v1/models. */
export function drawModel({ id, max_model_len: length, meta }) {
  if (!meta) return make("section", { className: "card model-card", "aria-label": "Model" }, make("h2", {}, id),
    make("p", { className: "quiet-text" }, "A request that names this model loads it."));
  const { words } = meta;
  const facts = [
    ["Architecture", meta.architecture], ["Weights", `${bytes(meta.weight_bytes)}, ${meta.quantization ?? meta.dtype}`],
    ["Context", `${length.toLocaleString("en")} tokens`],
    ["Cache", `${bytes(meta.kv_cache_bytes)}, ${meta.num_blocks.join(" + ")} blocks of ${meta.block_size} tokens`],
    ["Tasks", meta.tasks.join(", ")], ["Loaded in", `${meta.load_seconds.toFixed(1)} s`],
  ];
  return make("section", { className: "card model-card", "aria-label": "Model" },
    make("h2", {}, id), words ? make("p", { className: "quiet-text" }, `${words.title}; the head ${words.head}.`) : null,
    make("div", { className: "model-parts" }, words ? drawStack(words, meta.vocab_size) : null,
      make("div", {}, make("dl", { className: "facts" }, ...facts.map(([name, text]) => make("div", {},
        make("dt", {}, name), make("dd", {}, text)))), ...(words?.layers ?? []).map(kindOf))));
}

function drawStack(words, vocabSize) {
  const kinds = [];
  words.layers.forEach((layer, kind) => layer.numbers.forEach((number) => (kinds[number] = kind)));
  const each = Math.max(3, Math.min(22, 420 / kinds.length));
  const gap = each > 8 ? 3 : 1;
  const top = BOX + 32;
  const bottom = top + kinds.length * each + 10;
  const height = bottom + BOX + 2;
  const box = (y, text) => [
    makeSvg("rect", { class: "end", x: 40, y, width: WIDTH - 80, height: BOX, rx: 9 }),
    makeSvg("text", { x: CENTRE, y: y + BOX / 2 + 4.5 }, text)];
  const layer = (kind, number) => { // the first layer is the lowest, as the words go up
    const y = bottom - 10 - (number + 1) * each;
    const part = (x, name) => makeSvg("rect", { class: `${name} kind-${kind % 4}`, x, y, width: 96, height: each - gap, rx: Math.min(4, each / 3) });
    return makeSvg("g", {}, makeSvg("title", {}, `layer ${number}: ${words.layers[kind].attention}; ${words.layers[kind].ffn}`),
      part(20, "mixer"), part(124, "ffn"));
  };
  const title = `${kinds.length} layers between embedding and head`;
  return makeSvg("svg", { class: "stack", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": title },
    makeSvg("path", { class: "stream", d: `M${CENTRE},${BOX} V${bottom}` }), ...kinds.map(layer),
    makeSvg("text", { class: "small", x: 68, y: BOX + 22 }, "mixer"),
    makeSvg("text", { class: "small", x: 172, y: BOX + 22 }, "feed-forward"),
    ...box(1, `head → ${count(vocabSize)} logits`), ...box(bottom, `embedding of ${count(vocabSize)}`));
}

function kindOf(layer, kind) {
  const cache = layer.state_bytes ? `${bytes(layer.state_bytes)} a sequence` : `${bytes(layer.cache_bytes_per_token)} a token`;
  const rows = [["Mixer", layer.attention], ["Positions", layer.positions], ["Feed-forward", layer.ffn],
    ["Norms", layer.norms], ["Parameters", `${count(layer.parameters)} each`], ["Cache", `${cache}, each`]];
  return make("section", { className: "kind" },
    make("h3", {}, make("span", { className: `swatch kind-${kind % 4}` }), `Layers ${layer.layers}`),
    make("dl", { className: "facts" }, ...rows.map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text)))));
}
