// One answer of the server, written into a message as it comes. Knows nothing of the page.
//
//   message.content, .reasoning: texts
//   message.calls: [{id, name, arguments}], the tools that the model calls; arguments: a text, JSON as a rule
//   message.finish: stop, length, … as the server says; "stopped" by the user; "failed", then .error says why
//   message.figures: as in clock.js. message.tokens: as in tokens.js, where the request wants them

import { streamed } from "./api.js";
import { figuresOf, newClock, tick } from "./clock.js";
import { tokensOf } from "./tokens.js";

/** Ask for an answer to `body` and write it into `message`. Calls `changed()` after each event; never rejects.
 *  Returns the error; null: there was none, or the user stopped the answer. */
export async function answerInto(message, body, { signal, changed }) {
  const clock = newClock();
  let usage = null;
  message.finish = "stopped";
  try {
    for await (const event of streamed("v1/chat/completions", body, signal)) {
      usage = event.usage ?? usage;
      if (event.choices.length) take(message, event.choices[0], clock);
      changed();
    }
  } catch (error) {
    if (error.name === "AbortError") return null;
    message.finish = "failed";
    message.error = error.message;
    return error;
  } finally {
    message.figures = figuresOf(clock, usage);
    changed();
  }
  return null;
}

function take(message, choice, clock) {
  const { delta, finish_reason: finish } = choice;
  if (delta.content || delta.reasoning || delta.tool_calls) tick(clock);
  if (choice.logprobs) message.tokens = [...(message.tokens ?? []), ...tokensOf(choice)];
  message.content += delta.content ?? "";
  if (delta.reasoning) message.reasoning = (message.reasoning ?? "") + delta.reasoning;
  for (const part of delta.tool_calls ?? []) takeCall(message, part);
  message.finish = finish ?? message.finish;
}

function takeCall(message, { index, id, function: part }) {
  message.calls ??= [];
  message.calls[index] ??= { id: "", name: "", arguments: "" };
  const call = message.calls[index];
  call.id = id ?? call.id;
  call.name += part?.name ?? "";
  call.arguments += part?.arguments ?? "";
}
