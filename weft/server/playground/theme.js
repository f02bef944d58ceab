// Light or dark: as the system says, until the user chooses.

const STORE = "weft-theme";
const preferred = matchMedia("(prefers-color-scheme: dark)");

/** Set the colours, and let `button` switch them. */
export function setUpTheme(button) {
  const root = document.documentElement;
  const follow = () => (root.dataset.theme = localStorage.getItem(STORE) ?? (preferred.matches ? "dark" : "light"));
  follow();
  preferred.addEventListener("change", follow);
  button.addEventListener("click", () => {
    localStorage.setItem(STORE, root.dataset.theme === "dark" ? "light" : "dark");
    follow();
  });
}
