// The plain completion: a text, which the model continues.

import { streamed } from "./api.js";
import { figuresOf, newClock, tick } from "./clock.js";
import { byId } from "./dom.js";
import { fit } from "./editor.js";
import { showFailure } from "./failure.js";
import { clearFieldErrors } from "./field_errors.js";
import { showFigures } from "./figures.js";
import { formFields } from "./form.js";
import { tell } from "./notice.js";
import { requestFields } from "./settings.js";
import { drawTokens, tokenFields, tokensOf } from "./tokens.js";

const PATH = "v1/completions";
const STORE = "weft-prompt"; // in the tab: the text to continue
const MAX_TOKENS = 128; // unless the settings say another number
let controller = null; // of the running completion
let text = ""; // what the model wrote last

/** Listen to the form. card(): the model's card; refused(): called when the server wants an API key. */
export function setUpCompletion({ card, refused }) {
  const prompt = byId("prompt");
  prompt.value = sessionStorage.getItem(STORE) ?? "";
  prompt.addEventListener("input", () => {
    fit(prompt);
    sessionStorage.setItem(STORE, prompt.value);
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("completion").requestSubmit();
  });
  byId("completion").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!controller && prompt.value) complete({ card, refused });
  });
  byId("stop-completion").addEventListener("click", stopCompletion);
  byId("append").addEventListener("click", () => {
    prompt.value += text;
    prompt.dispatchEvent(new Event("input"));
    showResult({ content: "" });
    prompt.focus();
  });
}

/** Make the box as high as its text; for when it comes into view. */
export const fitPrompt = () => fit(byId("prompt"));

/** End the running completion. False if there is none. */
export function stopCompletion() {
  controller?.abort();
  return controller !== null;
}

async function complete({ card, refused }) {
  clearFieldErrors();
  tell("");
  const result = { content: "", tokens: [], finish: "stopped" };
  const clock = newClock();
  let usage = null;
  try {
    const body = bodyFor(card());
    showResult(result);
    setRunning(new AbortController());
    for await (const event of streamed(PATH, body, controller.signal)) {
      usage = event.usage ?? usage;
      const [choice] = event.choices;
      if (!choice) continue;
      tick(clock);
      result.content += choice.text;
      result.tokens.push(...tokensOf(choice));
      result.finish = choice.finish_reason ?? result.finish;
      showResult(result);
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      result.finish = "failed";
      showFailure(error, refused);
    }
  }
  setRunning(null);
  result.figures = figuresOf(clock, usage);
  showResult(result);
  showFigures(result);
}

function bodyFor(card) {
  const fields = { ...tokenFields(PATH, card?.meta?.max_logprobs ?? 0), ...requestFields(), ...formFields() };
  const echo = "logprobs" in fields && byId("echo").checked;
  return { model: card?.id, prompt: byId("prompt").value, max_tokens: MAX_TOKENS, ...fields, ...(echo && { echo }) };
}

function showResult({ content, tokens = [] }) {
  text = content;
  byId("continuation").hidden = !content;
  if (tokens.length) byId("continued").replaceChildren(drawTokens(tokens));
  else byId("continued").textContent = content;
}

function setRunning(next) {
  controller = next;
  byId("stop-completion").hidden = !next;
  byId("complete").disabled = Boolean(next);
  byId("continuation").classList.toggle("busy", Boolean(next));
}
