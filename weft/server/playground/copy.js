// Copying a text. Pages of http addresses that are not this machine's have no clipboard API, so the older way is there too.

import { make } from "./dom.js";

/** Copy `text`, and say on `button` whether that went well. */
export async function copyText(text, button) {
  const before = button.textContent;
  button.textContent = (await isCopied(text)) ? "Copied" : "Cannot copy here";
  button.focus();
  setTimeout(() => (button.textContent = before), 1500);
}

async function isCopied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return isCopiedBySelecting(text);
  }
}

function isCopiedBySelecting(text) {
  const box = make("textarea", { value: text, className: "hidden-label" });
  document.body.append(box);
  box.select();
  const isDone = document.execCommand("copy");
  box.remove();
  return isDone;
}
