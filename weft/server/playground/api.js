// Calls to the server: JSON requests, and answers as streams of events. Knows nothing of the page.

import { hasKey, keyHeader } from "./key.js";

/** An answer that is an error. param: the path of the wrong field in the request's body; null: none is named. */
export class ApiError extends Error {
  constructor(status, message, param = null) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

async function call(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { ...options.headers, ...keyHeader() } });
  if (!response.ok) throw await errorOf(response);
  return response;
}

async function errorOf(response) {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    return new ApiError(response.status, error.message ?? String(error), error.param ?? null);
  } catch {
    return new ApiError(response.status, text || `${response.status} ${response.statusText}`);
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

const post = (path, body, signal) => call(path, {
  method: "POST", signal, body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
});

/** The answer to `body`, as an object. */
export async function posted(path, body, signal) {
  return await (await post(path, body, signal)).json();
}

/** The events of an answer to `body` as they come. path: "v1/chat/completions" or "v1/completions".
 *  ApiError without a status: the connection broke, as the server says when an answer has ended. */
export async function* streamed(path, body, signal) {
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await post(path, asked, signal);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new ApiError(event.error.code, event.error.message, event.error.param);
    yield event;
  }
  throw broken();
}

const broken = () => new ApiError(null, "The connection to the server broke before the end of the answer.");

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : broken();
    });
    if (done) return;
    const parts = (held + value).split("\n\n");
    held = parts.pop();
    for (const part of parts) yield part.replace(/^data: /, "");
  }
}

/** A command line that sends `body` to this server. */
export function asCurl(path, body) {
  const url = new URL(path, document.baseURI).href;
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", `'\\''`);
  const auth = hasKey() ? ` \\\n  -H 'Authorization: Bearer YOUR_KEY'` : "";
  return `curl ${url} \\\n  -H 'Content-Type: application/json'${auth} \\\n  -d '${quoted}'`;
}
