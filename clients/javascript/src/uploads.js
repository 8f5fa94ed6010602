/** Uploads to a Plik file server, or any with its HTTP API: repeated when they break, checked by size and MD5. */

import { platform } from "./platform.js";
import { NATSBridgeError, isError, shownText, wrongValue } from "./errors.js";
import { serverOf } from "./addresses.js";
import { beginning, brokenBy, isTemporary } from "./links.js";
import { log } from "./log.js";
import { Retries, Timeout, Watch, retryAfter } from "./retry.js";
import { sendSettings } from "./settings.js";
import { Breaths, joined, sourceOf } from "./sources.js";
import { describe, lossyUtf8, parseTimestamp } from "./values.js";

const MAX_ANSWER = 1024 * 1024;
const MAX_TTL = 2_147_483_647;
const CONFIG_LIFE = 60_000;
const FILE_NAME = "payload.bin";

/** Servers' limits, for a minute */
const configs = new Map();

class Failure {
  constructor(error, temporary = false, wait = null) {
    Object.assign(this, { error, temporary, wait });
  }
}

const failed = (code, why, cause) => new NATSBridgeError(code, `failed to upload: ${why}`, null, cause);

/**
 * Stores bytes on a Plik file server; the default upload handler. Takes `{fileserver_url, data, one_shot, ttl, token}`, and
 * the options of transfers; what is not in `data` comes by `stream` and `size`, as an upload handler is given them. Resolves to
 * `{url, expires_at, one_shot, sha256, delete}`.
 */
export async function plikUpload(upload) {
  const { fileserver_url, data, source: given = null, one_shot = false, ttl, token = "", may_be_one_shot = one_shot, dataname = null, stream, size, bytes: _, ...options } = upload;
  const settings = sendSettings({ ...options, ...(ttl === undefined ? {} : { ttl }) });
  const server = serverOf(fileserver_url);
  const isStreamed = (data ?? null) === null && typeof stream === "function" && typeof size === "number";
  const source = given ?? (isStreamed ? { size, chunks: stream } : await sourceOf(data, settings.signal));
  if (source === null) throw wrongValue(`an upload holds bytes, not ${describe(data)}`);
  const time = new Timeout(settings.signal, settings.upload_timeout, () => failed("timeout", "it took longer than upload_timeout"));
  const asked = { server, source, one_shot, ttl: settings.ttl, token, may_be_one_shot, dataname, ...settings, signal: time.signal };
  const retries = new Retries({ ...settings, signal: time.signal }, "upload");
  try {
    for (;;) {
      try {
        return await attempt(asked);
      } catch (error) {
        const failure = error instanceof Failure ? error : new Failure(error);
        if (time.signal.aborted) throw time.signal.reason;
        log("debug", "an upload failed", { why: failure.error.message, again: failure.temporary });
        if (!failure.temporary || !(await retries.pause(failure.wait))) throw failure.error;
      }
    }
  } finally {
    time.end();
    if (given === null) await source.release?.();
  }
}

