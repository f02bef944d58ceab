// Conversations as a JSON file, out and in. A file is checked field by field before anything of it is used.

const FORMAT = "weft-conversations";
const ROLES = ["user", "assistant", "tool"];

/** The text of a file with `conversations`. */
export function asFile(conversations) {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
}

/** The conversations in a file's text. Error names the first wrong field. */
export function readFile(text) {
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Error("The file is not JSON.");
  }
  check(data?.format === FORMAT, "format", data?.format, `"${FORMAT}": a file that this page exported`);
  check(data.version === 1, "version", data.version, "1");
  check(Array.isArray(data.conversations), "conversations", data.conversations, "a list");
  return data.conversations.map((one, i) => readConversation(one, `conversations.${i}`));
}

function readConversation(one, place) {
  check(isText(one?.id) && one.id, `${place}.id`, one?.id, "a text");
  check(isText(one.title), `${place}.title`, one.title, "a text");
  check(Array.isArray(one.messages), `${place}.messages`, one.messages, "a list");
  const ids = new Set([null]);
  for (const [i, message] of one.messages.entries()) {
    readMessage(message, `${place}.messages.${i}`, ids);
    ids.add(message.id);
  }
  const chosen = Object.fromEntries(Object.entries(one.chosen ?? {}).filter(([, id]) => isText(id)));
  const time = (value) => (Number.isFinite(value) ? value : Date.now());
  return { ...one, chosen, created: time(one.created), updated: time(one.updated) };
}

function readMessage(message, place, ids) {
  check(isText(message?.id) && !ids.has(message.id), `${place}.id`, message?.id, "a text that no other message has");
  check(ids.has(message.parent), `${place}.parent`, message.parent, "null or the id of a message before it");
  check(ROLES.includes(message.role), `${place}.role`, message.role, ROLES.join(", "));
  check(isText(message.content), `${place}.content`, message.content, "a text");
  for (const name of ["calls", "tokens"]) {
    check(Array.isArray(message[name] ?? []), `${place}.${name}`, message[name], "a list");
  }
}

const isText = (value) => typeof value === "string";

function check(holds, field, value, expected) {
  if (!holds) throw new Error(`${field} = ${JSON.stringify(value)?.slice(0, 60)}: expected ${expected}.`);
}
