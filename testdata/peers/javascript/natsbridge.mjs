/**
 * NATSBridge for JavaScript: `smartsend` makes the JSON of a message, `smartreceive` reads it, you publish and subscribe.
 *
 * Node and browsers alike, without dependencies; in Node arrowtable needs the package apache-arrow, and fzstd for ZSTD
 * bodies. The rules are those of docs/specification.md, and `NATSBridgeError.code` is a word of its section 9. Option names
 * are those of the other languages.
 */

const inNode = typeof process !== "undefined" && Boolean(process.versions?.node);
const env = inNode ? process.env : {};

export const DEFAULT_BROKER_URL = env.NATS_URL || "nats://localhost:4222";
export const DEFAULT_FILESERVER_URL = env.FILESERVER_URL || "http://localhost:8080";
export const DEFAULT_SIZE_THRESHOLD = Number(env.SIZE_THRESHOLD || 500_000);
/** NATS's own default; pass `nc.info.max_payload` where a connection is at hand */
export const DEFAULT_MAX_MESSAGE_SIZE = 1_048_576;
/** Bytes that are planned for a link, whose URL is not known before the upload */
const LINK_ALLOWANCE = 2_048;
const MICROPYTHON_MAX_PAYLOAD = 50_000;
const MAX_PAYLOAD_SIZE = 10_000_000_000;
const MAX_DEPTH = 127;
const LINK_TTL = 24 * 60 * 60;
const MAX_SUBJECT = 2_000;

const HEADER_FIELDS = [
  "correlation_id", "msg_id", "timestamp", "send_to", "msg_purpose", "sender_name", "sender_id", "receiver_name",
  "receiver_id", "reply_to", "reply_to_msg_id", "broker_url",
];
const PAYLOAD_FIELDS = ["id", "dataname", "payload_type", "transport", "encoding", "size", "data", "metadata"];
const BYTES_TYPES = ["image", "audio", "video", "binary"];
const PAYLOAD_TYPES = ["text", "dictionary", "arrowtable", "jsontable", ...BYTES_TYPES];
/** A Plik up to 1.3.8 redirects other agents to a web page when it fails; a browser sends its own */
const AGENT = inNode ? { "User-Agent": "plik_client/natsbridge-js" } : {};

const utf8 = new TextEncoder();
const fromUtf8 = (bytes) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);

/** What went wrong: `code` is a word of the specification's section 9, `dataname` the payload at fault or null */
export class NATSBridgeError extends Error {
  constructor(code, message, dataname = null, cause = undefined) {
    super(dataname === null ? message : `payload \`${dataname}\`: ${message}`);
    this.name = "NATSBridgeError";
    Object.assign(this, { code, dataname, reason: message });
    if (cause !== undefined) this.cause = cause;
  }
}

/** Runs `work` and lets no error out but the library's own, with the payload's name */
async function fenced(code, what, dataname, work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof NATSBridgeError)) throw new NATSBridgeError(code, `${what}: ${error?.message ?? String(error)}`, dataname, error);
    if (dataname === null || error.dataname !== null) throw error;
    throw new NATSBridgeError(error.code, error.reason, dataname, error);
  }
}

const wrongValue = (message, dataname = null) => new NATSBridgeError("wrong_value", message, dataname);

/** Strangers' text for an error: at most 80 characters, escaped */
const shown = (text) => {
  const escaped = (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`;
  return `\`${String(text).slice(0, 80).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, escaped)}\``;
};

// ---------------------------------------------------------------------------------------------------------- sending

const deletes = new WeakMap();

/** Deletes what was uploaded for a message that could not be published */
export async function discard(envelope) {
  await Promise.allSettled((deletes.get(envelope) ?? []).map((remove) => remove()));
  deletes.delete(envelope);
}

/**
 * Serialises `[dataname, data, type]` payloads into one message and uploads what is too large for NATS.
 *
 * Resolves to `[envelope, json]`, the JSON to publish on `subject`. `receiver` is `desktop`, `browser` or `micropython`.
 * Say `awaits_ack` when you repeat the message until it is acknowledged. A link is one-shot when `receiver_id` names one
 * receiver who is asked for no acknowledgement and no answer (`reply_to`); `one_shot: false` makes it expire instead, and
 * `one_shot: true` in any other case is an error. Every error is a `NATSBridgeError`. An upload handler is given `{fileserver_url, dataname, data, one_shot, ttl, token}` and resolves to the URL, or to an object
 * with `url` and, where known, `expires_at` (text), `one_shot` and `delete` (an async function).
 */
export async function smartsend(subject, data, options = {}) {
  const {
    broker_url = DEFAULT_BROKER_URL, fileserver_url = DEFAULT_FILESERVER_URL, fileserver_upload_handler = plikUpload,
    fileserver_token = "", size_threshold = DEFAULT_SIZE_THRESHOLD, max_message_size = DEFAULT_MAX_MESSAGE_SIZE,
    receiver = "desktop", links = true, convert_tables = false, digest_direct = false, correlation_id = "",
    msg_purpose = "chat", sender_name = "NATSBridge", receiver_name = "", receiver_id = "", reply_to = "",
    reply_to_msg_id = "", msg_id = "", sender_id = "", metadata = {}, awaits_ack = false, one_shot, ttl = LINK_TTL,
    new_id = await uuids(), now = () => new Date(),
  } = options ?? {};
  const [envelope, drafts, once] = await fenced("wrong_value", "the message can't be sent", null, async () => {
    const texts = {
      correlation_id, msg_id, msg_purpose, sender_name, sender_id, receiver_name, receiver_id, reply_to_msg_id, broker_url,
      fileserver_url, fileserver_token,
    };
    for (const [name, value] of Object.entries(texts)) checkText(name, value);
    checkSubject("subject", subject);
    if (reply_to !== "") checkSubject("reply_to", reply_to);
    for (const [name, number] of Object.entries({ size_threshold, max_message_size, ttl })) {
      if (typeof number !== "number" || Number.isNaN(number)) throw wrongValue(`\`${name}\` is not a number`);
    }
    if (!["desktop", "browser", "micropython"].includes(receiver)) throw wrongValue("`receiver` is not desktop, browser or micropython");
    if (typeof metadata !== "object" || metadata === null || kindOfObject(metadata) !== "Object") throw wrongValue("`metadata` is not an object");
    const answered = Boolean(awaits_ack) || reply_to !== "";
    if (one_shot && (receiver_id === "" || answered)) {
      const why = receiver_id === "" ? "no receiver_id names the one who reads it" : "it may be read again for an acknowledgement or an answer";
      throw wrongValue(`a link of this message can't be one-shot: ${why}; leave \`one_shot\` out`);
    }
    const head = {
      correlation_id: correlation_id || new_id(),
      msg_id: msg_id || new_id(),
      timestamp: now().toISOString(),
      send_to: subject,
      msg_purpose,
      sender_name,
      sender_id: sender_id || new_id(),
      receiver_name,
      receiver_id,
      reply_to,
      reply_to_msg_id,
      broker_url: broker_url.split(",").map((url) => redacted(url.trim())).join(","),
      metadata,
      payloads: [],
    };
    const found = [];
    if (typeof data === "string") throw wrongValue("the payloads are not an array");
    for (const item of data) found.push(await draftOf(found.length, item, receiver, convert_tables, new_id));
    const mayLink = Boolean(links) && receiver !== "micropython";
    for (const draft of found) {
      draft.direct = !mayLink || draft.body.length < size_threshold;
      if (draft.direct && digest_direct) draft.payload.metadata.sha256 = await sha256(draft.body);
      draft.baseLength = utf8.encode(writeJson(draft.payload)).length;
    }
    fit(head, found, max_message_size, mayLink);
    return [head, found, one_shot ?? (receiver_id !== "" && !answered)];
  });

  const removals = [];
  deletes.set(envelope, removals);
  try {
    for (const { payload, body, direct } of drafts) {
      payload.size = body.length;
      if (direct) {
        payload.data = toBase64(body);
      } else {
        const { dataname } = payload;
        const upload = { fileserver_url, dataname, data: body, one_shot: once, ttl, token: fileserver_token };
        await fenced("handler", "the upload handler failed", dataname, async () => {
          const answer = await fileserver_upload_handler(upload);
          const stored = typeof answer === "string" ? { url: answer } : answer;
          if (stored.delete) removals.push(stored.delete);
          checkText("url", stored.url);
          Object.assign(payload, { transport: "link", encoding: "none", data: stored.url });
          payload.metadata = { sha256: await sha256(body) };
          if (stored.expires_at) payload.metadata.expires_at = stored.expires_at;
          if (stored.one_shot) payload.metadata.one_shot = true;
        });
      }
      envelope.payloads.push(payload);
    }
    return [envelope, await fenced("wrong_value", "the message can't be sent", null, () => writeJson(envelope))];
  } catch (error) {
    await discard(envelope);
    throw error;
  }
}

/** Checks what every receiver reads as text */
function checkText(name, value, dataname = null) {
  if (typeof value !== "string") throw wrongValue(`\`${name}\` is not a string but ${describe(value)}`, dataname);
  if (loneSurrogate.test(value)) throw wrongValue(`\`${name}\` has a lone surrogate`, dataname);
}

/** Checks a subject to publish to: tokens between dots, none of them empty or a wildcard */
function checkSubject(name, value) {
  checkText(name, value);
  const tokens = value.split(".");
  if (tokens.some((token) => token === "" || token === "*" || token === ">") || utf8.encode(value).length > MAX_SUBJECT) {
    throw wrongValue(`\`${name}\` is no subject to publish to: ${shown(value)}; use words with dots between them, such as lab.results`);
  }
  if (/[\p{White_Space}\p{Cc}]/u.test(value)) throw wrongValue(`\`${name}\` has white space or control characters: ${shown(value)}`);
}

async function draftOf(index, item, receiver, convertTables, newId) {
  if (!Array.isArray(item) || item.length !== 3) throw wrongValue("it is not [dataname, data, type]", `#${index}`);
  const [dataname, value, type] = item;
  checkText("dataname", dataname, `#${index}`);
  return fenced("wrong_value", "it can't be sent", dataname, async () => {
    if (!PAYLOAD_TYPES.includes(type)) throw new NATSBridgeError("unknown_payload_type", `unknown payload_type ${shown(describe(type) === "String" ? type : describe(type))}`);
    let payload_type = type;
    if (type === "arrowtable" && receiver !== "desktop") {
      if (!convertTables) throw new NATSBridgeError("unsupported", `a ${receiver} receiver reads no arrowtable; send it as jsontable`);
      payload_type = "jsontable";
    }
    const body = await serialise(value, payload_type);
    if (receiver === "micropython" && body.length > MICROPYTHON_MAX_PAYLOAD) {
      const limit = MICROPYTHON_MAX_PAYLOAD;
      throw new NATSBridgeError("too_large", `it has ${body.length} bytes, a MicroPython receiver takes ${limit}`);
    }
    const payload = { id: newId(), dataname, payload_type, transport: "direct", encoding: "base64", size: 0, data: "", metadata: {} };
    return { payload, body };
  });
}

/** Turns the largest direct payloads into links until the envelope fits */
function fit(envelope, drafts, limit, mayLink) {
  const directLength = ({ baseLength, body }) => baseLength + String(body.length).length - 1 + Math.ceil(body.length / 3) * 4;
  const linkLength = ({ baseLength }) => baseLength + LINK_ALLOWANCE;
  let total = utf8.encode(writeJson(envelope)).length + Math.max(0, drafts.length - 1);
  for (const draft of drafts) total += draft.direct ? directLength(draft) : linkLength(draft);
  const order = drafts.filter(({ direct }) => direct && mayLink).sort((a, b) => b.body.length - a.body.length);
  for (const draft of order) {
    const saved = directLength(draft) - linkLength(draft);
    if (total <= limit || saved <= 0) break;
    total -= saved;
    draft.direct = false;
  }
  if (total > limit) {
    const sizes = drafts.filter(({ direct }) => direct).map(({ payload, body }) => `${payload.dataname}: ${body.length}`).join(", ");
    throw new NATSBridgeError("too_large", `the message needs ${total} bytes, the broker takes ${limit} (direct: ${sizes})`);
  }
}

/** Stores the bytes on a Plik file server */
export async function plikUpload({ fileserver_url, data, one_shot, ttl, token }) {
  const base = fileserver_url.replace(/\/+$/, "");
  const credentials = token ? { "X-PlikToken": token } : {};
  const ask = async (method, path, body, headers = {}) => {
    let response, text;
    try {
      const request = { method, body, headers: { ...AGENT, ...credentials, ...headers }, redirect: "manual" };
      response = await fetch(base + path, request);
      text = await response.text();
    } catch (error) {
      throw new NATSBridgeError("unreachable", `failed to upload: ${error.cause?.message ?? error.message}`, null, error);
    }
    if (response.status !== 200) {
      const code = { 401: "refused", 403: "refused", 413: "too_large" }[response.status] ?? "rejected";
      throw new NATSBridgeError(code, `failed to upload: ${response.status} ${text.trim().slice(0, 200)}`);
    }
    return text;
  };
  const answered = (text) => {
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new NATSBridgeError("rejected", "failed to upload: the answer is not JSON", null, error);
    }
  };
  const created = answered(await ask("POST", "/upload", JSON.stringify({ oneShot: one_shot, ttl })));
  const secret = { "X-UploadToken": created.uploadToken };
  const remove = () => ask("DELETE", `/upload/${created.id}`, undefined, secret);
  let kept;
  try {
    const form = new FormData();
    form.append("file", new Blob([data], { type: "application/octet-stream" }), "payload.bin");
    kept = answered(await ask("POST", `/file/${created.id}`, form, secret));
    if (kept.status !== "uploaded" || kept.fileSize !== data.length) {
      throw new NATSBridgeError("rejected", "failed to upload: the server stored other bytes");
    }
  } catch (error) {
    await remove().catch(() => {});
    throw error;
  }
  const host = (created.downloadURL || created.downloadDomain || base).replace(/\/+$/, "");
  const expires = created.expireAt ? parseTimestamp(created.expireAt) : created.ttl > 0 ? new Date(Date.now() + created.ttl * 1000) : null;
  const url = `${host}/file/${created.id}/${kept.id}/${encodeURIComponent(kept.fileName)}`;
  return { url, expires_at: expires?.toISOString(), one_shot: Boolean(created.oneShot), delete: remove };
}

