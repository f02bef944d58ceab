// The chat: sends messages, runs answers, edits and branches. One answer at a time in each conversation.

import { asCurl } from "./api.js";
import { answerInto } from "./answer.js";
import { current, forget, isListed, keep, keepQuietly, onChange, openOne, putBack, refresh } from "./conversations.js";
import { copyText } from "./copy.js";
import { byId } from "./dom.js";
import { fit } from "./editor.js";
import { showFailure } from "./failure.js";
import { clearFieldErrors } from "./field_errors.js";
import { showFigures } from "./figures.js";
import { formFields } from "./form.js";
import { offerUndo, tell } from "./notice.js";
import { requestFields, systemMessages } from "./settings.js";
import { tokenFields } from "./tokens.js";
import { toolFields } from "./tools.js";
import { add, choose, path, remove } from "./tree.js";
import { drawTurns, scrollToEnd, updateTurn } from "./turns.js";

const PATH = "v1/chat/completions";
const KEEP_MS = 1000; // a running answer is kept this often, so that a reload loses little of it
const [input, send, stop] = ["input", "send", "stop"].map(byId);
const runs = new Map(); // {id of a conversation: {message, controller}}

/** Listen to the composer, and draw what is open. refused(): called when the server wants an API key.
 *  answered(): called after each answer. card(): the chosen model's card. */
export function setUpChat({ card, refused, answered }) {
  const context = { card, refused, answered };
  onChange(() => draw(context));
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submit(context, input.value.trim());
  });
  input.addEventListener("input", resize);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit(context, input.value.trim());
  });
  stop.addEventListener("click", () => stopAnswer());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh(() => runs.size > 0 || document.querySelector(".editor, .results, #conversations input"));
  });
  return { say: (text) => submit(context, text), copyCurl: (button) => copyCurl(context, button) };
}

/** End the answer that is being written into `conversation`, by default the open one. False if there is none. */
export function stopAnswer(conversation = current()) {
  const run = runs.get(conversation.id);
  run?.controller.abort();
  return run !== undefined;
}

function draw(context) {
  const conversation = current();
  const run = runs.get(conversation.id);
  const shown = path(conversation);
  drawTurns(conversation, actionsIn(conversation, context), run?.message ?? null);
  showFigures(shown.findLast(({ role }) => role === "assistant"));
  stop.hidden = !run;
  send.hidden = Boolean(run);
  send.disabled = !input.value.trim();
}

function actionsIn(conversation, context) {
  /** Ask for an answer below `last`. Where the panel is wrong nothing was asked: then `first` and what is below it go. */
  const ask = async (first, last) => {
    await answer(context, conversation, last.id);
    if (!conversation.messages.some(({ parent }) => parent === last.id)) remove(conversation, first);
  };
  return {
    redraw: () => draw(context),
    choose(message) {
      choose(conversation, message);
      putBack(conversation);
    },
    edit(message, content) {
      if (content === message.content) return draw(context);
      const { finish, calls } = message;
      const fields = message.role === "user" ? {} : { finish, ...(calls && { calls }), isEdited: true };
      const changed = add(conversation, message.parent, { role: message.role, content, ...fields });
      return message.role === "user" ? ask(changed, changed) : keep(conversation);
    },
    regenerate: (message) => answer(context, conversation, message.parent),
    answerCalls(message, results) {
      const added = [];
      for (const [i, { id, name }] of message.calls.entries()) {
        const fields = { role: "tool", content: results[i], callId: id, name };
        added.push(add(conversation, (added.at(-1) ?? message).id, fields));
      }
      return ask(added[0], added.at(-1));
    },
    remove(message) {
      const before = structuredClone(conversation);
      remove(conversation, message);
      if (conversation.messages.length) putBack(conversation);
      else forget(conversation);
      offerUndo("The message was deleted, with all below it.", () => {
        putBack(before);
        openOne(before);
      });
    },
  };
}

// ---- a request

/** The request for an answer to the message `last` (an id). ApiError where a field of the panel is wrong. */
function bodyFor(context, conversation, last) {
  const shown = path(conversation);
  const history = shown.slice(0, shown.findIndex(({ id }) => id === last) + 1)
    .filter(({ role, content, calls }) => role !== "assistant" || content || calls).map(asSent);
  const card = context.card();
  return { model: card?.id, messages: [...systemMessages(), ...history], ...requestFields(), ...formFields(),
    ...toolFields(), ...tokenFields(PATH, card?.meta?.max_logprobs ?? 0) };
}

function asSent({ role, content, calls, callId }) {
  if (role === "tool") return { role, content, tool_call_id: callId };
  if (!calls) return { role, content };
  const tool_calls = calls.map(({ id, name, arguments: text }) => ({
    id, type: "function", function: { name, arguments: text },
  }));
  return { role, content: content || null, tool_calls };
}

/** The request for the last question, or for the one being written. */
function curlBody(context) {
  const shown = path(current());
  const body = bodyFor(context, current(), shown.findLast(({ role }) => role === "user")?.id);
  const written = input.value.trim();
  if (written || !shown.length) body.messages.push({ role: "user", content: written || "Hello" });
  return body;
}

function copyCurl(context, button) {
  clearFieldErrors();
  try {
    copyText(asCurl(PATH, curlBody(context)), button);
  } catch (error) {
    showFailure(error, context.refused);
  }
}

async function submit(context, content) {
  const conversation = current();
  if (!content || runs.has(conversation.id)) return;
  input.value = "";
  resize();
  const question = add(conversation, path(conversation).at(-1)?.id ?? null, { role: "user", content });
  const failed = await answer(context, conversation, question.id);
  if (failed && conversation === current() && !input.value) giveBack(conversation, question);
}

/** After an error the question is in the box again, and not in the conversation. */
function giveBack(conversation, question) {
  remove(conversation, question);
  if (conversation.messages.length) putBack(conversation);
  else forget(conversation);
  input.value = question.content;
  resize();
  input.focus();
}

/** Write an answer below the message `parent`. Returns whether it failed before it began. */
async function answer(context, conversation, parent) {
  if (runs.has(conversation.id)) return false;
  clearFieldErrors();
  let body;
  try {
    body = bodyFor(context, conversation, parent);
  } catch (error) {
    showFailure(error, context.refused);
    return true;
  }
  const message = add(conversation, parent, { role: "assistant", content: "" });
  const controller = new AbortController();
  runs.set(conversation.id, { message, controller });
  tell("");
  await keep(conversation);
  scrollToEnd();
  const changed = eachFrame(() => updateTurn(message));
  const keeping = setInterval(() => isListed(conversation) && keepQuietly(conversation), KEEP_MS);
  const error = await answerInto(message, body, { signal: controller.signal, changed });
  clearInterval(keeping);
  runs.delete(conversation.id);
  if (isListed(conversation)) await keep(conversation);
  context.answered();
  if (conversation === current()) {
    byId("status").textContent = `Answer: ${message.content}`;
    if (error) showFailure(error, context.refused);
  }
  return error !== null && !message.content && !message.reasoning && !message.calls;
}

/** A function that calls `action` once before the next frame, however often it is called until then. */
function eachFrame(action) {
  let due = null;
  return () => {
    due ??= requestAnimationFrame(() => {
      due = null;
      action();
    });
  };
}

function resize() {
  fit(input);
  send.disabled = !input.value.trim();
}