async function attempt(asked) {
  const { server, source, token } = asked;
  const credentials = token ? { "X-PlikToken": token } : {};
  const send = (method, path, body, headers = {}, onSent) => request(asked, method, path, body, { ...credentials, ...headers }, onSent);
  const config = await configOf(asked, send);
  const wish = wishOf(asked, config);
  const created = json(await send("POST", "/upload", jsonBody(wish), { "Content-Type": "application/json" }));
  if (typeof created.id !== "string" || typeof created.uploadToken !== "string") throw new Failure(failed("rejected", "the answer is not one of this kind of server"));
  const secret = { "X-UploadToken": created.uploadToken };
  const id = encodeURIComponent(created.id);
  const remove = async (again = true) => {
    // The caller may have aborted: what was uploaded is deleted all the same.
    const patience = { ...asked, signal: null, idle_timeout: Math.min(asked.idle_timeout, 5_000) };
    try {
      await request(patience, "DELETE", `/upload/${id}`, null, { ...credentials, ...secret });
    } catch (failure) {
      if (failure.notThere) return;
      // The connection may be the one that broke before.
      if (!failure.temporary || !again) throw failure.error;
      await remove(false);
    }
  };
  try {
    if (created.stream) throw new Failure(failed("rejected", "the server forces streaming, which keeps nothing for a receiver that reads later"));
    if (created.oneShot && !asked.may_be_one_shot) throw new Failure(failed("rejected", "the server makes every link one-shot, and this message may be read more than once"));
    const sums = { sha256: platform.hasher("sha256"), md5: platform.hasher("md5"), size: 0 };
    const body = formBody(source, sums);
    let done = 0;
    const onSent = (bytes) => {
      done += bytes;
      asked.on_progress?.({ dataname: asked.dataname, operation: "upload", done: Math.min(source.size, done), total: source.size });
    };
    const kept = json(await send("POST", `/file/${id}`, body, { ...secret, "Content-Type": body.type }, onSent).catch((error) => {
      // The upload vanished between two requests: a new one may not.
      if (error instanceof Failure && error.notThere) error.temporary = true;
      throw error;
    }));
    const md5 = await body.finish();
    if (kept.status !== "uploaded" || Number(kept.fileSize) !== source.size || (kept.fileMd5 && kept.fileMd5.toLowerCase() !== md5)) {
      throw new Failure(failed("digest", "the server stored other bytes than were sent"), true);
    }
    return { ...storedAt(server, created, kept, asked), sha256: sums.sha256.hex(), delete: () => remove() };
  } catch (error) {
    await Promise.race([remove().catch(() => {}), new Promise((resolve) => setTimeout(resolve, 2_000))]);
    throw error;
  }
}

/** What is asked of the server: the nearest to the sender's wish that it offers */
function wishOf({ source, one_shot, ttl, token }, config) {
  const wish = { oneShot: one_shot, ttl: Math.min(Math.max(1, Math.ceil(ttl)), MAX_TTL) };
  if (config === null) return wish;
  const limit = Number(config.maxFileSize ?? 0);
  if (limit > 0 && source.size > limit) throw new Failure(failed("too_large", `the payload has ${source.size} bytes, the server takes ${limit}`));
  if ((config.noAnonymousUploads || config.feature_authentication === "forced") && !token) {
    throw new Failure(failed("refused", "the server takes no anonymous uploads; give fileserver_token"));
  }
  if (Number(config.maxTTL) > 0) wish.ttl = Math.min(wish.ttl, Number(config.maxTTL));
  if (config.feature_one_shot === "disabled" || config.oneShot === false) wish.oneShot = false;
  return wish;
}

async function configOf({ server }, send) {
  const known = configs.get(server.base);
  if (known && known.until > Date.now()) return known.config;
  let config = null;
  try {
    const found = JSON.parse(lossyUtf8(await send("GET", "/config", null)));
    if (typeof found === "object") config = found;
  } catch (error) {
    // A server without a configuration is as good.
    if (error instanceof Failure && error.temporary) throw error;
  }
  if (configs.size > 100) configs.clear();
  configs.set(server.base, { config, until: Date.now() + CONFIG_LIFE });
  return config;
}

function storedAt(server, created, kept, { one_shot, ttl }) {
  const given = [created.downloadURL, created.downloadDomain].map((base) => (base ?? "").trim().replace(/\/+$/, "")).find(Boolean);
  // Administrators forget the scheme.
  const base = given === undefined ? server.base : given.includes("://") ? given : `${server.protocol}//${given}`;
  const seconds = Number(created.ttl ?? 0);
  const expires = created.expireAt ? parseTimestamp(created.expireAt) : seconds > 0 ? new Date(Date.now() + seconds * 1000) : null;
  if (one_shot !== Boolean(created.oneShot) || (seconds > 0 && seconds < ttl)) {
    log("warn", "the file server grants another lifetime than was asked for", { one_shot: Boolean(created.oneShot), ttl: seconds });
  }
  const url = `${base}/file/${[created.id, kept.id, kept.fileName].map(encodeURIComponent).join("/")}`;
  return { url, expires_at: expires?.toISOString(), one_shot: Boolean(created.oneShot) };
}

function jsonBody(value) {
  const bytes = platform.encode(JSON.stringify(value));
  return { length: bytes.length, parts: [bytes], chunks: () => [bytes] };
}

