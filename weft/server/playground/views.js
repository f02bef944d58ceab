// Which part of the page is shown: the chat, the completion or the engine. The address says it, after a #.

import { byId } from "./dom.js";

const NAMES = ["chat", "complete", "engine"];

/** Show what the address says, now and when it changes. shown(name): called then. */
export function setUpViews(shown) {
  const show = () => {
    const name = currentView();
    document.body.dataset.view = name;
    for (const one of NAMES) {
      byId(`view-${one}`).hidden = one !== name;
      if (one === name) byId(`to-${one}`).setAttribute("aria-current", "page");
      else byId(`to-${one}`).removeAttribute("aria-current");
    }
    shown(name);
  };
  addEventListener("hashchange", show);
  show();
}

/** The name of the view that is shown. */
export const currentView = () => NAMES.find((name) => location.hash === `#${name}`) ?? "chat";

/** Show another view. */
export function goTo(name) {
  if (name !== currentView()) location.hash = name;
}
