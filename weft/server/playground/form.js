// The form of the answer: a JSON schema, a regular expression, …, as fields of the request. Stored in this browser.

import { ApiError } from "./api.js";
import { byId } from "./dom.js";
import { keep, readKept } from "./kept.js";

const STORE = "form";
const TEXTS = { // kind: [label, example]
  json_schema: ["JSON schema", '{\n  "type": "object",\n  "properties": {"name": {"type": "string"}},\n  "required": ["name"]\n}'],
  regex: ["Regular expression", "(yes|no)( \\d+)?"],
  choice: ["The texts, one a line", "yes\nno"],
  grammar: ["Grammar, in Lark's or EBNF's notation", 'start: "yes" | "no"'],
};
let kept = {}; // {kind: text, "": the chosen kind}

/** Show the stored form, and store every change. */
export function setUpForm() {
  kept = readKept(STORE, {});
  const [kind, text] = [byId("form-kind"), byId("form-text")];
  kind.value = kept[""] ?? "";
  byId("form-card").open = kind.value !== "";
  const show = () => {
    byId("form-field").hidden = !(kind.value in TEXTS);
    [byId("form-label").textContent, text.placeholder] = TEXTS[kind.value] ?? ["", ""];
    text.value = kept[kind.value] ?? "";
  };
  kind.addEventListener("change", () => {
    kept[""] = kind.value;
    show();
    keep(STORE, kept);
  });
  text.addEventListener("input", () => {
    kept[kind.value] = text.value;
    keep(STORE, kept);
  });
  show();
}

/** The request's fields for the form. ApiError where the text cannot be one. */
export function formFields() {
  const kind = byId("form-kind").value;
  if (!kind) return {};
  if (kind === "json_object") return { response_format: { type: "json_object" } };
  const text = byId("form-text").value;
  if (!text.trim()) throw new ApiError(400, `${TEXTS[kind][0]}: write one, or choose free text.`, "response_format");
  if (kind === "json_schema") {
    const schema = parsed(text, "response_format");
    return { response_format: { type: "json_schema", json_schema: { name: "answer", schema } } };
  }
  const lines = text.split("\n").filter((line) => line.trim());
  return { structured_outputs: { [kind]: kind === "choice" ? lines : text } };
}

/** `text` as JSON. ApiError names the field `param` where the text is none. */
export function parsed(text, param) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ApiError(400, `This is not JSON: ${error.message}`, param);
  }
}
