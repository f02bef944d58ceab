// The conversations of this browser, and which of them is open.

import { tell } from "./notice.js";
import * as store from "./store.js";
import { newConversation, newId } from "./tree.js";

const OPEN = "weft-open"; // in the tab: the id of the conversation that a reload opens again

let conversations = new Map(); // {id: conversation}
let open = newConversation();
let listeners = [];
let isKept = true;

/** The open conversation. It is not in the list before it has messages. */
export const current = () => open;

/** All conversations, the last changed first. */
export const listed = () => [...conversations.values()].sort((a, b) => b.updated - a.updated);

/** Whether `conversation` is in the list, so that an answer that was being written when it was deleted stays deleted. */
export const isListed = (conversation) => conversations.get(conversation.id) === conversation;

/** Call `listener()` after each change of the list, or of which conversation is open. */
export const onChange = (listener) => listeners.push(listener);

const changed = () => listeners.forEach((listener) => listener());

/** Read what this browser keeps. A conversation that was begun meanwhile stays. */
export async function load() {
  const begun = conversations;
  try {
    conversations = new Map([...(await store.all()).map((one) => [one.id, one]), ...begun]);
  } catch (error) {
    cannotKeep(error);
  }
  if (!open.messages.length) open = conversations.get(sessionStorage.getItem(OPEN)) ?? open;
  changed();
}

/** Read again what other tabs changed, unless `isBusy()` afterwards: an answer is being written here. */
export async function refresh(isBusy) {
  if (!isKept) return;
  const found = await store.all();
  const isSame = found.length === conversations.size && found.every(({ id, saved }) => conversations.get(id)?.saved === saved);
  if (isSame || isBusy()) return;
  conversations = new Map(found.map((one) => [one.id, one]));
  open = conversations.get(open.id) ?? (open.messages.length ? newConversation() : open);
  changed();
}

/** Open a conversation of the list; null: a new one. */
export function openOne(conversation) {
  open = conversation ?? newConversation();
  sessionStorage.setItem(OPEN, open.id);
  changed();
}

/** Keep `conversation` as it is now. */
export async function keep(conversation) {
  conversation.updated = Date.now();
  await putBack(conversation);
}

/** Keep `conversation` without making it the last changed one. */
export async function putBack(conversation) {
  conversation.saved = Date.now(); // by which other tabs see that it changed
  conversations.set(conversation.id, conversation);
  if (conversation.id === open.id) {
    open = conversation;
    sessionStorage.setItem(OPEN, conversation.id);
  }
  changed();
  await kept(() => store.put(conversation));
}

/** Keep what was written into `conversation` by now; tells no listener. */
export const keepQuietly = (conversation) => kept(() => store.put(conversation));

/** Forget `conversation`. */
export async function forget(conversation) {
  conversations.delete(conversation.id);
  if (conversation.id === open.id) openOne(null);
  else changed();
  await kept(() => store.forget(conversation.id));
}

/** Add conversations of a file; those whose id is taken get another. */
export async function addAll(found) {
  for (const one of found) await putBack(conversations.has(one.id) ? { ...one, id: newId() } : one);
}

async function kept(action) {
  if (!isKept) return;
  try {
    await action();
  } catch (error) {
    cannotKeep(error);
  }
}

function cannotKeep(error) {
  isKept = false;
  tell(`This browser does not keep conversations: ${error.message} They last until the page is closed.`);
}
