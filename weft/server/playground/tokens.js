// The tokens of an answer: the less likely, the more colour. Below them the alternatives of the chosen token.
//
//   token: {text, logprob, top}: top: [{text, logprob}], the likeliest at its place; logprob null: not known

import { byId, make } from "./dom.js";

let made = 0; // tokens that have an id

/** The fields of a request by which the server sends probabilities; none unless the user wants them. path: the route. */
export function tokenFields(path, maxLogprobs) {
  if (!byId("show-tokens").checked) return {};
  const num = maxLogprobs === -1 ? 8 : Math.min(8, maxLogprobs);
  return path === "v1/completions" ? { logprobs: num } : { logprobs: true, top_logprobs: num };
}

/** The tokens in a choice of /v1/chat/completions or /v1/completions. */
export function tokensOf({ logprobs }) {
  if (logprobs?.content) {
    return logprobs.content.map(({ token, logprob, top_logprobs: top }) => ({
      text: token, logprob, top: top.map((one) => ({ text: one.token, logprob: one.logprob })),
    }));
  }
  return (logprobs?.tokens ?? []).map((text, i) => ({
    text, logprob: logprobs.token_logprobs[i], top: Object.entries(logprobs.top_logprobs[i] ?? {})
      .map(([other, logprob]) => ({ text: other, logprob })).sort((a, b) => b.logprob - a.logprob),
  }));
}

/** `tokens` in a box, in which arrows or clicks choose one, and what there is to know of that one. */
export function drawTokens(tokens) {
  const parts = tokens.map(partOf);
  parts.forEach((part) => (part.id = `token-${++made}`));
  const detail = make("section", { className: "card token-detail", "aria-label": "Token", "aria-live": "polite", hidden: true });
  const box = make("div", { className: "tokens", role: "listbox", tabIndex: 0, "aria-label": "Tokens" }, ...parts);
  let at = -1;
  const choose = (next) => {
    if (!parts[next]) return;
    parts[at]?.removeAttribute("aria-selected");
    at = next;
    parts[at].setAttribute("aria-selected", "true");
    box.setAttribute("aria-activedescendant", parts[at].id);
    parts[at].scrollIntoView({ block: "nearest" });
    detail.hidden = false;
    detail.replaceChildren(...detailOf(tokens[at], `Token ${at + 1} of ${tokens.length}`));
  };
  box.addEventListener("click", ({ target }) => choose(parts.indexOf(target)));
  box.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: parts.length - 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    choose(steps[event.key]);
  });
  return make("div", {}, box, detail);
}

function partOf({ text, logprob }) {
  const title = `${visible(text)}  ${percent(logprob)}`;
  const part = make("span", { className: "token", role: "option", title }, visible(text));
  part.style.setProperty("--doubt", logprob === null ? 0 : 1 - Math.exp(logprob));
  return part;
}

function detailOf(token, title) {
  const isListed = token.top.some(({ text }) => text === token.text);
  const all = isListed || token.logprob === null ? token.top : [...token.top, token];
  const rest = Math.max(0, 1 - all.reduce((total, { logprob }) => total + Math.exp(logprob), 0));
  return [make("h2", {}, title),
    make("ol", {}, ...all.map((one) => rowOf(one, one.text === token.text))),
    make("p", { className: "quiet-text" }, all.length ? `All others together: ${percent(Math.log(rest))}`
      : "The first token of a prompt has no probability.")];
}

function rowOf({ text, logprob }, isChosen) {
  const bar = make("span", { className: "bar-part" });
  bar.style.width = `${100 * Math.exp(logprob)}%`;
  return make("li", { className: isChosen ? "chosen" : "", "aria-current": isChosen ? "true" : null },
    make("code", {}, visible(text)), make("span", { className: "share" }, percent(logprob)),
    make("span", { className: "bar-whole" }, bar));
}

/** `text` so that spaces, line ends and nothing can be seen. */
function visible(text) {
  return text.replaceAll("\n", "↵\n") || "∅";
}

function percent(logprob) {
  if (logprob === null) return "–";
  const share = 100 * Math.exp(logprob);
  return share >= 99.95 || share < 1e-9 ? `${share.toFixed(0)} %` : `${share.toPrecision(share < 0.1 ? 1 : 3)} %`;
}
