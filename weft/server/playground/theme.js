// Light or dark: as the system says, until the user chooses.

import { keep, readKept } from "./kept.js";

const STORE = "theme";
const preferred = matchMedia("(prefers-color-scheme: dark)");

/** Set the colours, and let `button` switch them. */
export function setUpTheme(button) {
  const root = document.documentElement;
  const follow = () => (root.dataset.theme = readKept(STORE, preferred.matches ? "dark" : "light"));
  follow();
  preferred.addEventListener("change", follow);
  button.addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    keep(STORE, root.dataset.theme);
  });
}
