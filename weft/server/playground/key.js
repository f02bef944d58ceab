// The API key: of this tab, or of this browser where the user wants it remembered.

const NAME = "weft-key";
let key = sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME) ?? "";

/** Use `value` from now on. remember: after the tab is closed, too. */
export function setKey(value, { remember }) {
  key = value.trim();
  sessionStorage.setItem(NAME, key);
  if (remember) localStorage.setItem(NAME, key);
  else localStorage.removeItem(NAME);
}

export const hasKey = () => key !== "";

/** The request header that carries the key; no header without one. */
export const keyHeader = () => (key ? { Authorization: `Bearer ${key}` } : {});
