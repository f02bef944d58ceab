// Draws a conversation: its messages, and below each the buttons for what can be done with it.

import { callsOf } from "./calls.js";
import { copyText } from "./copy.js";
import { byId, make, makeButton } from "./dom.js";
import { editorOf } from "./editor.js";
import { renderMarkdown } from "./markdown.js";
import { drawTokens } from "./tokens.js";
import { path, siblings } from "./tree.js";
import { short } from "./units.js";

const list = byId("turns");
const scroller = byId("messages");
const NAMES = { user: "You", assistant: "Model" };
const asTokens = new Set(); // ids of the messages that are shown as tokens
let shownId = null; // of the conversation that is drawn

/** Draw `conversation`. actions: {choose, edit, regenerate, remove, answerCalls}, functions of a message. running: its
 *  message that is being written; null: none. */
export function drawTurns(conversation, actions, running) {
  const follows = isAtEnd() || conversation.id !== shownId;
  shownId = conversation.id;
  const held = focusedPlace();
  const unfolded = new Set([...list.querySelectorAll("details[open]")].map((one) => one.closest("li").dataset.id));
  const shown = path(conversation);
  list.classList.toggle("busy", running !== null);
  list.replaceChildren(...shown.map((message) => turnOf(conversation, message, actions, message === running)));
  for (const item of list.children) if (unfolded.has(item.dataset.id)) item.querySelector("details").open = true;
  byId("welcome").hidden = shown.length > 0;
  if (held) list.children[held.index]?.querySelector(`[data-do="${held.action}"]`)?.focus();
  if (follows) scrollToEnd();
}

const isAtEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;

/** Show what `message` has by now. Does nothing where another conversation is shown. */
export function updateTurn(message) {
  const item = itemOf(message);
  if (!item) return;
  const follows = isAtEnd();
  showParts(item, message);
  if (follows) scrollToEnd();
}

/** Show the end of the conversation. */
export function scrollToEnd() {
  scroller.scrollTop = scroller.scrollHeight;
}

/** Turn `message` into a text box, with `text` in it. */
export function startEditing(message, actions, text = message.content) {
  const item = itemOf(message);
  item?.replaceChildren(editorOf(message, text, {
    done: (changed) => actions.edit(message, changed),
    cancelled: () => actions.redraw(),
  }));
  item?.querySelector("textarea").focus();
}

function itemOf(message) {
  return [...list.children].find(({ dataset }) => dataset.id === message.id);
}

function focusedPlace() {
  const item = document.activeElement?.closest("#turns > li");
  const action = document.activeElement?.dataset.do;
  return item && action ? { index: [...list.children].indexOf(item), action } : null;
}

function turnOf(conversation, message, actions, isRunning) {
  const item = make("li", { className: `turn ${message.role}` },
    make("span", { className: "hidden-label" }, NAMES[message.role] ?? `Result of ${message.name}`),
    make("div", { className: "text" }));
  item.dataset.id = message.id;
  item.classList.toggle("streaming", isRunning);
  showParts(item, message);
  if (message.calls && !isRunning) {
    const hasResults = conversation.messages.some(({ parent }) => parent === message.id);
    item.append(callsOf(message, hasResults ? null : (results) => actions.answerCalls(message, results)));
  }
  if (!isRunning) item.append(toolsOf(conversation, message, actions));
  return item;
}

function showParts(item, message) {
  const text = item.querySelector(".text");
  item.classList.toggle("failed", message.finish === "failed");
  if (message.reasoning) showReasoning(text, message.reasoning);
  if (message.tokens && asTokens.has(message.id)) text.replaceChildren(drawTokens(message.tokens));
  else if (message.role === "assistant") renderMarkdown(text, message.content);
  else text.textContent = message.content;
  text.hidden = Boolean(message.calls && !message.content && !asTokens.has(message.id));
  const isEmpty = !message.content && !message.calls;
  if ((isEmpty || message.finish === "failed") && !item.classList.contains("streaming")) text.append(endOf(message));
}

function showReasoning(text, reasoning) {
  if (text.previousElementSibling?.tagName !== "DETAILS") {
    text.before(make("details", {}, make("summary", {}, "Reasoning"), make("div", { className: "reasoning" })));
  }
  text.previousElementSibling.lastElementChild.textContent = reasoning;
}

function endOf(message) {
  const words = { stopped: "(stopped)", failed: message.error }[message.finish] ?? "(an empty answer)";
  return make("p", { className: "nothing" }, words);
}

function toolsOf(conversation, message, actions) {
  const tool = (name, action) => {
    const button = makeButton(name, action);
    button.dataset.do = name;
    return button;
  };
  const copy = tool("Copy", () => copyText(message.content, copy));
  const isAnswer = message.role === "assistant";
  const note = isAnswer ? noteOf(message) : "";
  return make("div", { className: "tools" }, branchesOf(conversation, message, actions),
    note ? make("span", { className: "note" }, note) : null,
    copy,
    message.tokens ? switchOf(message, actions) : null,
    isAnswer ? tool("Regenerate", () => actions.regenerate(message)) : null,
    message.role === "tool" ? null : tool("Edit", () => startEditing(message, actions)),
    tool("Delete", () => actions.remove(message)));
}

function switchOf(message, actions) {
  const isOn = asTokens.has(message.id);
  const button = makeButton("Tokens", () => {
    if (isOn) asTokens.delete(message.id);
    else asTokens.add(message.id);
    actions.redraw();
  }, { "aria-pressed": String(isOn) });
  button.dataset.do = "Tokens";
  return button;
}

function branchesOf(conversation, message, actions) {
  const all = siblings(conversation, message);
  if (all.length === 1) return null;
  const at = all.indexOf(message);
  const arrow = (sign, label, to) => {
    const button = makeButton(sign, () => actions.choose(to), { label, disabled: !to });
    button.dataset.do = label;
    return button;
  };
  return make("span", { className: "branches", role: "group", "aria-label": "Versions of this message" },
    arrow("‹", "Previous version", all[at - 1]),
    make("span", { className: "note" }, `${at + 1} / ${all.length}`),
    arrow("›", "Next version", all[at + 1]));
}

function noteOf({ finish, figures, isEdited }) {
  const words = { length: "cut at the limit", stopped: "stopped", failed: "failed" }[finish];
  const speed = figures?.speed ? `${short(figures.speed)} tokens/s` : null;
  return [isEdited ? "edited" : words, isEdited ? null : speed].filter(Boolean).join(" · ");
}
