// The functions that the model may call, as fields of the request. Stored in this browser.

import { byId, make, makeButton } from "./dom.js";
import { parsed } from "./form.js";
import { keep, readKept } from "./kept.js";

const STORE = "tools";
const PARAMETERS = '{\n  "type": "object",\n  "properties": {\n    "city": {"type": "string"}\n  },\n  "required": ["city"]\n}';
const CHOICES = [["auto", "as the model decides"], ["required", "at least one"], ["none", "none"], ["off", "tools are not sent"]];
let kept = { choice: "auto", functions: [] }; // functions: [{name, description, parameters: a text}]

/** Show the stored functions, and store every change. */
export function setUpTools() {
  kept = readKept(STORE, kept);
  byId("tools-card").open = kept.functions.length > 0;
  byId("tool-choice").addEventListener("change", ({ target }) => {
    kept.choice = target.value;
    keep(STORE, kept);
  });
  byId("add-tool").addEventListener("click", () => {
    kept.functions.push({ name: "", description: "", parameters: PARAMETERS });
    draw();
    byId(`tool-${kept.functions.length - 1}-name`).focus();
  });
  draw();
}

function draw() {
  byId("tools").replaceChildren(...kept.functions.map(toolOf));
  drawChoices();
  keep(STORE, kept);
}

function drawChoices() {
  const named = kept.functions.filter(({ name }) => name).map(({ name }) => [`named:${name}`, `this one: ${name}`]);
  const all = [...CHOICES, ...named];
  if (!all.some(([value]) => value === kept.choice)) kept.choice = "auto";
  byId("tool-choice").replaceChildren(...all.map(([value, text]) => new Option(text, value, false, value === kept.choice)));
  byId("tool-choice").closest(".field").hidden = kept.functions.length === 0;
}

function toolOf(tool, i) {
  const field = (name, label, tag, props) => {
    const control = make(tag, { id: `tool-${i}-${name}`, value: tool[name], ...props });
    control.addEventListener("input", () => {
      tool[name] = control.value;
      if (name === "name") drawChoices();
      keep(STORE, kept);
    });
    return make("div", { className: "field" }, make("label", { htmlFor: control.id }, label), control);
  };
  return make("fieldset", { className: "tool", "aria-label": `Function ${i + 1}` },
    make("div", { className: "row" },
      field("name", "Name", "input", { type: "text", spellcheck: false, placeholder: "get_weather" }),
      makeButton("Remove", () => {
        kept.functions.splice(i, 1);
        draw();
      }, { className: "link" })),
    field("description", "What it does", "input", { type: "text", placeholder: "The weather in a city" }),
    field("parameters", "Parameters, a JSON schema", "textarea", { className: "code", rows: 7, spellcheck: false }));
}

/** Say what the served model makes of tools. finds: whether the server finds calls that the model makes of itself. */
export function tellOfTools(finds) {
  byId("tools-hint").hidden = finds;
}

/** The request's fields for the tools. ApiError where parameters are no JSON. */
export function toolFields() {
  if (!kept.functions.length || kept.choice === "off") return {};
  const tools = kept.functions.map(({ name, description, parameters }, i) => ({
    type: "function",
    function: {
      name, description: description || undefined,
      parameters: parameters.trim() ? parsed(parameters, `tools.${i}.function.parameters`) : undefined,
    },
  }));
  const [kind, name] = kept.choice.split(/:(.*)/s);
  return { tools, tool_choice: kind === "named" ? { type: "function", function: { name } } : kind };
}