// -------------------------------------------------------------------------------------------------------- receiving

/**
 * Reads a message (string or bytes) and downloads what came as a link.
 *
 * Resolves to the envelope with `payloads` as an array of `[dataname, data, type]`; delays are milliseconds. Links are
 * followed to the origin of `fileserver_url`, or only to `allowed_origins` where it is given: one origin or several, such as
 * `https://files.example.com`; an empty array allows nothing. Without a file server (`fileserver_url: ""`) and without
 * `allowed_origins`, links are followed to any address that the specification (section 8) does not forbid. Every error is a
 * `NATSBridgeError`. A download handler is given `{url, dataname, size, limit, one_shot, expires_at, allowed_origins,
 * fileserver_url, max_retries, base_delay, max_delay}` and resolves to the bytes, which are checked.
 */
export async function smartreceive(message, options = {}) {
  const {
    fileserver_download_handler = fetchWithBackoff, max_retries = 5, base_delay = 100, max_delay = 5000,
    allowed_origins, fileserver_url = DEFAULT_FILESERVER_URL, strict = false, max_payload_size = MAX_PAYLOAD_SIZE,
  } = options ?? {};
  originsOf(allowed_origins, fileserver_url);
  const envelope = await fenced("not_json", "the message is not an envelope", null, () => readEnvelope(message));
  const received = [];
  for (const { dataname, payload_type, size, metadata, body: inside, data: url } of envelope.payloads) {
    await fenced("undecodable", `it is not a readable ${payload_type}`, dataname, async () => {
      const stated = metadata.sha256 ?? null;
      if (stated !== null && !(typeof stated === "string" && /^[0-9a-fA-F]{64}$/.test(stated))) {
        throw new NATSBridgeError("digest", "its sha256 is no digest");
      }
      const tooLarge = () => new NATSBridgeError("too_large", `it is larger than this receiver takes, ${max_payload_size} bytes`);
      if ((inside?.length ?? size) > max_payload_size) throw tooLarge();
      let body = inside;
      if (body === null) {
        if (strict && stated === null) throw new NATSBridgeError("digest_missing", "it is a link without sha256");
        const link = {
          url, dataname, size, limit: size || max_payload_size, one_shot: metadata.one_shot === true,
          expires_at: typeof metadata.expires_at === "string" ? parseTimestamp(metadata.expires_at) : null,
          allowed_origins, fileserver_url, max_retries, base_delay, max_delay,
        };
        body = await fenced("handler", "the download failed", dataname, async () => {
          const answer = await fileserver_download_handler(link);
          if (answer instanceof ArrayBuffer) return new Uint8Array(answer);
          if (!ArrayBuffer.isView(answer)) throw new TypeError(`a download handler resolves to bytes, not to ${describe(answer)}`);
          return new Uint8Array(answer.buffer, answer.byteOffset, answer.byteLength);
        });
        if (size && body.length !== size) throw new NATSBridgeError("size_mismatch", `the link holds ${body.length} bytes instead of ${size}`);
        if (body.length > max_payload_size) throw tooLarge();
      } else if (strict && size && size !== body.length) {
        throw new NATSBridgeError("size_mismatch", `it has ${body.length} bytes instead of ${size}`);
      }
      if (stated !== null && (await sha256(body)) !== stated.toLowerCase()) {
        throw new NATSBridgeError("digest", "it holds other bytes than were sent");
      }
      received.push([dataname, await deserialise(body, payload_type), payload_type]);
    });
  }
  return { ...envelope, payloads: received };
}

