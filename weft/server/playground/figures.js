// The figures of the last answer that is shown.

import { byId } from "./dom.js";
import { short } from "./units.js";

const WORDS = { stop: "complete", length: "at the limit", tool_calls: "calls tools" };

/** Show the figures of `message`; undefined: there is no answer yet. */
export function showFigures(message) {
  const { speed, ttft, promptTokens, cachedTokens, answerTokens } = message?.figures ?? {};
  byId("ttft").textContent = ttft ? Math.round(ttft) : "–";
  byId("speed").textContent = speed ? short(speed) : "–";
  byId("prompt-tokens").textContent = promptTokens ?? "–";
  byId("cached-tokens").textContent = cachedTokens ? `${cachedTokens} cached` : "";
  byId("answer-tokens").textContent = answerTokens ?? "–";
  byId("finish").textContent = message?.figures ? WORDS[message.finish] ?? message.finish : "";
}
