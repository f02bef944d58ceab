// One line below the conversation: an error, or what was done with a way back.

import { byId, makeButton } from "./dom.js";
import { openDrawer } from "./drawers.js";

/** Show an error; an empty text hides the line. control: the field that is wrong, to which a button leads. */
export function tell(text, control = null) {
  const go = () => {
    openDrawer("panel");
    control.focus();
  };
  show(text, "alert", ...(control ? [makeButton("Go to the field", go, { className: "link" })] : []));
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
