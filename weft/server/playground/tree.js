// A conversation is a tree of messages: each has one parent, and at each fork one child is chosen.
// Plain data; knows neither the page nor the server.
//
//   conversation: {id, title, created, updated, messages, chosen}
//   message: {id, parent, role, content, …}; parents stand before their children in `messages`
//   chosen: {id of the parent, or "root": id of the child that is shown}

const ROOT = "root";

/** An id that no other message or conversation has. */
export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A conversation without messages. */
export function newConversation() {
  return { id: newId(), title: "", created: Date.now(), updated: Date.now(), messages: [], chosen: {} };
}

/** Add a message below `parent` (an id; null: at the start) and choose it. */
export function add(conversation, parent, fields) {
  const message = { id: newId(), parent, ...fields };
  conversation.messages.push(message);
  choose(conversation, message);
  return message;
}

/** Show `message` rather than those beside it. */
export function choose(conversation, message) {
  conversation.chosen[message.parent ?? ROOT] = message.id;
}

/** The messages with the same parent, in the order in which they were made. */
export function siblings(conversation, message) {
  return conversation.messages.filter(({ parent }) => parent === message.parent);
}

/** The messages that are shown, from the first to the last. */
export function path(conversation) {
  const below = new Map();
  for (const one of conversation.messages) below.set(one.parent, [...(below.get(one.parent) ?? []), one]);
  const found = [];
  for (let parent = null; below.has(parent); parent = found.at(-1).id) {
    const options = below.get(parent);
    found.push(options.find(({ id }) => id === conversation.chosen[parent ?? ROOT]) ?? options.at(-1));
  }
  return found;
}

/** Delete `message` and all below it. One beside it is shown then. */
export function remove(conversation, message) {
  const all = siblings(conversation, message);
  const beside = all[all.indexOf(message) - 1] ?? all[all.indexOf(message) + 1];
  const gone = new Set([message.id]);
  for (const one of conversation.messages) if (gone.has(one.parent)) gone.add(one.id);
  conversation.messages = conversation.messages.filter(({ id }) => !gone.has(id));
  for (const id of gone) delete conversation.chosen[id];
  delete conversation.chosen[message.parent ?? ROOT];
  if (beside) choose(conversation, beside);
}

/** What a list shows for the conversation: its title, else the beginning of its first message. */
export function titleOf(conversation) {
  const first = path(conversation).find(({ role }) => role === "user")?.content.trim().replace(/\s+/g, " ") ?? "";
  return conversation.title || first.slice(0, 80) || "New conversation";
}
