/** Downloads: links from strangers under the specification's rules, into memory, a file or a Blob, with retries. */

import { platform } from "./platform.js";
import { NATSBridgeError, isError, redacted, shownText } from "./errors.js";
import { FORBIDDEN, isForbidden, originOf, originsOf, plainOrigin, serverOf, webUrl } from "./addresses.js";
import { log } from "./log.js";
import { count, timed } from "./metrics.js";
import { Retries, Watch, retryAfter } from "./retry.js";
import { receiveSettings } from "./settings.js";
import { Breaths, joined } from "./sources.js";
import { lossyUtf8, parseTimestamp } from "./values.js";

const MAX_ERROR = 4_096;
/** Difference of two clocks up to which a link's expiry is left to its server */
const CLOCK_SKEW = 5 * 60_000;
const UNTRUSTED = /^(?:CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT|HOSTNAME_MISMATCH)/;

/** What broke a request: a `fetch` wraps it in an error of its own */
export function brokenBy(error) {
  const cause = error.cause?.code !== undefined ? error.cause : error;
  return { cause, why: cause.message || cause.code || "the request failed", untrusted: UNTRUSTED.test(cause.code ?? "") };
}

/** Pieces in memory */
export function memorySink() {
  let pieces = [];
  let size = 0;
  return {
    async write(bytes) {
      pieces.push(bytes);
      size += bytes.length;
    },
    async restart() {
      [pieces, size] = [[], 0];
    },
    async discard() {
      pieces = [];
    },
    finish: () => joined(pieces, size),
  };
}

/** Reads a link into memory: the default download handler */
export async function fetchWithBackoff(link) {
  const sink = memorySink();
  const { url, dataname = null, size = 0, limit = size || 2 ** 30, one_shot = false, expires_at = null, sha256 = null, ...options } = link;
  await fetchLink({ url, dataname, size, limit, one_shot, expires_at, sha256, ...receiveSettings(options) }, sink);
  return sink.finish();
}

/** Reads a link into a sink, checked: size, limit, digest */
export function fetchLink(link, sink) {
  return timed("file_download_duration_seconds", () => download(link, sink));
}

async function download(link, sink) {
  const failed = (code, why, cause) => new NATSBridgeError(code, `failed to fetch ${shownText(redacted(link.url), 200)}: ${why}`, link.dataname, cause);
  const { url, guarded, headers } = checkLink(link, failed);
  if (link.expires_at !== null && link.expires_at.getTime() + CLOCK_SKEW < Date.now()) throw failed("expired", `it was good until ${link.expires_at.toISOString()}`);
  if (link.size > link.limit) throw failed("too_large", `it has ${link.size} bytes, this receiver takes ${link.limit}`);
  const retries = new Retries(link, "download");
  const part = { size: 0, hash: null, etag: null, wasCorrupt: false };
  for (;;) {
    const attempted = await attempt(url, link, { guarded, headers }, sink, part);
    if (attempted === null) return;
    const { code, why, wait = null, cause, temporary } = attempted;
    if (!temporary) throw failed(code, why, cause);
    log("debug", "a download failed and is tried again", { url: redacted(link.url), why });
    if (!(await retries.pause(wait))) {
      count("download_retry_exceeded_total");
      throw failed("download_retry_exceeded", `gave up after ${link.max_retries - retries.left} retries: ${why}`, cause);
    }
  }
}

/** Whether a link may be followed, and with which headers */
function checkLink(link, failed) {
  const url = webUrl(link.url);
  if (url === null) throw failed("blocked_origin", "a link is an http or https URL");
  if (url.username || url.password) throw failed("blocked_origin", "a link has no user info");
  const allowed = originsOf(link.allowed_origins, link.fileserver_url);
  if (allowed !== null && !allowed.some((origin) => originOf(origin) === originOf(url))) {
    const places = allowed.join(", ") || "nothing is";
    throw failed("blocked_origin", `its origin is not allowed (allowed: ${places}); pass allowed_origins if you trust it`);
  }
  if (allowed === null && isForbidden(url.hostname)) throw failed("blocked_origin", "it leads to an address that no link may lead to");
  const headers = platform.isBrowser ? {} : { ...platform.headers, "Accept-Encoding": "identity" };
  // User name and password of the file server's URL go to that origin alone.
  if (link.fileserver_url && link.fileserver_url.includes("@")) {
    const server = serverOf(link.fileserver_url);
    if (server.origin === plainOrigin(url)) Object.assign(headers, server.headers);
  }
  return { url, guarded: allowed === null, headers };
}

