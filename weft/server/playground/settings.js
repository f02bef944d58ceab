// The settings: their values as request fields, stored in this browser. An empty field means the server's default.

const STORE = "weft-settings";
const fields = () => [...document.querySelectorAll("[data-param], #system, #stop-strings")];

/** Load the stored settings, couple sliders and numbers, and store every change. */
export function setUpSettings() {
  const kept = JSON.parse(localStorage.getItem(STORE) ?? "{}");
  for (const field of fields()) field.value = kept[field.id] ?? "";
  for (const slider of document.querySelectorAll("[data-for]")) couple(slider, document.getElementById(slider.dataset.for));
  document.getElementById("panel").addEventListener("input", keep);
  document.getElementById("reset").addEventListener("click", () => {
    for (const field of fields()) {
      field.value = "";
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
  });
}

function couple(slider, number) {
  const start = slider.value;
  const follow = () => {
    slider.value = number.value === "" ? start : number.value;
    slider.parentElement.classList.toggle("unset", number.value === "");
  };
  slider.addEventListener("input", () => {
    number.value = slider.value;
    slider.parentElement.classList.remove("unset");
  });
  number.addEventListener("input", follow);
  follow();
}

function keep() {
  localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(fields().map((field) => [field.id, field.value]))));
}

/** The request fields that are set. */
export function requestFields() {
  const set = {};
  for (const field of document.querySelectorAll("[data-param]")) {
    if (field.value !== "") set[field.id] = Number(field.value);
  }
  const stop = document.getElementById("stop-strings").value.split(",").map((text) => text.trim()).filter(Boolean);
  if (stop.length) set.stop = stop;
  return set;
}

/** The system prompt as a list of one message; an empty list without one. */
export function systemMessages() {
  const content = document.getElementById("system").value.trim();
  return content ? [{ role: "system", content }] : [];
}
