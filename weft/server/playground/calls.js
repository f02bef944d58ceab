// The tools that an answer calls, and the form by which the user gives their results.

import { make } from "./dom.js";

/** The calls of `message`. answered(results): called with a text for each call; null: they have results already. */
export function callsOf(message, answered) {
  const boxes = message.calls.map(({ name }) => make("textarea", { rows: 2, "aria-label": `Result of ${name}` }));
  const items = message.calls.map((call, i) => make("section", { className: "call", "aria-label": `Call of ${call.name}` },
    make("h3", {}, call.name), make("pre", {}, pretty(call.arguments)),
    answered ? make("label", {}, "Result", boxes[i]) : null));
  if (!answered) return make("div", {}, ...items);
  const form = make("form", { className: "results" }, ...items,
    make("button", { type: "submit", className: "primary" }, "Continue with the results"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    answered(boxes.map(({ value }) => value));
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  return form;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // not finished yet, or not JSON
  }
}
