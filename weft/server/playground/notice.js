// One line below the conversation: an error, or what was done with a way back.

import { byId, makeButton } from "./dom.js";

/** Show an error; an empty text hides the line. */
export function tell(text) {
  show(text, "alert");
}

/** Say what was done, with a button that takes it back. */
export function offerUndo(text, undo) {
  show(text, "status", makeButton("Undo", () => {
    tell("");
    undo();
  }, { className: "link" }));
}

function show(text, role, ...buttons) {
  const line = byId("notice");
  line.setAttribute("role", role);
  line.className = `notice ${role}`;
  line.hidden = !text;
  line.replaceChildren(text, ...buttons);
}
