// Small values that the browser keeps: JSON under a name, in localStorage. A browser that keeps nothing is no error: then
// a value lasts as long as the page.

const PREFIX = "weft-";

/** The value kept under `name`; `fallback`: there is none, or one that cannot be read. */
export function readKept(name, fallback) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? fallback;
  } catch {
    return fallback;
  }
}

/** Keep `value` under `name`. */
export function keep(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // no room, or not allowed
  }
}
