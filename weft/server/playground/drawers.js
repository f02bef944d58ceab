// The list and the panel: beside the conversation on a wide screen, drawers over it on a narrow one.

import { byId } from "./dom.js";

const NAMES = ["list", "panel"];

/** Let the buttons in the bar open and close the drawers. */
export function setUpDrawers() {
  for (const name of NAMES) {
    byId(`${name}-toggle`).addEventListener("click", () => openDrawer(isOpen(name) ? null : name));
  }
}

/** Open one drawer and close the other; null: close both. The focus goes along. */
export function openDrawer(name) {
  const before = NAMES.find(isOpen);
  for (const one of NAMES) {
    byId(one).classList.toggle("open", one === name);
    byId(`${one}-toggle`).setAttribute("aria-expanded", String(one === name));
  }
  if (name) byId(name).querySelector("button, summary, input")?.focus();
  else if (before) byId(`${before}-toggle`).focus();
}

const isOpen = (name) => byId(name).classList.contains("open");
