// The page: wires the parts together, and looks after the drawers, the keys and the server's health.

import { models } from "./api.js";
import { setUpChat, stopAnswer } from "./chat.js";
import { load } from "./conversations.js";
import { byId, makeButton } from "./dom.js";
import { hasKey, setKey } from "./key.js";
import { setUpList } from "./list.js";
import { watchMetrics } from "./metrics.js";
import { tell } from "./notice.js";
import { setUpSettings } from "./settings.js";
import { setUpTheme } from "./theme.js";
import { copyText } from "./turns.js";

const EXAMPLES = ["Tell me a story about a small fox.", "What is 27 + 38?", "Tell me a story about a rainy day.",
  "What is 64 + 19?"];
const DRAWERS = ["list", "panel"]; // beside the conversation; over it on a narrow screen

async function loadModels() {
  try {
    const found = await models();
    const select = byId("model");
    select.replaceChildren(...found.map(({ id }) => new Option(id, id)));
    select.classList.toggle("single", found.length === 1);
    byId("context").textContent = `${found[0].max_model_len.toLocaleString("en")} tokens of context`;
  } catch (error) {
    if (error.status === 401) askForKey();
    else tell("The server cannot be reached.");
  }
}

function askForKey() {
  byId("key-card").hidden = false;
  openDrawer("panel");
  tell(hasKey() ? "The server does not know this API key." : "This server asks for an API key.");
  byId("key").focus();
}

/** Open one drawer and close the other; null: close both. */
function openDrawer(name) {
  for (const one of DRAWERS) {
    byId(one).classList.toggle("open", one === name);
    byId(`${one}-toggle`).setAttribute("aria-expanded", String(one === name));
  }
}

for (const name of DRAWERS) {
  byId(`${name}-toggle`).addEventListener("click", () => openDrawer(byId(name).classList.contains("open") ? null : name));
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !stopAnswer()) openDrawer(null);
});
byId("key-card").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(byId("key").value, { remember: byId("remember").checked });
  byId("key-card").hidden = true;
  tell("");
  openDrawer(null);
  loadModels();
});

setUpTheme(byId("theme"));
setUpSettings();
const chat = setUpChat({ model: () => byId("model").value || undefined, refused: askForKey });
setUpList({
  stop: stopAnswer,
  opened() {
    openDrawer(null);
    tell("");
    byId("input").focus();
  },
});
byId("curl").addEventListener("click", () => copyText(chat.curl(), byId("curl")));
byId("examples").append(...EXAMPLES.map((text) => makeButton(text, () => chat.say(text))));
watchMetrics((isUp) => {
  byId("health").className = `dot ${isUp ? "up" : "down"}`;
  byId("health").setAttribute("aria-label", isUp ? "server: up" : "server: cannot be reached");
});
loadModels();
load().then(() => byId("input").focus());
