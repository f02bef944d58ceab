// An error of the server, shown at the field that it names.

import { byId, make } from "./dom.js";

// The beginning of an error's `param`, and its control; other settings have the field's name as their id.
const HOMES = {
  stop: "stop-strings", max_completion_tokens: "max_tokens", top_logprobs: "show-tokens", logprobs: "show-tokens",
  response_format: "form-text", structured_outputs: "form-text", tool_choice: "tool-choice", tools: "tool-choice",
  input: "texts", documents: "texts",
};

function controlOf(param) {
  const tool = /^tools\.(\d+)\.function\.(name|description|parameters)/.exec(param);
  if (tool) return byId(`tool-${tool[1]}-${tool[2]}`);
  const head = param.split(".")[0];
  if (head in HOMES) return byId(HOMES[head]);
  if (head === "query") return byId(head);
  return [...document.querySelectorAll("[data-param]")].find(({ id }) => id === head) ?? null;
}

/** Show `message` at the field `param`. Returns the field's control; null: the page has no such field. */
export function showFieldError(param, message) {
  const control = controlOf(param ?? "");
  if (!control) return null;
  const field = control.closest(".field") ?? control.parentElement;
  const line = field.querySelector(".field-error") ?? field.appendChild(make("p", { className: "field-error" }));
  line.id = `${control.id}-error`;
  line.textContent = message;
  control.setAttribute("aria-invalid", "true");
  control.setAttribute("aria-describedby", line.id);
  for (let above = control.closest("details"); above; above = above.parentElement.closest("details")) above.open = true;
  return control;
}

/** Take all such errors away. */
export function clearFieldErrors() {
  for (const line of document.querySelectorAll(".field-error")) line.remove();
  for (const control of document.querySelectorAll("[aria-invalid]")) {
    control.removeAttribute("aria-invalid");
    control.removeAttribute("aria-describedby");
  }
}