/** A multipart form with one file, whose sums are made as it passes; a Blob in it stays where it is */
function formBody(source, sums) {
  const mark = `natsbridge${platform.uuid().replace(/-/g, "")}`;
  const head = platform.encode(`--${mark}\r\nContent-Disposition: form-data; name="file"; filename="${FILE_NAME}"\r\nContent-Type: application/octet-stream\r\n\r\n`);
  const tail = platform.encode(`\r\n--${mark}--\r\n`);
  const hashed = async function* () {
    const breaths = new Breaths();
    for await (const chunk of source.chunks()) {
      sums.sha256.update(chunk);
      sums.md5.update(chunk);
      sums.size += chunk.length;
      yield chunk;
      await breaths.take();
    }
  };
  const inBrowser = platform.isBrowser;
  return {
    type: `multipart/form-data; boundary=${mark}`,
    length: head.length + source.size + tail.length,
    parts: inBrowser ? [head, source.blob ?? source.bytes, tail] : undefined,
    async *chunks() {
      yield head;
      yield* hashed();
      yield tail;
    },
    async finish() {
      // A browser reads the Blob by itself, so it is read once more here.
      if (sums.size === 0) for await (const _ of hashed()); // eslint-disable-line no-unused-vars
      if (sums.size !== source.size) throw new Failure(failed("digest", "the server answered before it had all bytes"), true);
      return sums.md5.hex();
    },
  };
}

function json(bytes) {
  try {
    const value = JSON.parse(lossyUtf8(bytes));
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Said below.
  }
  throw new Failure(failed("rejected", "the answer is not JSON of this kind of server"));
}

/** One request; resolves to the body of a 200, throws a Failure for anything else */
async function request(asked, method, path, body, headers, onSent = () => {}) {
  const watch = new Watch(asked.signal, asked.idle_timeout);
  try {
    const response = await platform.request({
      method, url: new URL(asked.server.base + path), headers: { ...platform.headers, ...asked.server.headers, ...headers }, body,
      signal: watch.signal, fetch: asked.fetch,
      onSent: (bytes) => {
        watch.touch();
        onSent(bytes);
      },
    });
    watch.touch();
    if (response.status !== 200) throw await refusal(response, watch, headers);
    const pieces = [];
    let size = 0;
    for await (const chunk of response.chunks()) {
      watch.touch();
      size += chunk.length;
      if (size > MAX_ANSWER) {
        response.cancel();
        throw new Failure(failed("rejected", "the server's answer is too large"));
      }
      pieces.push(chunk);
    }
    return joined(pieces, size);
  } catch (error) {
    if (error instanceof Failure) throw error;
    if (asked.signal?.aborted) throw new Failure(asked.signal.reason);
    if (watch.signal.aborted) throw new Failure(failed("timeout", watch.signal.reason.reason), true);
    if (isError(error)) throw new Failure(error);
    const { why, untrusted } = brokenBy(error);
    throw new Failure(failed(untrusted ? "untrusted" : "unreachable", `${why}; is a file server running at ${asked.server.base} (fileserver_url)?`, error), !untrusted);
  } finally {
    watch.end();
  }
}

async function refusal(response, watch, headers) {
  const wait = retryAfter(response.header("Retry-After"));
  let { status } = response;
  const location = status >= 300 && status < 400 ? response.header("Location") ?? "" : "";
  const hidden = /[?&]errcode=([45][0-9]{2})/.exec(location)?.[1];
  if (hidden) status = Number(hidden);
  let text = lossyUtf8(await beginning(response, watch)).trim().split("\n")[0].slice(0, 200);
  // A server may echo what it was asked with.
  for (const secret of [headers["X-PlikToken"], headers["X-UploadToken"]]) if (secret) text = text.split(secret).join("…");
  const temporary = isTemporary(status, wait);
  const code = temporary ? "unreachable" : { 401: "refused", 403: "refused", 407: "refused", 413: "too_large", 507: "full" }[status] ?? "rejected";
  const failure = new Failure(failed(code, `the server answered ${status}${text ? `: ${shownText(text, 200)}` : ""}`), temporary, wait);
  return Object.assign(failure, { notThere: status === 404 });
}
