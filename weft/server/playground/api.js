// Calls to the server: the API key, JSON requests, and a chat as a stream of events. Knows nothing of the page.

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let key = sessionStorage.getItem("weft-key") ?? "";

/** Use `value` as API key from now on, in this tab. */
export function setKey(value) {
  key = value.trim();
  sessionStorage.setItem("weft-key", key);
}

export const hasKey = () => key !== "";

async function call(path, options = {}) {
  const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  const response = await fetch(path, { ...options, headers });
  if (!response.ok) throw new ApiError(response.status, await errorText(response));
  return response;
}

async function errorText(response) {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    return error.message ?? String(error);
  } catch {
    return text || `${response.status} ${response.statusText}`;
  }
}

/** The models that are served. */
export async function models() {
  return (await (await call("v1/models")).json()).data;
}

/** The text of /metrics. */
export async function metricsText() {
  return await (await call("metrics")).text();
}

/** The events of a chat, as they come. */
export async function* chat(body, signal) {
  const response = await call("v1/chat/completions", {
    method: "POST", signal, body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new ApiError(event.error.code, event.error.message);
    yield event;
  }
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (held + value).split("\n\n");
    held = parts.pop();
    for (const part of parts) yield part.replace(/^data: /, "");
  }
}

/** A command line that sends `body` to this server. */
export function asCurl(body) {
  const url = new URL("v1/chat/completions", document.baseURI).href;
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", `'\\''`);
  const auth = key ? ` \\\n  -H 'Authorization: Bearer YOUR_KEY'` : "";
  return `curl ${url} \\\n  -H 'Content-Type: application/json'${auth} \\\n  -d '${quoted}'`;
}
