// The server's API: requests with the key, errors in one sentence, and streamed completions.

let key = ""; // in memory only
let askForKey = async () => null;

/** Set what asks the user for a key: called with whether one was refused, resolves to a key or null. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

export class ApiError extends Error {
  constructor(status, message, code = null, retryAfterSeconds = 0) {
    super(message);
    Object.assign(this, { status, code, retryAfterSeconds });
  }
}

/** Return the parsed reply of a request; POST where there is a body. */
export async function json(path, body, signal) {
  return (await request(path, body, signal)).json();
}

/** Yield the chunks of a streamed chat completion. */
export async function* stream(body, signal) {
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await request("v1/chat/completions", asked, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new ApiError(0, "The connection ended before the answer did.");
    const events = (left + value).split("\n\n");
    left = events.pop();
    for (const event of events) {
      const data = event.slice("data: ".length);
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(500, chunk.error.message, chunk.error.code);
      yield chunk;
    }
  }
}

async function request(path, body, signal) {
  for (let refused = false; ; refused = true) {
    const response = await send(path, body, signal);
    if (response.ok) return response;
    if (response.status === 401) {
      const given = await askForKey(refused || key !== "");
      if (given === null) throw new ApiError(401, "This server answers only with its API key.");
      key = given;
      continue;
    }
    let error = {};
    try {
      ({ error } = await response.json());
    } catch {
      // A proxy in between may answer in another shape.
    }
    const message = error.message ?? `The server answered with status ${response.status}.`;
    throw new ApiError(response.status, message, error.code, Number(response.headers.get("Retry-After")));
  }
}

async function send(path, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  try {
    return await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached; is it still running?");
  }
}
