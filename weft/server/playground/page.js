// The playground: a conversation, its buttons, and the figures of the last answer.

import { ApiError, asCurl, chat, hasKey, models, setKey } from "./api.js";
import { renderMarkdown } from "./markdown.js";
import { watchMetrics } from "./metrics.js";
import { requestFields, setUpSettings, systemMessages } from "./settings.js";

const EXAMPLES = ["Tell me a story about a small fox.", "What is 27 + 38?", "Tell me a story about a rainy day.", "What is 64 + 19?"];
const byId = (id) => document.getElementById(id);
const [messages, turns, input, send, stop, notice] = ["messages", "turns", "input", "send", "stop", "notice"].map(byId);
const conversation = []; // {role, content, item}
let running = null; // AbortController of the running answer

function requestBody() {
  const history = conversation.filter((turn) => turn.content !== "").map(({ role, content }) => ({ role, content }));
  return { model: byId("model").value, messages: [...systemMessages(), ...history], ...requestFields() };
}

/** The request for the last question, or for the one being written. */
function curlBody() {
  const body = requestBody();
  while (body.messages.at(-1)?.role === "assistant") body.messages.pop();
  if (body.messages.at(-1)?.role !== "user") body.messages.push({ role: "user", content: input.value.trim() || "Hello" });
  return body;
}

// ---- turns

function addTurn(role, content) {
  const item = document.createElement("li");
  item.className = `turn ${role}`;
  const text = document.createElement("div");
  text.className = "text";
  const label = document.createElement("span");
  label.className = "hidden-label";
  label.textContent = role === "user" ? "You" : "Model";
  item.append(label, text);
  turns.append(item);
  byId("welcome").hidden = true;
  const turn = { role, content, item, text };
  conversation.push(turn);
  show(turn);
  return turn;
}

function show(turn) {
  const isAtEnd = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 80;
  if (turn.role === "user") turn.text.textContent = turn.content;
  else renderMarkdown(turn.text, turn.content);
  if (isAtEnd || turn.role === "user") messages.scrollTop = messages.scrollHeight;
}

function addTools(turn, note) {
  turns.querySelectorAll(".regenerate").forEach((button) => button.remove());
  const tools = document.createElement("div");
  tools.className = "tools";
  const copy = toolButton("Copy", () => copyText(turn.content, copy));
  const again = toolButton("Regenerate", regenerate);
  again.classList.add("regenerate");
  const told = document.createElement("span");
  told.className = "note";
  told.textContent = note;
  tools.append(copy, again, told);
  turn.item.append(tools);
}

function toolButton(name, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name;
  button.addEventListener("click", action);
  return button;
}

// ---- an answer

async function answer() {
  const body = { ...requestBody(), stream: true, stream_options: { include_usage: true } };
  const turn = addTurn("assistant", "");
  turn.item.classList.add("streaming");
  const controller = new AbortController();
  setRunning(controller);
  tell("");
  const times = { start: performance.now(), first: null, last: null };
  let finish = "stopped";
  let usage = null;
  try {
    for await (const event of chat(body, controller.signal)) {
      usage = event.usage ?? usage;
      const choice = event.choices[0];
      if (choice?.delta.reasoning) {
        times.last = performance.now();
        times.first ??= times.last;
        showReasoning(turn, choice.delta.reasoning);
      }
      if (choice?.delta.content) {
        times.last = performance.now();
        times.first ??= times.last;
        turn.content += choice.delta.content;
        scheduleShow(turn);
      }
      finish = choice?.finish_reason ?? finish;
    }
  } catch (error) {
    if (error.name !== "AbortError") fail(turn, error);
  }
  if (running === controller) setRunning(null);
  if (turn.item.isConnected) end(turn, times, usage, finish); // not connected: the conversation was cleared
}

function showReasoning(turn, text) {
  if (!turn.reasoning) {
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = "Reasoning";
    turn.reasoning = document.createElement("div");
    turn.reasoning.className = "reasoning";
    details.append(summary, turn.reasoning);
    turn.text.before(details);
  }
  turn.reasoning.textContent += text;
}

let due = null;
function scheduleShow(turn) {
  due ??= requestAnimationFrame(() => {
    due = null;
    show(turn);
  });
}

