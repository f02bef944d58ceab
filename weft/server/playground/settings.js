// The settings: their values as request fields, stored in this browser. An empty field means the model's default, which
// its placeholder and its slider show.

import { byId } from "./dom.js";
import { keep, readKept } from "./kept.js";

const STORE = "settings";
const fields = () => [...document.querySelectorAll("[data-param], #system, #stop-strings, #show-tokens")];

/** Load the stored settings, couple sliders and numbers, and store every change. */
export function setUpSettings() {
  const kept = readKept(STORE, {});
  for (const field of fields()) setValue(field, kept[field.id] ?? "");
  for (const slider of document.querySelectorAll("[data-for]")) couple(slider, byId(slider.dataset.for));
  byId("panel").addEventListener("input", keepAll);
  byId("reset").addEventListener("click", () => {
    for (const field of fields()) {
      setValue(field, "");
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
  });
}

/** Show what the model does where a field is empty. defaults: {field: value}; fields that it lacks are not known. */
export function showDefaults(defaults) {
  for (const field of document.querySelectorAll("[data-param]")) {
    field.dataset.unknown ??= field.placeholder; // what the page says before it knows better
    const value = defaults[field.id];
    field.placeholder = typeof value === "number" ? Number(value.toFixed(4)) : field.dataset.unknown;
    field.dispatchEvent(new Event("default"));
  }
}

const valueOf = (field) => (field.type === "checkbox" ? (field.checked ? "on" : "") : field.value);

function setValue(field, value) {
  if (field.type === "checkbox") field.checked = value === "on";
  else field.value = value;
}

function couple(slider, number) {
  const follow = () => {
    const isUnset = number.value === "";
    slider.value = isUnset ? number.placeholder : number.value;
    slider.parentElement.classList.toggle("unset", isUnset);
    slider.setAttribute("aria-valuetext", isUnset ? `${slider.value}, the model's default` : slider.value);
  };
  slider.addEventListener("input", () => {
    number.value = slider.value;
    follow();
  });
  number.addEventListener("input", follow);
  number.addEventListener("default", follow);
  follow();
}

function keepAll() {
  keep(STORE, Object.fromEntries(fields().map((field) => [field.id, valueOf(field)])));
}

/** The request fields that are set. */
export function requestFields() {
  const set = {};
  for (const field of document.querySelectorAll("[data-param]")) {
    if (field.value !== "") set[field.id] = Number(field.value);
  }
  const stop = byId("stop-strings").value.split(",").map((text) => text.trim()).filter(Boolean);
  if (stop.length) set.stop = stop;
  return set;
}

/** The system prompt as a list of one message; an empty list without one. */
export function systemMessages() {
  const content = byId("system").value.trim();
  return content ? [{ role: "system", content }] : [];
}
