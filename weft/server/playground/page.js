// The page: wires the parts together, and looks after the drawers, the keys and the server's health.

import { setUpChat, stopAnswer } from "./chat.js";
import { fitTexts, setUpComparison, showAbilities, stopComparison } from "./compare.js";
import { fitPrompt, setUpCompletion, stopCompletion } from "./complete.js";
import { load } from "./conversations.js";
import { byId, makeButton } from "./dom.js";
import { openDrawer, setUpDrawers } from "./drawers.js";
import { setUpEngine, showMetrics, showModel } from "./engine.js";
import { setUpForm } from "./form.js";
import { hasKey, setKey } from "./key.js";
import { setUpList } from "./list.js";
import { tell } from "./notice.js";
import { loadModels, loadModelsAgain, modelCard, onModel } from "./served.js";
import { setUpSettings, showDefaults } from "./settings.js";
import { setUpTheme } from "./theme.js";
import { setUpTools, tellOfTools } from "./tools.js";
import { currentView, goTo, offerViews, setUpViews } from "./views.js";
import { watchMetrics } from "./watch.js";

const EXAMPLES = ["Tell me a story about a small fox.", "What is 27 + 38?", "Tell me a story about a rainy day.",
  "What is 64 + 19?"];
const FIRST_FIELDS = { complete: "prompt", compare: "texts" }; // of a view; elsewhere it is the message
const HAS_KEYBOARD = matchMedia("(hover: hover)").matches; // elsewhere the focus would open the one on the screen

function askForKey() {
  byId("key-card").hidden = false;
  byId("key-label").textContent = hasKey() ? "The server does not know this key" : "This server asks for a key";
  openDrawer("panel");
  tell(hasKey() ? "The server does not know this API key." : "This server asks for an API key.");
  byId("key").focus();
}

/** The views for what a model can do; all for one that was not loaded yet. */
function viewsOf({ meta }) {
  const generates = meta?.tasks.includes("generate") ?? true;
  return [...(generates ? ["chat", "complete"] : []), ...(meta?.can_score ?? true ? ["compare"] : []), "engine"];
}

document.addEventListener("keydown", (event) => {
  const stop = { complete: stopCompletion, compare: stopComparison }[currentView()] ?? stopAnswer;
  const stopped = event.key === "Escape" && stop();
  if (event.key === "Escape" && !stopped) openDrawer(null);
  const isTyping = event.target.matches("input, textarea, select");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    openDrawer(null);
    byId(FIRST_FIELDS[currentView()] ?? "input").focus();
  }
});
byId("key-card").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(byId("key").value, { remember: byId("remember").checked });
  byId("key-card").hidden = true;
  tell("");
  openDrawer(null);
  loadModels(askForKey);
});

setUpTheme(byId("theme"));
setUpDrawers();
setUpSettings();
setUpForm();
setUpTools();
const chat = setUpChat({ card: modelCard, refused: askForKey, answered: () => loadModelsAgain(askForKey) });
setUpCompletion({ card: modelCard, refused: askForKey });
setUpComparison({ card: modelCard, refused: askForKey, answered: () => loadModelsAgain(askForKey) });
setUpList({
  stop: stopAnswer,
  opened() {
    goTo("chat");
    openDrawer(null);
    tell("");
    if (HAS_KEYBOARD) byId("input").focus();
  },
});
byId("curl").addEventListener("click", () => chat.copyCurl(byId("curl")));
byId("examples").append(...EXAMPLES.map((text) => makeButton(text, () => chat.say(text))));
setUpEngine();
setUpViews((name) => {
  openDrawer(null);
  tell("");
  if (name === "complete") fitPrompt();
  if (name === "compare") fitTexts();
});
watchMetrics((samples, time) => {
  byId("health").className = `dot ${samples ? "up" : "down"}`;
  byId("health").setAttribute("aria-label", samples ? "server: up" : "server: cannot be reached");
  showMetrics(samples, time);
});
onModel((card) => {
  offerViews(viewsOf(card));
  showAbilities(card);
  showModel(card);
  showDefaults(card.meta?.sampling_defaults ?? {}); // a model that was not loaded yet tells none
  tellOfTools(card.meta?.tool_calls ?? true);
  byId("no-chat").hidden = card.meta?.has_chat ?? true;
  byId("can-chat").hidden = !byId("no-chat").hidden;
});
loadModels(askForKey);
load().then(() => HAS_KEYBOARD && byId("input").focus());
