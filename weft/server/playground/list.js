// The list of conversations: open, rename, delete, export and import.

import { addAll, current, forget, listed, onChange, openOne, putBack } from "./conversations.js";
import { byId, make, makeButton, makeIcon } from "./dom.js";
import { offerUndo, tell } from "./notice.js";
import { asFile, readFile } from "./transfer.js";
import { titleOf } from "./tree.js";

const PENCIL = "M4 20h4L19 9l-4-4L4 16zm9-13 4 4";
const BIN = "M5 7h14M10 7V4h4v3m-7 0 1 13h8l1-13";

/** Draw the list now and after each change. opened(): called when the user opens a conversation. stop(conversation):
 *  ends the answer that is being written into it. */
export function setUpList({ opened, stop }) {
  onChange(() => draw({ opened, stop }));
  byId("new").addEventListener("click", () => {
    openOne(null);
    opened();
  });
  byId("export").addEventListener("click", () => download("weft-conversations.json", asFile(listed())));
  byId("import").addEventListener("click", () => byId("import-file").click());
  byId("import-file").addEventListener("change", async ({ target }) => {
    const [file] = target.files;
    target.value = ""; // so that the same file can be chosen again
    if (file) await importText(await file.text());
  });
}

async function importText(text) {
  try {
    await addAll(readFile(text));
    tell("");
  } catch (error) {
    tell(`The conversations were not imported. ${error.message}`);
  }
}

function draw(actions) {
  const all = listed();
  byId("conversations").replaceChildren(...all.map((one) => itemOf(one, actions)));
  byId("no-conversations").hidden = all.length > 0;
  byId("export").disabled = all.length === 0;
}

function itemOf(conversation, { opened, stop }) {
  const title = titleOf(conversation);
  const item = make("li", {});
  const open = makeButton(title, () => {
    openOne(conversation);
    opened();
  }, { className: "title", "aria-current": conversation.id === current().id ? "true" : null });
  const rename = iconButton(PENCIL, `Rename: ${title}`, () => startRenaming(item, conversation, title));
  const bin = iconButton(BIN, `Delete: ${title}`, () => {
    stop(conversation);
    forget(conversation);
    offerUndo("The conversation was deleted.", () => {
      putBack(conversation);
      openOne(conversation);
    });
  });
  item.append(open, rename, bin);
  return item;
}

function iconButton(path, label, action) {
  const button = makeButton("", action, { label, className: "small-icon" });
  button.append(makeIcon(path));
  return button;
}

function startRenaming(item, conversation, title) {
  const box = make("input", { type: "text", value: title, maxLength: 200, "aria-label": "Name of the conversation" });
  let isOver = false;
  const end = (name) => {
    if (isOver) return; // a box that is taken away loses the focus, too
    isOver = true;
    if (name.trim() !== title) conversation.title = name.trim();
    putBack(conversation);
  };
  box.addEventListener("blur", () => end(box.value));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter") end(box.value);
    if (event.key !== "Escape") return;
    event.stopPropagation();
    end(title);
  });
  item.replaceChildren(box);
  box.focus();
  box.select();
}

function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
