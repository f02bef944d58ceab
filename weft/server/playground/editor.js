// A text box in the place of a message, to change it.

import { make, makeButton } from "./dom.js";

/** A form with `text`. done(text): for a text that is not empty; cancelled(): nothing is to change. */
export function editorOf(message, text, { done, cancelled }) {
  const box = make("textarea", { value: text, "aria-label": "Change the message", rows: 1, oninput: () => fit(box) });
  const form = make("form", { className: "editor" }, box,
    make("div", { className: "row" },
      make("button", { type: "submit", className: "primary" }, message.role === "user" ? "Send" : "Save"),
      makeButton("Cancel", cancelled, { className: "quiet" }),
      make("span", { className: "note" }, message.role === "user" ? "A new branch; the old one stays." : "")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (box.value.trim()) done(box.value.trim());
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      cancelled();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  requestAnimationFrame(() => fit(box));
  return form;
}

/** Make a text box as high as its text. */
export function fit(box) {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}