/** The envelope with every field; a payload's `body` is its bytes, or null for a link */
function readEnvelope(message) {
  const missing = (field, dataname = null) => new NATSBridgeError("missing_field", `\`${field}\` is missing`, dataname);
  const wrongType = (field, wanted, dataname = null) => new NATSBridgeError("wrong_type", `\`${field}\` is not ${wanted}`, dataname);
  if (typeof message !== "string" && !ArrayBuffer.isView(message) && !(message instanceof ArrayBuffer)) {
    throw wrongValue(`a message is a string or bytes, not ${describe(message)}`);
  }
  let parsed;
  try {
    parsed = new JsonReader(typeof message === "string" ? message : fromUtf8(message), 200).document();
  } catch (error) {
    throw new NATSBridgeError("not_json", `the message is not an envelope: ${error.message}`, null, error);
  }
  const { value: raw, twice, rawData } = parsed;
  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  const text = (object, field, dataname) => {
    const value = object[field] ?? null;
    if (value !== null && typeof value !== "string") throw wrongType(field, "a string", dataname);
    return value;
  };
  const once = (object, names) => {
    const [key, place] = [...(twice.get(object) ?? [])].find(([name]) => names === null || names.includes(name)) ?? [];
    if (key !== undefined) throw new NATSBridgeError("not_json", `the message is not an envelope: duplicate key \`${key}\` at ${place}`);
  };
  const metadataOf = (object, dataname) => {
    const value = object.metadata ?? null;
    if (value === null) return {};
    if (!isObject(value)) throw wrongType("metadata", "an object", dataname);
    once(value, null);
    return value;
  };

  if (!isObject(raw)) {
    const found = raw === null ? "JSON null" : Array.isArray(raw) ? "a JSON array" : `a JSON ${typeof raw === "bigint" ? "number" : typeof raw}`;
    throw new NATSBridgeError("wrong_type", `the message is not an envelope: it is ${found}, not an object`);
  }
  once(raw, [...HEADER_FIELDS, "metadata", "payloads"]);
  const envelope = {};
  for (const field of HEADER_FIELDS) envelope[field] = text(raw, field) ?? "";
  envelope.metadata = metadataOf(raw);
  if ((raw.payloads ?? null) === null) throw missing("payloads");
  if (!Array.isArray(raw.payloads)) throw wrongType("payloads", "an array");
  for (const payload of raw.payloads) if (isObject(payload)) once(payload, PAYLOAD_FIELDS);

  envelope.payloads = raw.payloads.map((item, index) => {
    if (!isObject(item)) throw new NATSBridgeError("wrong_type", `item ${index} of \`payloads\` is not an object`);
    const dataname = text(item, "dataname", `#${index}`) ?? "";
    const payload = { id: text(item, "id", dataname) ?? "", dataname };
    for (const [word, known] of [["payload_type", PAYLOAD_TYPES], ["transport", ["direct", "link"]]]) {
      payload[word] = text(item, word, dataname);
      if (payload[word] === null) throw missing(word, dataname);
      if (!known.includes(payload[word])) throw new NATSBridgeError(`unknown_${word}`, `unknown ${word} \`${payload[word]}\``, dataname);
    }
    const encoding = text(item, "encoding", dataname) || "base64";
    const size = item.size ?? 0;
    if (!(typeof size === "bigint" || Number.isInteger(size)) || size < 0) throw wrongType("size", "a number of bytes", dataname);
    Object.assign(payload, { size: Number(size), metadata: metadataOf(item, dataname), body: null });
    const direct = payload.transport === "direct";
    if (direct && !["none", "json", "base64", "arrow-ipc"].includes(encoding)) {
      throw new NATSBridgeError("unknown_encoding", `unknown encoding \`${encoding}\``, dataname);
    }
    if (direct && encoding === "json" && item.data !== undefined && typeof item.data !== "string") {
      payload.body = utf8.encode(rawData.get(item));
      return payload;
    }
    payload.data = text(item, "data", dataname);
    if (payload.data === null) throw missing("data", dataname);
    if (direct) payload.body = encoding === "none" ? utf8.encode(payload.data) : fromBase64(payload.data, dataname);
    return payload;
  });
  return envelope;
}

/** Reads a link: no redirects, a byte limit, `max_retries` retries after pauses that double up to `max_delay` */
export async function fetchWithBackoff(link) {
  const failed = (code, message, cause) => new NATSBridgeError(code, `failed to fetch ${redacted(link.url)}: ${message}`, link.dataname, cause);
  let url;
  try {
    url = new URL(link.url);
  } catch (error) {
    throw failed("blocked_origin", "it is no URL", error);
  }
  if (!["http:", "https:"].includes(url.protocol) || url.username || url.password) {
    throw failed("blocked_origin", "a link is an http or https URL without user info");
  }
  const allowed = originsOf(link.allowed_origins, link.fileserver_url ?? DEFAULT_FILESERVER_URL);
  if (allowed !== null && !allowed.some((origin) => originOf(origin) === originOf(url))) {
    const places = allowed.join(", ") || "nothing is";
    throw failed("blocked_origin", `its origin is not allowed (allowed: ${places}); pass allowed_origins if you trust it`);
  }
  if (allowed === null && isForbidden(url.hostname)) throw failed("blocked_origin", "it leads to an address that no link may lead to");
  let delay = link.base_delay;
  let reason = "";
  for (let attempt = 0; attempt <= link.max_retries; attempt += 1) {
    let pause = 0;
    const attempted = await fetchOnce(url, link, allowed === null);
    if (attempted.body) return attempted.body;
    reason = attempted.reason;
    if (attempted.code) throw failed(attempted.code, reason, attempted.error);
    if (/^[0-9]{1,5}$/.test(attempted.retryAfter ?? "")) pause = Math.min(Number(attempted.retryAfter), 60) * 1000;
    if (attempt < link.max_retries) {
      await new Promise((resolve) => setTimeout(resolve, Math.max(pause, delay * (0.5 + Math.random() / 2))));
      delay = Math.min(delay * 2, link.max_delay);
    }
  }
  throw failed("download_retry_exceeded", `gave up after ${link.max_retries} retries: ${reason}`);
}

/** One request: `{body}`, or `{reason, code}` where another try would change nothing, or `{reason}` */
async function fetchOnce(url, link, guarded) {
  const abort = new AbortController();
  let timer;
  const silence = () => {
    clearTimeout(timer);
    timer = setTimeout(() => abort.abort(), 30_000);
  };
  silence();
  try {
    const headers = inNode ? { ...AGENT, "Accept-Encoding": "identity" } : {};
    const request = { headers, redirect: "manual", signal: abort.signal, credentials: "omit" };
    const response = await (guarded && inNode ? guardedFetch : fetch)(url, request);
    if (response.status === 200) {
      const body = await readLimited(response, link.limit, silence);
      if (body === null) {
        abort.abort();
        return { code: link.size ? "size_mismatch" : "too_large", reason: `it holds more than ${link.limit} bytes` };
      }
      const length = response.headers.get("Content-Length");
      if (length === null || response.headers.has("Content-Encoding") || Number(length) === body.length) return { body };
      return { reason: "the body ended early", code: link.one_shot ? "consumed" : null };
    }
    let status = response.status;
    let text;
    if (status === 0 || (status >= 300 && status < 400)) {
      // A Plik up to 1.3.8 hides its errors in a redirect; a browser does not show where one leads.
      const location = response.headers.get("Location") ?? "";
      status = Number(/[?&]errcode=([45][0-9]{2})/.exec(location)?.[1] ?? 0);
      text = status ? location : "a redirect is not followed";
    } else {
      text = fromUtf8Lossy((await readLimited(response, 4096, silence)) ?? new Uint8Array()).trim().slice(0, 200);
    }
    return { code: refusal(status, text, link), reason: `${status} ${text}`, retryAfter: response.headers.get("Retry-After") };
  } catch (error) {
    if (error.cause?.code === FORBIDDEN) return { error, reason: error.cause.message, code: "blocked_origin" };
    const connected = !["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"].includes(error.cause?.code);
    return { error, reason: error.cause?.message ?? error.message, code: link.one_shot && connected && inNode ? "consumed" : null };
  } finally {
    clearTimeout(timer);
  }
}

const fromUtf8Lossy = (bytes) => new TextDecoder().decode(bytes);

async function readLimited(response, limit, alive) {
  const chunks = [];
  let length = 0;
  if (response.body === null) return new Uint8Array();
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    alive();
    length += value.length;
    if (length > limit) {
      await reader.cancel().catch(() => {});
      return null;
    }
    chunks.push(value);
  }
  const body = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}