/** One request: null when the sink has the whole payload, else what went wrong; `part` is what the sink has of it */
async function attempt(url, link, { guarded, headers }, sink, part) {
  const watch = new Watch(link.signal, link.idle_timeout);
  const isRest = part.etag !== null && part.size > 0;
  let hasBody = false;
  try {
    const asked = isRest ? { ...headers, Range: `bytes=${part.size}-`, "If-Range": part.etag } : headers;
    const response = await platform.request({ url, headers: asked, signal: watch.signal, guarded, fetch: link.fetch });
    watch.touch();
    const { status } = response;
    if (isRest && (status === 416 || (status === 206 && rangeStart(response) !== part.size))) {
      response.cancel();
      part.etag = null;
      return { temporary: true, code: "rejected", why: "the server sent another range than was asked for" };
    }
    if (status !== 200 && !(isRest && status === 206)) return await refused(response, link, url, watch);
    hasBody = true;
    return await readBody(response, link, sink, watch, part);
  } catch (error) {
    // A page may not be allowed to ask for a range, and is not told so.
    if (platform.isBrowser && !hasBody) part.etag = null;
    if (link.signal?.aborted) throw watch.signal.reason;
    const isConsumed = link.one_shot && hasBody && !watch.isSlow;
    if (watch.signal.aborted) return { temporary: !watch.isSlow && !isConsumed, code: isConsumed ? "consumed" : "timeout", why: watch.signal.reason.reason };
    const { cause, why: reason, untrusted } = brokenBy(error);
    if (cause.code === FORBIDDEN) return { code: "blocked_origin", why: cause.message, cause: error };
    if (isError(error)) return { code: error.code, why: error.reason, cause: error };
    const why = shownText(reason, 200);
    if (untrusted) return { code: "untrusted", why, cause: error };
    if (isConsumed) return { code: "consumed", why: `the one-shot file's body broke: ${why}`, cause: error };
    return { temporary: true, code: "unreachable", why, cause: error };
  } finally {
    watch.end();
  }
}

/** Where the bytes of a 206 begin */
const rangeStart = (response) => Number(/^bytes (\d+)-/.exec(response.header("Content-Range") ?? "")?.[1] ?? NaN);

/** Reads the whole payload, or of a 206 the rest of it, into the sink, and checks it */
async function readBody(response, link, sink, watch, part) {
  const stop = (code, why) => {
    response.cancel();
    return { code, why };
  };
  const encoding = response.header("Content-Encoding");
  const encoded = encoding !== null && encoding.toLowerCase() !== "identity";
  // A browser has undone it already; size and digest tell.
  if (encoded && !platform.isBrowser) return stop("rejected", `the body is encoded as \`${shownText(encoding)}\`, which was not asked for`);
  if (response.status === 200) {
    await sink.restart();
    const etag = response.header("ETag");
    // A weak tag does not promise the same bytes; those of an encoding are counted otherwise by the server.
    const mayContinue = etag !== null && etag.startsWith('"') && !encoded;
    Object.assign(part, { size: 0, hash: link.sha256 === null ? null : platform.hasher("sha256"), etag: mayContinue ? etag : null });
  }
  const stated = response.header("Content-Length");
  const length = stated === null || encoded ? null : part.size + Number(stated);
  if (length !== null && link.size > 0 && length !== link.size) return stop("size_mismatch", `the server offers ${length} bytes instead of ${link.size}`);
  if (length !== null && length > link.limit) return stop("too_large", `the server offers ${length} bytes, this receiver takes ${link.limit}`);
  const breaths = new Breaths();
  for await (const chunk of response.chunks()) {
    const size = part.size + chunk.length;
    if (link.size > 0 && size > link.size) return stop("size_mismatch", `it holds more than ${link.size} bytes`);
    if (size > link.limit) return stop("too_large", `it holds more than ${link.limit} bytes`);
    watch.touch(chunk.length, true);
    part.hash?.update(chunk);
    await sink.write(chunk);
    part.size = size;
    await breaths.take();
    watch.touch(0, true);
    link.on_progress?.({ dataname: link.dataname, operation: "download", done: size, total: link.size || length });
  }
  if (part.size < (link.size || length)) {
    return link.one_shot ? { code: "consumed", why: "the one-shot file's body ended early" } : { temporary: true, code: "unreachable", why: "the body ended early" };
  }
  if (part.hash === null || part.hash.hex() === link.sha256) return null;
  // It may have been damaged on the way: it is read once more.
  const temporary = !part.wasCorrupt && !link.one_shot && link.max_retries > 0;
  Object.assign(part, { etag: null, wasCorrupt: true });
  return { temporary, code: "digest", why: "it holds other bytes than were sent" };
}

