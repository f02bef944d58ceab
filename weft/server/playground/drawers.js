// The list and the panel: beside the conversation on a wide screen, drawers over it on a narrow one.

import { byId } from "./dom.js";

const NAMES = ["list", "panel"];
const NARROW = matchMedia("(max-width: 860px)"); // as in frame.css

/** Let the buttons in the bar open and close the drawers. */
export function setUpDrawers() {
  for (const name of NAMES) {
    byId(`${name}-toggle`).addEventListener("click", () => openDrawer(isOpen(name) ? null : name));
  }
  NARROW.addEventListener("change", () => openDrawer(null));
}

/** Open one drawer and close the other; null: close both. The focus goes along. */
export function openDrawer(name) {
  const before = NAMES.find(isOpen);
  for (const one of NAMES) {
    byId(one).classList.toggle("open", one === name);
    byId(`${one}-toggle`).setAttribute("aria-expanded", String(one === name));
  }
  document.querySelector("main").inert = name !== null && NARROW.matches; // it lies below the drawer
  const controls = name ? [...byId(name).querySelectorAll("button, summary, input")] : [];
  if (name) controls.find((one) => one.checkVisibility())?.focus();
  else if (before) byId(`${before}-toggle`).focus();
}

const isOpen = (name) => byId(name).classList.contains("open");