/** The code of an answer that another try would not change */
function refusal(status, text, link) {
  if ([408, 425, 429].includes(status)) return null;
  if (status >= 500) return link.one_shot ? "consumed" : null;
  const over = text.includes("expired") || (link.expires_at && link.expires_at < new Date());
  if ([401, 403, 404, 410].includes(status) && over) return "expired";
  if ([404, 410].includes(status)) return link.one_shot ? "consumed" : "not_found";
  return { 0: "blocked_origin", 401: "refused", 403: "refused", 407: "refused" }[status] ?? "rejected";
}

const FORBIDDEN = "NATSBRIDGE_FORBIDDEN";

/** A request of Node's own client, which resolves once and connects to what was checked; `fetch` resolves by itself */
async function guardedFetch(url, { headers, signal }) {
  const { request } = await import(url.protocol === "https:" ? "node:https" : "node:http");
  const [dns, { Readable }] = [await import("node:dns"), await import("node:stream")];
  const lookup = (host, options, done) => {
    dns.lookup(host, { ...options, all: true }, (error, found) => {
      if (error) return done(error);
      const safe = found.filter(({ address }) => !isForbidden(address));
      if (safe.length === 0) return done(Object.assign(new Error("it leads to an address that no link may lead to"), { code: FORBIDDEN }));
      return options.all ? done(null, safe) : done(null, safe[0].address, safe[0].family);
    });
  };
  return new Promise((resolve, reject) => {
    const fail = (cause) => reject(new TypeError("the request failed", { cause }));
    const asked = request(url, { headers, lookup, signal, agent: false }, (answer) => {
      const named = Object.entries(answer.headers).map(([name, value]) => [name, String(value)]);
      const { statusCode: status } = answer;
      // A `Response` takes no body with these, and no other numbers.
      const empty = status < 200 || status > 599 || [204, 205, 304].includes(status);
      if (empty) answer.resume();
      resolve({ status, headers: new Headers(named), body: empty ? null : Readable.toWeb(answer) });
    });
    asked.on("error", fail);
    asked.end();
  });
}

/** The origins that links may lead to; null where only the list of forbidden addresses decides */
function originsOf(allowed, fileserverUrl) {
  if ((allowed ?? null) === null) {
    if ((fileserverUrl ?? "") === "") return null;
    allowed = [fileserverUrl];
  }
  const list = typeof allowed === "string" ? [allowed] : allowed;
  const odd = Array.isArray(list) ? list.find((origin) => originOf(origin) === null) : list;
  if (odd === undefined) return [...list];
  throw wrongValue(`\`allowed_origins\` and \`fileserver_url\` are origins such as https://files.example.com, not ${shown(odd)}`);
}

/** Scheme, host and port, the same for every spelling of loopback; null for what is no http or https URL */
function originOf(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  if (!["http:", "https:"].includes(url.protocol) || url.username || url.password) return null;
  const host = url.hostname.replace(/\.$/, "");
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return `${url.protocol}//${["127.0.0.1", "[::1]"].includes(host) ? "localhost" : host}:${port}`;
}

/** Networks that no link may lead to, the specification's list (section 8); testdata/addresses.json has the same */
const FORBIDDEN_NETWORKS = [
  "0.0.0.0/8", "100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.192/32", "224.0.0.0/4", "240.0.0.0/4",
  "::/128", "64:ff9b:1::/48", "fd00:42::42/128", "fd00:a9fe:a9fe::1/128", "fd00:c1::a9fe:a9fe/128", "fd00:ec2::/32",
  "fd20:ce::254/128", "fe80::/10", "fec0::/10", "ff00::/8",
];
/** Where an IPv6 address holds one of version 4: network, first bit, whether all bits are inverted */
const EMBEDDING_NETWORKS = [
  ["::/96", 96, false], ["::ffff:0:0/96", 96, false], ["::ffff:0:0:0/96", 96, false], ["64:ff9b::/96", 96, false],
  ["2002::/16", 16, false], ["2001::/32", 96, true],
];

/** An address as its bits in text, or null for a name */
function bitsOf(host) {
  const plain = host.replace(/^\[|\]$/g, "").split("%")[0];
  const bits = (numbers, width) => numbers.map((number) => number.toString(2).padStart(width, "0")).join("");
  if (/^\d+\.\d+\.\d+\.\d+$/.test(plain)) return bits(plain.split(".").map(Number), 8);
  return plain.includes(":") ? bits(groupsOf(plain), 16) : null;
}

function within(bits, network) {
  const [address, length] = network.split("/");
  const start = bitsOf(address);
  return bits.length === start.length && bits.startsWith(start.slice(0, Number(length)));
}

/** Whether no link may lead to this address; `new URL` has already made odd spellings plain, and a name is none of them */
function isForbidden(host, bits = bitsOf(host)) {
  if (bits === null) return false;
  if (FORBIDDEN_NETWORKS.some((network) => within(bits, network))) return true;
  if (bits.length === 32 || BigInt(`0b${bits}`) === 1n) return false;
  return EMBEDDING_NETWORKS.some(([network, bit, inverted]) => {
    const inner = [...bits.slice(bit, bit + 32)].map((digit) => (inverted ? String(1 - digit) : digit)).join("");
    return within(bits, network) && isForbidden(host, inner);
  });
}

/** The eight numbers of an IPv6 address */
function groupsOf(address) {
  const dotted = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => `${((a << 8) | +b).toString(16)}:${((c << 8) | +d).toString(16)}`);
  const [head, tail] = dotted.split("::").map((half) => (half ? half.split(":").map((group) => parseInt(group, 16)) : []));
  return tail ? [...head, ...Array(8 - head.length - tail.length).fill(0), ...tail] : head;
}

// ------------------------------------------------------------------------------------------------------ serialising