/** What a response other than 200 means */
async function refused(response, link, url, watch) {
  let { status } = response;
  let text = "";
  if (status === 0 || (status >= 300 && status < 400)) {
    // A Plik up to 1.3.8 hides its errors in a redirect; a browser does not show where one leads.
    const location = response.header("Location") ?? "";
    response.cancel();
    status = Number(/[?&]errcode=([45][0-9]{2})/.exec(location)?.[1] ?? 0);
    if (status === 0) return { code: "blocked_origin", why: "a redirect is not followed" };
    text = /[?&]err=([^&]*)/.exec(location)?.[1] ?? "";
  } else {
    text = lossyUtf8(await beginning(response, watch));
  }
  const said = shownText(text.trim().split("\n")[0], 200);
  const wait = retryAfter(response.header("Retry-After"));
  const why = `the server answered ${status}${said === "" ? "" : `: ${said}`}`;
  if (isTemporary(status, wait)) return { temporary: true, code: "unreachable", why, wait };
  const over = /expired|not valid in the specified time frame/i.test(text) || isPast(link.expires_at) || isPast(signedUntil(url));
  if ([400, 401, 403, 404, 410].includes(status) && over) return { code: "expired", why };
  if ([404, 410].includes(status)) return { code: link.one_shot ? "consumed" : "not_found", why };
  return { code: [401, 403, 407].includes(status) ? "refused" : "rejected", why };
}

const isPast = (moment) => moment !== null && moment.getTime() < Date.now();

/** Whether another try may succeed after this status */
export function isTemporary(status, wait) {
  if (status === 409) return wait !== null; // another client reads the one-shot file
  if (status >= 500) return !(status === 501 || (status >= 505 && status <= 508) || status === 510 || status === 511);
  return [408, 425, 429].includes(status);
}

/** The first bytes of an error's body, as far as they come in time */
export async function beginning(response, watch) {
  const pieces = [];
  let size = 0;
  try {
    for await (const chunk of response.chunks()) {
      watch.touch();
      pieces.push(chunk.subarray(0, MAX_ERROR - size));
      size += pieces[pieces.length - 1].length;
      if (size >= MAX_ERROR) break;
    }
  } catch {
    // The part before is useful too.
  }
  response.cancel();
  return joined(pieces.length > 0 ? pieces : [new Uint8Array()], size);
}

/** Until when a presigned link of S3, Google or Azure is good; null where it does not say */
function signedUntil(url) {
  const value = (name) => [...url.searchParams].find(([key]) => key.toLowerCase() === name)?.[1] ?? null;
  if (value("sig") !== null) return parseTimestamp(value("se") ?? "");
  for (const cloud of ["amz", "goog"]) {
    const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(value(`x-${cloud}-date`) ?? "");
    const seconds = value(`x-${cloud}-expires`);
    if (parts === null || !/^\d{1,9}$/.test(seconds ?? "")) continue;
    const [, year, month, day, hour, minute, second] = parts.map(Number);
    return new Date(Date.UTC(year, month - 1, day, hour, minute, second) + Number(seconds) * 1000);
  }
  return null;
}
