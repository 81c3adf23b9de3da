// The gateway's API in the browser: the key, errors as sentences, and event streams.

const KEY = "daiic-key";

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  clear: () => sessionStorage.removeItem(KEY),
};

/** An error that the gateway sent; `status` is 0 if it did not answer, `code` may be missing. */
export class ApiError extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Send a request and return the response; a 401 also fires `keyneeded` on the window. */
export async function request(path, { body, signal } = {}) {
  const headers = {};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  const isForm = body instanceof FormData; // the browser says its type
  if (body && !isForm) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: isForm ? body : body && JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The gateway does not answer.");
  }
  if (response.ok) return response;
  if (response.status === 401) window.dispatchEvent(new CustomEvent("keyneeded", { detail: Boolean(key.get()) }));
  const answer = await response.json().catch(() => ({}));
  throw new ApiError(response.status, answer.error?.message ?? answer.error ?? `${response.status} ${response.statusText}`);
}

/** Send a request and return the JSON that is the answer. */
export async function requestJson(path, options) {
  return (await request(path, options)).json();
}

/** Yield the JSON of each event that `path` streams; an error in the stream is thrown. */
export async function* events(path, options) {
  const response = await request(path, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      pending += value;
      const blocks = pending.split("\n\n");
      pending = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
        if (!data) continue;
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error) throw new ApiError(500, event.error.message, event.error.code);
        yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