async function serialise(value, type) {
  const wrong = () => new NATSBridgeError("wrong_value", `a payload of type ${type} was given ${describe(value)}`);
  if (BYTES_TYPES.includes(type)) {
    if (value instanceof ArrayBuffer) return new Uint8Array(value);
    if (!ArrayBuffer.isView(value)) throw wrong();
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  if (type === "text") {
    if (typeof value !== "string" || loneSurrogate.test(value)) throw wrong();
    return utf8.encode(value);
  }
  if (type === "arrowtable") return arrowBytes(value, wrong);
  let json = value;
  if (type === "jsontable") {
    json = Array.isArray(value) ? Array.from(value, jsonForm) : rowsOfTable(await arrowLibrary(), value, wrong);
    if (!json.every((row) => typeof row === "object" && row !== null && !Array.isArray(row))) throw wrong();
  }
  return utf8.encode(writeJson(json));
}

async function deserialise(body, type) {
  if (BYTES_TYPES.includes(type)) return body;
  if (type === "arrowtable") return arrowTable(body);
  try {
    const text = fromUtf8(body);
    if (type === "text") return text;
    const { value } = new JsonReader(text, MAX_DEPTH).document();
    const isRow = (row) => typeof row === "object" && row !== null && !Array.isArray(row);
    if (type === "dictionary" || (Array.isArray(value) && value.every(isRow))) return value;
  } catch (error) {
    throw new NATSBridgeError("undecodable", `it is not ${type === "text" ? "UTF-8" : "JSON"}: ${error.message}`, null, error);
  }
  throw new NATSBridgeError("undecodable", "a jsontable is an array of objects, one for each row");
}

const describe = (value) => (value === null ? "null" : String(value?.constructor?.name ?? typeof value));
const loneSurrogate = /\p{Surrogate}/u;

/** Strict JSON: integers that a double can't hold become BigInt, and what no reader should accept is refused */
class JsonReader {
  constructor(text, maxDepth) {
    Object.assign(this, { text, maxDepth, at: 0, twice: new WeakMap(), rawData: new WeakMap() });
  }

  document() {
    const value = this.value(0);
    this.space();
    if (this.at < this.text.length) this.fail("text after the end");
    return { value, twice: this.twice, rawData: this.rawData };
  }

  place(at = this.at) {
    const before = this.text.slice(0, at).split("\n");
    return `line ${before.length}, column ${before[before.length - 1].length + 1}`;
  }

  fail(message, at = this.at) {
    throw new SyntaxError(`${message} at ${this.place(at)}`);
  }

  /** What a sticky pattern finds here */
  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.at += found.length;
    return found;
  }

  space() {
    for (let code; (code = this.text.charCodeAt(this.at)) === 32 || code === 10 || code === 13 || code === 9; ) this.at += 1;
  }

  value(depth) {
    this.space();
    const letter = this.text[this.at];
    if (letter === '"') return this.string();
    if (letter === "{" || letter === "[") {
      if (depth >= this.maxDepth) this.fail(`nested deeper than ${this.maxDepth} levels`);
      this.at += 1;
      return letter === "{" ? this.object(depth + 1) : this.array(depth + 1);
    }
    const start = this.at;
    const word = this.match(/true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y);
    if (word === "") this.fail("no JSON value");
    if (word === "true" || word === "false") return word === "true";
    if (word === "null") return null;
    const number = Number(word);
    if (!Number.isSafeInteger(number) && /^-?[0-9]+$/.test(word)) return BigInt(word);
    const lost = number === 0 && /[1-9]/.test(word.split(/[eE]/)[0]);
    if (!Number.isFinite(number) || lost) this.fail("a number that a double can't hold", start);
    return number;
  }

  array(depth) {
    const items = [];
    this.space();
    if (this.text[this.at] === "]") this.at += 1;
    else {
      do items.push(this.value(depth));
      while (this.comma("]"));
    }
    return items;
  }

  object(depth) {
    const object = {};
    this.space();
    if (this.text[this.at] === "}") {
      this.at += 1;
      return object;
    }
    do {
      this.space();
      const place = this.at;
      if (this.text[this.at] !== '"') this.fail("no key");
      const key = this.string();
      this.space();
      if (this.text[this.at] !== ":") this.fail("no colon");
      this.at += 1;
      this.space();
      const start = this.at;
      const value = this.value(depth);
      if (Object.prototype.hasOwnProperty.call(object, key)) {
        this.twice.set(object, [...(this.twice.get(object) ?? []), [key, this.place(place)]]);
      }
      if (key === "data" && typeof value !== "string") this.rawData.set(object, this.text.slice(start, this.at));
      if (key === "__proto__") Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
      else object[key] = value;
    } while (this.comma("}"));
    return object;
  }

  comma(end) {
    this.space();
    const letter = this.text[this.at];
    if (letter !== "," && letter !== end) this.fail(`no comma and no \`${end}\``);
    this.at += 1;
    return letter === ",";
  }

  string() {
    const start = this.at;
    this.at += 1;
    for (;;) {
      this.match(/[^"\\\u0000-\u001f]*/y);
      const letter = this.text[this.at];
      if (letter === "\\") this.at += 2;
      else if (letter === '"') break;
      else this.fail(letter === undefined ? "a string without end" : "a control character in a string");
    }
    this.at += 1;
    let value;
    try {
      value = JSON.parse(this.text.slice(start, this.at));
    } catch {
      this.fail("an escape that JSON has not", start);
    }
    if (loneSurrogate.test(value)) this.fail("a lone surrogate", start);
    return value;
  }
}

/** What JSON.stringify would write: the answer of `toJSON`, the value in a box */
function jsonForm(value, key = "") {
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Date && Number.isNaN(value.getTime())) throw wrongValue("JSON holds no invalid Date");
  if (typeof value.toJSON === "function" && !ArrayBuffer.isView(value)) return value.toJSON(String(key));
  return ["Number", "String", "Boolean", "BigInt"].includes(kindOfObject(value)) ? value.valueOf() : value;
}

/** `Object` for a plain object or an instance of a class, else the word for what it is: `Map`, `RegExp`, `Promise` */
const kindOfObject = (value) => Object.prototype.toString.call(value).slice(8, -1);

/** JSON without white space; BigInt is an integer, holes are null, and what JSON can't hold is refused */
function writeJson(given, depth = 0, key = "") {
  const value = jsonForm(given, key);
  const wrong = (what) => wrongValue(`JSON holds no ${what}${key === "" ? "" : ` (${shown(key)})`}`);
  switch (typeof value) {
    case "string":
      if (loneSurrogate.test(value)) throw wrong("lone surrogate");
      return JSON.stringify(value);
    case "number":
      if (!Number.isFinite(value)) throw wrong(String(value));
      return Object.is(value, -0) ? "-0.0" : String(value);
    case "bigint":
      // An adapter, which writes from a depth below 0, reports what it was given.
      if (depth >= 0 && (value < -(2n ** 63n) || value >= 2n ** 64n)) throw wrong("integer beyond 64 bits; send it as text");
      return String(value);
    case "boolean":
      return String(value);
    case "object":
      break;
    default:
      throw wrong(typeof value);
  }
  if (value === null) return "null";
  if (depth >= MAX_DEPTH) throw new NATSBridgeError("too_deep", `JSON nests deeper than ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) return `[${Array.from(value, (item, at) => writeJson(item ?? null, depth + 1, at)).join(",")}]`;
  if (kindOfObject(value) !== "Object") throw wrong(describe(value));
  const symbol = Object.getOwnPropertySymbols(value).find((name) => Object.prototype.propertyIsEnumerable.call(value, name));
  if (symbol !== undefined) throw wrong(`key that is a symbol: ${String(symbol)}`);
  const members = [];
  for (const name of Object.keys(value)) {
    if (value[name] !== undefined) members.push(`${writeJson(name)}:${writeJson(value[name], depth + 1, name)}`);
  }
  return `{${members.join(",")}}`;
}

function toBase64(bytes) {
  if (inNode) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

/** Strictly, then without padding, in the URL-safe alphabet, with white space */
function fromBase64(text, dataname) {
  const plain = text.replace(/[ \t\r\n]/g, "").replace(/-/g, "+").replace(/_/g, "/");
  const core = plain.replace(/=+$/, "");
  const missing = (4 - (core.length % 4)) % 4;
  if (/^[A-Za-z0-9+/]*$/.test(core) && missing !== 3 && plain.length - core.length <= missing) {
    const bytes = inNode ? new Uint8Array(Buffer.from(core, "base64")) : Uint8Array.from(atob(core), (letter) => letter.charCodeAt(0));
    // Bits that belong to no byte have to be zero, as they are on the way back.
    if (missing === 0 || toBase64(bytes.subarray(bytes.length - (bytes.length % 3))).replace(/=+$/, "") === core.slice(-(core.length % 4))) return bytes;
  }
  throw new NATSBridgeError("base64", "its data is not base64", dataname);
}

async function webCrypto() {
  return globalThis.crypto?.subtle ? globalThis.crypto : (await import("node:crypto")).webcrypto;
}

async function uuids() {
  const crypto = await webCrypto();
  return () => crypto.randomUUID();
}

async function sha256(bytes) {
  const digest = await (await webCrypto()).subtle.digest("SHA-256", bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** An ISO 8601 time with any offset, `Z` or none (then it is UTC), to the millisecond; null for anything else */
export function parseTimestamp(text) {
  const pattern = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{0,9}))?(?:[Zz]|([+-]\d\d):?(\d\d)?)?$/;
  const [, date, time, fraction = "", hours = "+00", minutes = "00"] = pattern.exec(text.trim()) ?? [];
  const moment = new Date(`${date}T${time}.${fraction.padEnd(3, "0").slice(0, 3)}${hours}:${minutes}`);
  return Number.isNaN(moment.getTime()) ? null : moment;
}

/** Without user name, password, token and query */
function redacted(url) {
  return url.split(/[?#]/)[0].replace(/^([A-Za-z][A-Za-z0-9+.-]*:\/\/)?.*@/, "$1");
}

// ------------------------------------------------------------------------------------------------------------ Arrow

let arrowLoaded;

/** The package apache-arrow, which is there in Node only */
async function arrowLibrary() {
  arrowLoaded ??= (async () => {
    const arrow = await import("apache-arrow");
    const zstd = await import("fzstd").catch(() => null);
    const codec = (decode) => ({ decode: (bytes) => decode(bytes, new Uint8Array(declaredLength(bytes))) });
    arrow.compressionRegistry?.set(arrow.CompressionType.LZ4_FRAME, codec(unpackLz4));
    if (zstd) arrow.compressionRegistry?.set(arrow.CompressionType.ZSTD, codec(zstd.decompress));
    return arrow;
  })();
  try {
    return await arrowLoaded;
  } catch (error) {
    throw new NATSBridgeError("unsupported", "arrowtable needs the package apache-arrow, and can't be read in a browser; use jsontable", null, error);
  }
}

/** What a compressed buffer becomes: the number stands in the eight bytes before it, and has been checked by then */
function declaredLength(bytes) {
  return Number(new DataView(bytes.buffer, bytes.byteOffset - 8, 8).getBigInt64(0, true));
}

async function arrowBytes(value, wrong) {
  const arrow = await arrowLibrary();
  try {
    return arrow.tableToIPC(asTable(arrow, value, wrong), "stream");
  } catch (error) {
    if (error instanceof NATSBridgeError) throw error;
    throw new NATSBridgeError("unconvertible", `it has no Arrow form: ${error.message}`, null, error);
  }
}

/** An Arrow table of a table, a record batch or rows */
function asTable(arrow, value, wrong) {
  if (arrow.isArrowTable(value)) return value;
  if (arrow.isArrowRecordBatch(value)) return new arrow.Table([value]);
  if (!Array.isArray(value)) throw wrong();
  const rows = Array.from(value, tableForm);
  if (!rows.every((row) => typeof row === "object" && row !== null && !Array.isArray(row) && !bytesOf(row))) throw wrong();
  const odd = rows.findIndex((row) => !isPlain(row));
  if (odd >= 0) throw new NATSBridgeError("unconvertible", `row ${odd} is a ${describe(rows[odd])}, not a plain object`);
  const { type, fit: fitted } = typeOf(arrow, rows, "the table");
  const names = type.children.map((field) => field.name);
  const columns = type.children.map((field) => arrow.vectorFromArray(rows.map((row) => fitted(row)[field.name]), field.type));
  const data = arrow.makeData({ type, length: rows.length, nullCount: 0, children: columns.map((column) => column.data[0]) });
  return names.length > 0 ? new arrow.Table([new arrow.RecordBatch(new arrow.Schema(type.children), data)]) : new arrow.Table(new arrow.Schema([]));
}

/** A value as a table takes it: dates and bytes as they are, else the answer of `toJSON` where there is one */
function tableForm(value) {
  if (typeof value !== "object" || value === null || value instanceof Date || bytesOf(value)) return value;
  return typeof value.toJSON === "function" ? value.toJSON("") : value;
}

/** The bytes of what holds bytes; null for anything else */
function bytesOf(value) {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  const holds = value instanceof Uint8Array || value instanceof Uint8ClampedArray || value instanceof DataView;
  return holds ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : null;
}

/** Whether an object is made of its own members only, also where it comes from another page or context */
function isPlain(value) {
  const parent = Object.getPrototypeOf(value);
  return kindOfObject(value) === "Object" && (parent === null || Object.getPrototypeOf(parent) === null);
}

/** A value's own member: `constructor` and `__proto__` are none unless the caller wrote them */
const ownMember = (object, name) => (Object.prototype.hasOwnProperty.call(object, name) ? object[name] : null);

/** The Arrow type of values, and how a value is given to its builder */
function typeOf(arrow, given, where) {
  const values = Array.from(given, tableForm);
  const present = values.filter((value) => (value ?? null) !== null);
  const refuse = (what) => new NATSBridgeError("unconvertible", `${where} holds ${what}`);
  const kindOf = (value) => {
    if (Array.isArray(value)) return "list";
    if (typeof value === "bigint") return "number";
    if (typeof value !== "object") return typeof value;
    if (value instanceof Date) return "date";
    if (bytesOf(value)) return "bytes";
    if (!isPlain(value)) throw refuse(`a ${describe(value)}, which no column holds`);
    return "object";
  };
  const kinds = new Set(present.map(kindOf));
  if (kinds.size > 1) throw refuse(`both ${[...kinds].join(" and ")}`);
  const nullable = (fitted) => (item) => {
    const value = tableForm(item);
    return (value ?? null) === null ? null : fitted(value);
  };
  switch ([...kinds][0]) {
    case undefined:
      return { type: new arrow.Null(), fit: () => null };
    case "boolean":
      return { type: new arrow.Bool(), fit: nullable((value) => value) };
    case "string":
      if (present.some((value) => loneSurrogate.test(value))) throw refuse("a lone surrogate");
      return { type: new arrow.Utf8(), fit: nullable((value) => value) };
    case "date":
      if (present.some((value) => Number.isNaN(value.getTime()))) throw refuse("an invalid Date");
      return { type: new arrow.Timestamp(arrow.TimeUnit.MILLISECOND, "UTC"), fit: nullable((value) => value.getTime()) };
    case "bytes":
      return { type: new arrow.Binary(), fit: nullable(bytesOf) };
    case "number":
      return numberType(arrow, present, refuse, nullable);
    case "list": {
      const inner = typeOf(arrow, present.flatMap((list) => Array.from(list)), `${where}[]`);
      return { type: new arrow.List(new arrow.Field("item", inner.type, true)), fit: nullable((list) => Array.from(list, inner.fit)) };
    }
    case "object": {
      const names = [...new Set(present.flatMap((object) => Object.keys(object)))];
      if (names.some((name) => loneSurrogate.test(name))) throw refuse("a name with a lone surrogate");
      if (present.some((object) => Object.getOwnPropertySymbols(object).length > 0)) throw refuse("a key that is a symbol");
      const inner = names.map((name) => typeOf(arrow, present.map((object) => ownMember(object, name)), `${where}.${name}`));
      const type = new arrow.Struct(names.map((name, index) => new arrow.Field(name, inner[index].type, true)));
      const fitted = (object) => Object.fromEntries(names.map((name, index) => [name, inner[index].fit(ownMember(object, name))]));
      return { type, fit: nullable(fitted) };
    }
    default:
      throw refuse([...kinds][0]);
  }
}

/** The type of numbers: what JSON writes as an integer is one, below 1e21 */
function numberType(arrow, present, refuse, nullable) {
  const isInteger = (value) => typeof value === "bigint" || (Number.isInteger(value) && Math.abs(value) < 1e21 && !Object.is(value, -0));
  if (!present.every(isInteger)) {
    const exact = (value) => !isInteger(value) || (value >= -(2 ** 53) && value <= 2 ** 53);
    if (!present.every(exact)) throw refuse("fractions and integers above 2^53");
    return { type: new arrow.Float64(), fit: nullable(Number) };
  }
  let [least, most] = [0n, 0n];
  for (const value of present.map(BigInt)) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  if (least >= -(2n ** 63n) && most < 2n ** 63n) return { type: new arrow.Int64(), fit: nullable(BigInt) };
  if (least >= 0n && most < 2n ** 64n) return { type: new arrow.Uint64(), fit: nullable(BigInt) };
  throw refuse("integers that fit neither int64 nor uint64");
}

async function arrowTable(body) {
  const arrow = await arrowLibrary();
  try {
    const input = body.slice(); // aligned, and ours
    checkInput(arrow, input);
    const table = arrow.tableFromIPC(input);
    for (const batch of table.batches) checkData(arrow, batch.data, batch.numRows);
    return withTypes(table);
  } catch (error) {
    if (error instanceof NATSBridgeError) throw error;
    const unknown = /Unrecognized type|codec not found/.test(error.message);
    throw new NATSBridgeError(unknown ? "unsupported" : "undecodable", `it is not a readable Arrow table: ${error.message}`, null, error);
  }
}

/** Gives columns that share a name their types back, which apache-arrow makes one */
function withTypes(table) {
  const [first] = table.batches;
  for (const { schema, data } of table.batches) schema.fields.splice(0, schema.fields.length, ...data.type.children);
  if (first) table.schema.fields.splice(0, table.schema.fields.length, ...first.data.type.children);
  return table;
}

/** Checks that the messages of a stream or file stay inside it, and become no more than is allowed when read */
function checkInput(arrow, input) {
  const view = new DataView(input.buffer);
  const refuse = (reason) => new NATSBridgeError("undecodable", `it is not a readable Arrow table: ${reason}`);
  const limit = Math.min(2 ** 30, Math.max(2 ** 24, 1000 * input.length));
  let needed = 0;
  /** Checks the message here; answers its end and whether it is a schema, or null where the stream ends */
  const check = (place) => {
    if (place < 0 || place + 4 > input.length) return null;
    const modern = view.getInt32(place, true) === -1;
    const length = modern && place + 8 > input.length ? 0 : view.getInt32(modern ? place + 4 : place, true);
    const start = place + (modern ? 8 : 4);
    if (length === 0) return null;
    if (length < 0 || start + length > input.length) throw refuse("a message that is longer than the input");
    const metadata = input.subarray(start, start + length);
    checkMessage(metadata);
    const message = arrow.Message.decode(metadata);
    const bodyAt = start + length;
    const end = bodyAt + message.bodyLength;
    if (message.bodyLength < 0 || end > input.length) throw refuse("a body that is longer than the input");
    const batch = message.isRecordBatch() ? message.header() : message.isDictionaryBatch() ? message.header().data : null;
    if (batch === null) return { end, isSchema: message.isSchema() };
    const rows = Number(batch.length);
    if (rows < 0) throw refuse("a batch with fewer than no rows");
    if (rows > Math.max(2 ** 24, 8 * input.length)) throw new NATSBridgeError("too_large", "the Arrow table has more rows than bytes");
    for (const count of batch.variadicBufferCounts ?? []) if (!(count >= 0 && count <= batch.buffers.length)) throw refuse("more buffers than it has");
    for (const { offset, length: size } of batch.buffers) {
      if (offset < 0 || size < 0 || offset + size > message.bodyLength) throw refuse("a buffer outside its body");
      if (batch.compression == null || size === 0) continue;
      const becomes = size >= 8 ? Number(view.getBigInt64(bodyAt + offset, true)) : -2;
      if (becomes < -1) throw refuse("a compressed buffer without its length");
      needed += Math.max(becomes, 0);
    }
    if (needed > limit) throw new NATSBridgeError("too_large", `the Arrow table needs ${needed} bytes when read, the limit is ${limit}`);
    return { end, isSchema: false };
  };

  const mark = (at) => fromUtf8Lossy(input.subarray(at, at + 6)) === "ARROW1";
  if (mark(0)) {
    const end = input.length - 10;
    const length = end >= 8 && mark(end + 4) ? view.getInt32(end, true) : -1;
    if (length <= 0 || length > end - 8) throw refuse("a file without its end");
    for (const place of footerPlaces(input.subarray(end - length, end))) if (check(place) === null) throw refuse("a block without a message");
    return;
  }
  const first = check(0);
  if (!first?.isSchema) throw refuse("it begins without a schema");
  for (let message = first; message !== null; ) message = check(message.end);
}

/**
 * Reads flatbuffers, checking every list, because apache-arrow believes their lengths: one that leaves the buffer would be
 * read as millions of zeros. Numbers are those of fields in Arrow's Message.fbs, Schema.fbs and File.fbs.
 */
class Flatbuffer {
  constructor(bytes) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength); // throws where something lies outside
    this.left = bytes.length;
    this.root = this.follow(0);
  }

  follow(place) {
    return place + this.view.getInt32(place, true);
  }

  /** Where a table has a field, 0 if it has none */
  place(table, field) {
    const vtable = table - this.view.getInt32(table, true);
    if (4 + 2 * field >= this.view.getInt16(vtable, true)) return 0;
    const offset = this.view.getInt16(vtable + 4 + 2 * field, true);
    return offset && table + offset;
  }

  table(table, field) {
    const place = this.place(table, field);
    if (!place) throw new RangeError("a message without what it is about");
    return this.follow(place);
  }

  byte(table, field) {
    const place = this.place(table, field);
    return place && this.view.getUint8(place);
  }

  /** The places of a list's items */
  list(table, field, width) {
    const place = this.place(table, field);
    if (!place) return [];
    const start = this.follow(place);
    const count = this.view.getInt32(start, true);
    this.left -= count;
    if (count < 0 || count * width > this.view.byteLength - start - 4 || this.left < 0) throw new RangeError("a list that leaves its message");
    return Array.from({ length: count }, (_, index) => start + 4 + index * width);
  }

  checkSchema(schema) {
    const order = this.place(schema, 0);
    if (order && this.view.getInt16(order, true) !== 0) throw new RangeError("its numbers are big-endian, which no receiver has to read");
    for (const field of this.list(schema, 1, 4)) this.checkField(this.follow(field), 0);
    this.list(schema, 2, 4);
    this.list(schema, 3, 8);
  }

  checkField(field, depth) {
    if (depth > 64) throw new RangeError("a type that nests deeper than 64 levels");
    const isUnion = this.byte(field, 2) === 14;
    if (isUnion) this.list(this.table(field, 3), 1, 4);
    for (const child of this.list(field, 5, 4)) this.checkField(this.follow(child), depth + 1);
    this.list(field, 6, 4);
  }

  checkBatch(batch) {
    for (const [field, width] of [[1, 16], [2, 16], [4, 8]]) this.list(batch, field, width);
  }
}

function checkMessage(bytes) {
  const message = new Flatbuffer(bytes);
  const [schema, dictionary, batch] = [1, 2, 3];
  message.list(message.root, 4, 4);
  const kind = message.byte(message.root, 1);
  const header = message.table(message.root, 2);
  if (kind === schema) message.checkSchema(header);
  else if (kind === dictionary) message.checkBatch(message.table(header, 1));
  else if (kind === batch) message.checkBatch(header);
  else throw new RangeError("a message that is no table's");
}

/** Where a file's dictionaries and batches are */
function footerPlaces(bytes) {
  const footer = new Flatbuffer(bytes);
  footer.checkSchema(footer.table(footer.root, 1));
  footer.list(footer.root, 4, 4);
  const blocks = [...footer.list(footer.root, 2, 24), ...footer.list(footer.root, 3, 24)];
  return blocks.map((block) => Number(footer.view.getBigInt64(block, true)));
}

/** Checks that the buffers of an array hold what its length says */
function checkData(arrow, data, length) {
  const short = () => new NATSBridgeError("undecodable", `an Arrow column of type ${data.type} is shorter than it says`);
  const { Type } = arrow;
  const { typeId } = data.type;
  if (data.length < length || data.stride < 0 || data.type.listSize < 0) throw short();
  if (typeId === Type.Decimal && (![32, 64, 128, 256].includes(data.type.bitWidth) || Math.abs(data.type.scale) > 1000)) throw short();
  if (data.nullCount > 0 && typeId !== Type.Null && typeId !== Type.Union && data.nullBitmap.length < Math.ceil(length / 8)) throw short();
  if ([Type.Int, Type.Float, Type.Decimal, Type.Date, Type.Time, Type.Timestamp, Type.Interval, Type.Duration, Type.FixedSizeBinary, Type.Dictionary].includes(typeId)) {
    if (data.values.length < length * (data.stride || 1)) throw short();
  }
  const lists = [Type.List, Type.LargeList, Type.FixedSizeList, Type.Map];
  if (lists.includes(typeId) && (data.type.children.length !== 1 || data.children.length !== 1)) throw short();
  if (typeId === Type.Map && data.type.children[0].type.children?.length !== 2) throw short();
  if (typeId === Type.Bool && data.values.length < Math.ceil(length / 8)) throw short();
  if (typeId === Type.Utf8View || typeId === Type.BinaryView) {
    if (data.values.length < length * 16) throw short();
    const views = new DataView(data.values.buffer, data.values.byteOffset);
    for (let at = 0; at < length * 16; at += 16) {
      const [size, buffer, offset] = [0, 8, 12].map((field) => views.getInt32(at + field, true));
      const outside = () => offset < 0 || offset + size > (data.variadicBuffers[buffer]?.length ?? -1);
      if (data.getValid(at / 16) && (size < 0 || (size > 12 && outside()))) throw short();
    }
  }
  if (typeId === Type.Struct) for (const child of data.children) checkData(arrow, child, length);
  if (typeId === Type.FixedSizeList) checkData(arrow, data.children[0], length * data.type.listSize);
  if (typeId === Type.Dictionary) {
    const known = data.dictionary?.length ?? 0;
    for (let i = 0; i < length; i += 1) if (data.getValid(i) && !(data.values[i] >= 0 && data.values[i] < known)) throw short();
    for (const chunk of data.dictionary?.data ?? []) checkData(arrow, chunk, chunk.length);
  }
  if ([Type.Utf8, Type.LargeUtf8, Type.Binary, Type.LargeBinary, Type.List, Type.LargeList, Type.Map].includes(typeId) && length > 0) {
    const ends = data.valueOffsets;
    if (ends.length < length + 1 || ends[0] < 0) throw short();
    for (let i = 0; i < length; i += 1) if (ends[i + 1] < ends[i]) throw short();
    const last = Number(ends[length]);
    if (data.children.length > 0) checkData(arrow, data.children[0], last);
    else if (data.values.length < last) throw short();
    else if (typeId === Type.Utf8 || typeId === Type.LargeUtf8) fromUtf8(data.values.subarray(Number(ends[0]), last));
  }
}

/** LZ4's frame format into a buffer of the right size */
function unpackLz4(source, target) {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  const flags = source[4];
  if (view.getUint32(0, true) !== 0x184d2204 || flags >> 6 !== 1) throw new Error("not an LZ4 frame");
  let at = 7 + (flags & 8 ? 8 : 0) + (flags & 1 ? 4 : 0);
  let out = 0;
  const copy = (from, start, count) => {
    if (start < 0 || count > from.length - start || count > target.length - out) throw new Error("an LZ4 block that leaves its buffer");
    // A match may overlap what it writes, so it goes byte by byte.
    if (from !== target) target.set(from.subarray(start, start + count), out);
    else for (let i = 0; i < count; i += 1) target[out + i] = target[start + i];
    out += count;
  };
  const count = (nibble, end) => {
    let total = nibble;
    if (nibble < 15) return total;
    for (let byte = 255; byte === 255; total += byte) {
      if (at >= end) throw new Error("an LZ4 block without end");
      byte = source[at++];
    }
    return total;
  };
  for (;;) {
    const size = view.getUint32(at, true);
    at += 4;
    if (size === 0) break;
    const end = at + (size & 0x7fffffff);
    if (end > source.length) throw new Error("an LZ4 block without end");
    if (size >>> 31) copy(source, at, end - at);
    else {
      while (at < end) {
        const token = source[at++];
        const literals = count(token >> 4, end);
        copy(source, at, literals);
        at += literals;
        if (at >= end) break;
        const back = source[at] | (source[at + 1] << 8);
        at += 2;
        if (back === 0) throw new Error("an LZ4 match without distance");
        copy(target, out - back, count(token & 15, end) + 4);
      }
    }
    at = end + (flags & 16 ? 4 : 0);
  }
  if (out !== target.length) throw new Error("an LZ4 frame of another length");
  return target;
}

function rowsOfTable(arrow, value, wrong) {
  const table = asTable(arrow, value, wrong);
  const names = table.schema.fields.map((field) => field.name);
  if (new Set(names).size < names.length) throw new NATSBridgeError("unconvertible", "two columns have the same name");
  return table.batches.flatMap((batch) =>
    Array.from({ length: batch.numRows }, (_, row) =>
      Object.fromEntries(names.map((name, column) => [name, plainIn(arrow, batch.data.children[column], row, table.schema.fields[column])])),
    ),
  );
}

/**
 * One value as it is stored: null, boolean, number, BigInt (64-bit integers, decimals, and whatever counts time in 64 bits),
 * string or bytes; of nested types an array of `[data, index]` places. Dictionaries are looked up.
 */
function stored(arrow, data, index) {
  const { Type } = arrow;
  const { type } = data;
  if (type.typeId === Type.Null || !data.getValid(index)) return null;
  const places = (child, from, to) => Array.from({ length: to - from }, (_, i) => [child, from + i]);
  switch (type.typeId) {
    case Type.Dictionary: {
      let at = Number(data.values[index]);
      const chunk = data.dictionary.data.find(({ length }) => at < length || ((at -= length), false));
      return stored(arrow, chunk, at);
    }
    case Type.Bool:
      return ((data.values[(data.offset + index) >> 3] >> ((data.offset + index) & 7)) & 1) === 1;
    case Type.Float:
      return type.precision === arrow.Precision.HALF ? arrow.util.uint16ToFloat64(data.values[index]) : data.values[index];
    case Type.Decimal: {
      let unscaled = 0n;
      const words = type.bitWidth / 32;
      for (let word = words - 1; word >= 0; word -= 1) unscaled = (unscaled << 32n) | BigInt(data.values[index * words + word] >>> 0);
      return BigInt.asIntN(type.bitWidth, unscaled);
    }
    case Type.Interval:
      return Array.from(data.values.subarray(index * data.stride, (index + 1) * data.stride));
    case Type.List:
    case Type.LargeList:
    case Type.Map:
      return places(data.children[0], Number(data.valueOffsets[index]), Number(data.valueOffsets[index + 1]));
    case Type.FixedSizeList:
      return places(data.children[0], index * type.listSize, (index + 1) * type.listSize);
    case Type.Struct:
      return data.children.map((child) => [child, index]);
    case Type.Union: {
      const child = data.children[type.typeIdToChildIndex[data.typeIds[index]]];
      return stored(arrow, child, type.mode === arrow.UnionMode.Dense ? data.valueOffsets[index] : index);
    }
    case Type.Int:
    case Type.Date:
    case Type.Time:
    case Type.Timestamp:
    case Type.Duration:
      return data.values[index];
    default:
      return new arrow.Vector([data]).get(index);
  }
}

/** The value of a column, whose name its errors bear */
function plainIn(arrow, data, row, field) {
  try {
    return plain(arrow, data, row, field);
  } catch (error) {
    if (error instanceof NATSBridgeError) throw new NATSBridgeError(error.code, `column ${shown(field.name)}: ${error.reason}`, null, error);
    throw error;
  }
}

/** A value as JSON: decimals and times as text, NaN and infinities as null, bytes as hexadecimal */
function plain(arrow, data, index, field = null) {
  const { Type } = arrow;
  const type = data.type.typeId === Type.Dictionary ? data.type.dictionary : data.type;
  const value = stored(arrow, data, index);
  if (value === null) return null;
  const scale = 10n ** BigInt((type.unit ?? 0) * 3);
  switch (type.typeId) {
    case Type.Int:
      return typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;
    case Type.Float:
      if (!Number.isFinite(value)) return null;
      return type.precision === arrow.Precision.DOUBLE ? value : shortest(value);
    case Type.Decimal:
      return decimalText(value, type.scale);
    case Type.Date:
      return dayText(type.unit === arrow.DateUnit.DAY ? BigInt(value) : floor(BigInt(value), 86_400_000n));
    case Type.Time:
      if (BigInt(value) < 0n || BigInt(value) > 86_400n * scale) throw new NATSBridgeError("unconvertible", "a time outside the day");
      return clockText(BigInt(value), scale);
    case Type.Timestamp:
      {
        const day = floor(value, 86_400n * scale);
        return `${dayText(day)}T${clockText(value - day * 86_400n * scale, scale)}${type.timezone ? "Z" : ""}`;
      }
    case Type.Duration:
      return `P${secondsText(value, scale)}`;
    case Type.Interval:
      if (type.unit === arrow.IntervalUnit.YEAR_MONTH) return `P${value[0]}M`;
      if (type.unit === arrow.IntervalUnit.DAY_TIME) return `P${value[0]}D${secondsText(BigInt(value[1]), 1000n)}`;
      return `P${value[0]}M${value[1]}D${secondsText((BigInt(value[3]) << 32n) | BigInt(value[2] >>> 0), 1_000_000_000n)}`;
    case Type.Struct: {
      const names = type.children.map(({ name }) => name);
      if (new Set(names).size < names.length) throw new NATSBridgeError("unconvertible", "two fields of a struct have the same name");
      return Object.fromEntries(value.map(([child, at], place) => [names[place], plain(arrow, child, at, type.children[place])]));
    }
    case Type.Map: {
      const entries = value.map(([child, at]) => child.children.map((side) => plain(arrow, side, at)));
      const texts = [Type.Utf8, Type.LargeUtf8, Type.Utf8View].includes(type.children[0].type.children[0].type.typeId);
      if (texts && new Set(entries.map(([key]) => key)).size < entries.length) throw new NATSBridgeError("unconvertible", "a key of a map stands twice");
      return texts ? Object.fromEntries(entries) : entries.map(([key, item]) => ({ key, value: item }));
    }
    case Type.Union: {
      const child = data.children[type.typeIdToChildIndex[data.typeIds[index]]];
      return plain(arrow, child, type.mode === arrow.UnionMode.Dense ? data.valueOffsets[index] : index);
    }
    default:
      if (Array.isArray(value)) return value.map(([child, at]) => plain(arrow, child, at, type.children[0]));
      if (!(value instanceof Uint8Array)) return value;
      if (field?.metadata?.get("ARROW:extension:name") !== "arrow.uuid") return hex(value);
      return hex(value).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The shortest decimal that reads back as this 32-bit float */
function shortest(value) {
  for (let digits = 1; digits < 9; digits += 1) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return Number(text);
  }
  return Number(value.toPrecision(9));
}

function decimalText(unscaled, scale) {
  if (scale <= 0) return String(unscaled * 10n ** BigInt(-scale));
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, "0");
  return `${unscaled < 0n ? "-" : ""}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

/** A day as ISO 8601, with sign and six digits for years that four digits can't say */
function dayText(days) {
  const shifted = days + 719_468n;
  const era = floor(shifted, 146_097n);
  const day = shifted - era * 146_097n;
  const year = (day - day / 1_460n + day / 36_524n - day / 146_096n) / 365n;
  const rest = day - (365n * year + year / 4n - year / 100n);
  const month = (5n * rest + 2n) / 153n;
  const whole = year + era * 400n + (month < 10n ? 0n : 1n);
  const two = (number) => String(number).padStart(2, "0");
  const size = String(whole < 0n ? -whole : whole);
  const shownYear = whole >= 0n && whole <= 9_999n ? size.padStart(4, "0") : `${whole < 0n ? "-" : "+"}${size.padStart(6, "0")}`;
  return `${shownYear}-${two(month < 10n ? month + 3n : month - 9n)}-${two(rest - (153n * month + 2n) / 5n + 1n)}`;
}

const floor = (number, by) => (number - (((number % by) + by) % by)) / by;

/** The time of day, with as many digits of a fraction as it needs: 0, 3, 6 or 9 */
function clockText(count, scale) {
  const [second, minute, hour] = [scale, 60n * scale, 3_600n * scale];
  const nanos = String((count % second) * (1_000_000_000n / scale)).padStart(9, "0");
  const digits = [0, 3, 6, 9].find((length) => !/[^0]/.test(nanos.slice(length)));
  const clock = [count / hour, (count % hour) / minute, (count % minute) / second];
  return clock.map((number) => String(number).padStart(2, "0")).join(":") + (digits ? `.${nanos.slice(0, digits)}` : "");
}

/** The time part of an ISO 8601 duration */
function secondsText(count, scale) {
  const size = count < 0n ? -count : count;
  const digits = String(size % scale).padStart(String(scale).length - 1, "0").replace(/0+$/, "");
  return `T${count < 0n ? "-" : ""}${size / scale}${digits && scale > 1n ? `.${digits}` : ""}S`;
}

/** For the conformance adapter; no part of the interface */
export const internals = { EMBEDDING_NETWORKS, FORBIDDEN_NETWORKS, JsonReader, isForbidden, originOf, arrowLibrary, decimalText, hex, readEnvelope, sha256, shortest, stored, toBase64, withTypes, writeJson };
