// The model that the server serves: its name in the bar, and its card for whoever asks.

import { models } from "./api.js";
import { byId } from "./dom.js";
import { tell } from "./notice.js";

const listeners = [];
let card;

/** Call `listener(card)` when the model is known, and when the user chooses another. card: an entry of /v1/models. */
export const onModel = (listener) => listeners.push(listener);

/** The card of the chosen model; undefined while none is known. */
export const modelCard = () => card;

/** Ask again where the chosen model was not loaded yet: an answer has come from it. */
export async function loadModelsAgain(refused) {
  if (card && !card.meta) await loadModels(refused);
}

/** Ask the server what it serves. refused(): called when it wants an API key. */
export async function loadModels(refused) {
  const select = byId("model");
  try {
    const cards = await models();
    const chosen = select.value;
    select.replaceChildren(...cards.map(({ id }) => new Option(id, id, false, id === chosen)));
    select.classList.toggle("single", cards.length === 1);
    const show = () => {
      card = cards.find(({ id }) => id === select.value);
      const size = card.max_model_len;      // null before the model was loaded, as is `meta`
      byId("context").textContent = size ? `${size.toLocaleString("en")} tokens of context` : "not loaded yet";
      listeners.forEach((listener) => listener(card));
    };
    select.onchange = show;
    show();
  } catch (error) {
    if (error.status === 401) refused();
    else tell(error.status ? error.message : "The server cannot be reached.");
  }
}
