/** Requests by a `fetch`: the browser's, undici's or node-fetch's, whose body may be a stream of either kind. */

/** Sends a request; `bodyOf` makes the body that this `fetch` takes */
export async function fetchRequest(fetch, { method = "GET", url, headers, body = null, signal, onSent = () => {} }, bodyOf) {
  const abort = new AbortController();
  const forward = () => abort.abort(signal.reason);
  if (signal?.aborted) forward();
  else signal?.addEventListener("abort", forward, { once: true });
  try {
    const init = { method, headers, redirect: "manual", credentials: "omit", signal: abort.signal, ...(body === null ? {} : bodyOf(body, onSent)) };
    const response = await fetch(String(url), init);
    return {
      status: response.status,
      header: (name) => response.headers.get(name),
      chunks: () => chunksOf(response.body),
      cancel: () => abort.abort(),
    };
  } catch (error) {
    signal?.removeEventListener("abort", forward);
    throw error;
  }
}

/** The pieces of a web stream, a Node stream or nothing */
export async function* chunksOf(body) {
  if (body === null || body === undefined) return;
  if (typeof body.getReader !== "function") {
    yield* body;
    return;
  }
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