function end(turn, times, usage, finish) {
  show(turn);
  turn.item.classList.remove("streaming");
  if (!turn.content) {
    if (finish !== "stopped") turn.text.textContent = "(an empty answer)";
    else if (!turn.item.classList.contains("failed")) turn.text.textContent = "(stopped)";
  }
  const speed = usage && times.last > times.first ? (1000 * (usage.completion_tokens - 1)) / (times.last - times.first) : null;
  showFigures(times, usage, finish, speed);
  addTools(turn, [finish === "length" && "cut at the limit", finish === "stopped" && "stopped",
    speed && `${speed.toFixed(1)} tokens/s`].filter(Boolean).join(" · "));
  messages.scrollTop = messages.scrollHeight;
  byId("status").textContent = `Answer: ${turn.content}`;
}

function showFigures(times, usage, finish, speed) {
  byId("ttft").textContent = times.first ? Math.round(times.first - times.start) : "–";
  byId("speed").textContent = speed ? speed.toFixed(1) : "–";
  byId("prompt-tokens").textContent = usage?.prompt_tokens ?? "–";
  byId("cached-tokens").textContent = usage ? `${usage.prompt_tokens_details?.cached_tokens ?? 0} cached` : "";
  byId("answer-tokens").textContent = usage?.completion_tokens ?? "–";
  byId("finish").textContent = { stop: "complete", length: "at the limit" }[finish] ?? finish;
}

function fail(turn, error) {
  turn.item.classList.add("failed");
  if (error instanceof ApiError && error.status === 401) askForKey();
  else tell(error instanceof ApiError ? error.message : "The server cannot be reached.");
  if (!turn.content) turn.text.textContent = "(no answer)";
}

function regenerate() {
  if (running) return;
  while (conversation.at(-1)?.role === "assistant") conversation.pop().item.remove();
  if (conversation.length) answer();
}

// ---- the page around it

function setRunning(controller) {
  running = controller;
  stop.hidden = !controller;
  send.hidden = Boolean(controller);
  send.disabled = !input.value.trim();
}

function tell(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

function askForKey() {
  byId("key-card").hidden = false;
  openPanel(true);
  tell(hasKey() ? "The server does not know this API key." : "This server asks for an API key.");
  byId("key").focus();
}

function openPanel(open) {
  byId("panel").classList.toggle("open", open);
  byId("panel-toggle").setAttribute("aria-expanded", String(open));
}

async function copyText(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Cannot copy here";
  }
  setTimeout(() => (button.textContent = before), 1500);
}

async function loadModels() {
  try {
    const found = await models();
    const select = byId("model");
    select.replaceChildren(...found.map(({ id }) => new Option(id, id)));
    select.classList.toggle("single", found.length === 1);
    byId("context").textContent = `${found[0].max_model_len.toLocaleString("en")} tokens of context`;
    tell("");
  } catch (error) {
    if (error.status === 401) askForKey();
    else tell("The server cannot be reached.");
  }
}

function submit() {
  const content = input.value.trim();
  if (!content || running) return;
  input.value = "";
  resize();
  addTurn("user", content);
  answer();
}

function resize() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
  send.disabled = !input.value.trim();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

const preferred = matchMedia("(prefers-color-scheme: dark)");
setTheme(localStorage.getItem("weft-theme") ?? (preferred.matches ? "dark" : "light"));
preferred.addEventListener("change", () => localStorage.getItem("weft-theme") ?? setTheme(preferred.matches ? "dark" : "light"));
byId("theme").addEventListener("click", () => {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  localStorage.setItem("weft-theme", document.documentElement.dataset.theme);
});

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
input.addEventListener("input", resize);
input.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  }
});
document.addEventListener("keydown", (event) => event.key === "Escape" && (running ? running.abort() : openPanel(false)));
stop.addEventListener("click", () => running?.abort());
byId("clear").addEventListener("click", () => {
  running?.abort();
  conversation.splice(0);
  turns.replaceChildren();
  byId("welcome").hidden = false;
  tell("");
  input.focus();
});
byId("panel-toggle").addEventListener("click", () => openPanel(!byId("panel").classList.contains("open")));
byId("curl").addEventListener("click", () => copyText(asCurl(curlBody()), byId("curl")));
byId("key-card").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(byId("key").value);
  openPanel(false);
  loadModels();
});
byId("examples").append(...EXAMPLES.map((text) => toolButton(text, () => {
  input.value = text;
  submit();
})));

setUpSettings();
setRunning(null);
loadModels();
watchMetrics((isUp) => {
  byId("health").className = `dot ${isUp ? "up" : "down"}`;
  byId("health").setAttribute("aria-label", isUp ? "server: up" : "server: cannot be reached");
});
input.focus();
