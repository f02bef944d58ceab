// Which part of the page is shown: the chat, the completion, the comparison or the engine. The address says it, after
// a #; where it says none, the first that the model can do.

import { byId } from "./dom.js";

const NAMES = ["chat", "complete", "compare", "engine"];
const WIDE = ["compare", "engine"]; // these take the place of the list and the panel
let offered = NAMES; // those that the model can do
let show = () => {}; // brings the page to what address and model say

/** Show what the address says, now and when it changes. shown(name): called when another view comes. */
export function setUpViews(shown) {
  let last = null;
  show = () => {
    const name = currentView();
    document.body.dataset.view = name;
    document.body.classList.toggle("wide", WIDE.includes(name));
    for (const one of NAMES) {
      byId(`view-${one}`).hidden = one !== name;
      byId(`to-${one}`).hidden = !offered.includes(one);
      if (one === name) byId(`to-${one}`).setAttribute("aria-current", "page");
      else byId(`to-${one}`).removeAttribute("aria-current");
    }
    if (name !== last) shown(name);
    last = name;
  };
  addEventListener("hashchange", show);
  show();
}

/** Show the links to these views only; of them the first, if the address names another. */
export function offerViews(names) {
  offered = NAMES.filter((name) => names.includes(name));
  show();
}

/** The name of the view that is shown. */
export const currentView = () => offered.find((name) => location.hash === `#${name}`) ?? offered[0];

/** Show another view. */
export function goTo(name) {
  if (name !== currentView()) location.hash = name;
}
