// One answer of the server, written into a message as it comes. Knows nothing of the page.
//
//   message.content, .reasoning: texts
//   message.calls: [{id, name, arguments}], the tools that the model calls; arguments: a text, JSON as a rule
//   message.finish: stop, length, … as the server says; "stopped" by the user; "failed", then .error says why
//   message.figures: {speed, ttft, promptTokens, cachedTokens, answerTokens}; null: not known

import { streamed } from "./api.js";

/** Ask for an answer to `body` and write it into `message`. Calls `changed()` after each event; never rejects.
 *  Returns the error; null: there was none, or the user stopped the answer. */
export async function answerInto(message, body, { signal, changed }) {
  const clock = { start: performance.now(), first: null, last: null };
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

function take(message, { delta, finish_reason: finish }, clock) {
  if (delta.content || delta.reasoning || delta.tool_calls) {
    clock.last = performance.now();
    clock.first ??= clock.last;
  }
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

function figuresOf({ start, first, last }, usage) {
  return {
    speed: usage && last > first ? (1000 * (usage.completion_tokens - 1)) / (last - first) : null,
    ttft: first && first - start,
    promptTokens: usage?.prompt_tokens ?? null,
    cachedTokens: usage ? usage.prompt_tokens_details?.cached_tokens ?? 0 : null,
    answerTokens: usage?.completion_tokens ?? null,
  };
}
