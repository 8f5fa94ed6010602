/** Sending: payloads to bytes, the plan of what travels direct and what by link, uploads, the envelope's JSON. */

import { platform } from "./platform.js";
import { NATSBridgeError, asError, checkAbort, fenced, isError, ofMessage, redacted, shown, wrongValue } from "./errors.js";
import { headerJson, payloadJson } from "./envelope.js";
import { writeJson } from "./json.js";
import { log, sent } from "./log.js";
import { timed } from "./metrics.js";
import { serialise } from "./payloads.js";
import { inParallel, Timeout } from "./retry.js";
import { sendSettings } from "./settings.js";
import { bytesOfSource, digestOfSource, memorySource } from "./sources.js";
import { plikUpload } from "./uploads.js";
import { checkSubject, checkText, checkType, describe, kindOfObject } from "./values.js";

/** Bytes that are planned for a link, whose URL is not known before the upload */
const LINK_ALLOWANCE = 2_048;
const MICROPYTHON_MAX_PAYLOAD = 50_000;

/** What deletes the uploads of an envelope */
const deletes = new WeakMap();

/** Deletes what was uploaded for a message that could not be published */
export async function discard(envelope) {
  const removals = deletes.get(envelope) ?? [];
  deletes.delete(envelope);
  await removed(removals);
}

/** Deletes the uploads of a message that no receiver was told of; those of an earlier plan, which was published, stay */
export async function withdraw({ envelope, published }) {
  await removed((deletes.get(envelope) ?? []).splice(published));
}

const removed = (removals) =>
  Promise.all(removals.map((remove) => Promise.resolve().then(remove).catch((error) => log("debug", "an upload was not deleted", { error: String(error?.message) }))));

/**
 * Serialises `[dataname, data, type]` payloads into one message and uploads what is too large for NATS; resolves to
 * `[envelope, json]`, the JSON to publish on `subject`. The types describe the options.
 */
export async function smartsend(subject, data, options = {}) {
  const outgoing = await prepare(subject, data, options);
  const json = outgoing.json();
  sent(outgoing.envelope);
  return [outgoing.envelope, json];
}

/** A message whose uploads are done, so that it can be numbered and written; `reserved` bytes are kept free for that */
export async function prepare(subject, data, options = {}, reserved = 0) {
  const plan = await fenced("wrong_value", "the message can't be sent", null, () => planOf(subject, data, options, reserved));
  try {
    await upload(plan, plan.drafts.filter(({ direct }) => !direct));
    for (const { payload, source, size, direct } of plan.drafts) {
      payload.size = size;
      if (direct) payload.data = platform.toBase64(source.bytes);
      plan.envelope.payloads.push(payload);
    }
    return new Outgoing(plan);
  } catch (error) {
    throw ofMessage(asError(error, "wrong_value", "the message can't be sent"), plan.envelope);
  } finally {
    for (const { source } of plan.drafts) await source.release?.();
  }
}

/** A message that needs nothing but to be written */
class Outgoing {
  constructor(plan) {
    Object.assign(this, { plan, envelope: plan.envelope, text: undefined, isPublished: false, published: 0, isLost: false });
  }

  /** What the caller ends it with */
  get signal() {
    return this.plan.settings.signal;
  }

  /** From here on a receiver may read the links */
  publish() {
    this.isPublished = true;
    this.published = deletes.get(this.envelope)?.length ?? 0;
  }

  /** The envelope's JSON; `numbers` go into its metadata */
  json(numbers = null) {
    const { envelope, drafts } = this.plan;
    if (numbers !== null) {
      envelope.metadata = { ...envelope.metadata, ...numbers };
      this.plan.metadataJson = writeJson(envelope.metadata);
    }
    let text = `${this.plan.headerJson}"metadata":${this.plan.metadataJson},"payloads":[`;
    for (let at = 0; at < drafts.length; at += 1) {
      const { payload, direct } = drafts[at];
      if (at > 0) text += ",";
      text += payloadJson(payload, direct ? `"${payload.data}"` : JSON.stringify(payload.data), writeJson(payload.metadata));
    }
    return `${text}]}`;
  }

  /** Plans it again for a server that takes less than before: links stay links, and more payloads become links */
  async again(limit, until) {
    const { plan } = this;
    const { drafts, settings } = plan;
    const before = drafts.filter(({ direct }) => direct);
    for (const draft of drafts) if (!draft.direct) draft.linkLength = lengthOf(draft, JSON.stringify(draft.payload.data));
    this.isLost = true; // until it is whole again
    fit(plan, limit);
    const linked = before.filter(({ direct }) => !direct);
    // What was sent before may differ from what the caller's buffer holds now.
    for (const draft of linked) draft.source = memorySource(platform.fromBase64(draft.payload.data));
    settings.upload_timeout = Math.min(settings.upload_timeout, Math.max(0, until - Date.now()));
    await upload(plan, linked);
    this.text = undefined;
    this.isLost = false;
  }
}

async function planOf(subject, data, options, reserved) {
  const settings = sendSettings(options);
  const { receiver, metadata, receiver_id, reply_to, one_shot, new_id, max_message_size, size_threshold, links, digest_direct, signal } = settings;
  checkSettings(subject, settings);
  checkAbort(signal);
  const answered = Boolean(settings.awaits_ack) || reply_to !== "";
  const mayBeOneShot = receiver_id !== "" && !answered;
  if (one_shot && !mayBeOneShot) {
    const why = receiver_id === "" ? "no receiver_id names the one who reads it" : "it may be read again for an acknowledgement or an answer";
    throw wrongValue(`a link of this message can't be one-shot: ${why}; leave \`one_shot\` out`);
  }
  const envelope = {
    correlation_id: settings.correlation_id || new_id(),
    msg_id: settings.msg_id || new_id(),
    timestamp: momentOf(settings.now()),
    send_to: subject,
    msg_purpose: settings.msg_purpose,
    sender_name: settings.sender_name,
    sender_id: settings.sender_id || new_id(),
    receiver_name: settings.receiver_name,
    receiver_id,
    reply_to,
    reply_to_msg_id: settings.reply_to_msg_id,
    broker_url: settings.broker_url.split(",").map((url) => redacted(url.trim())).join(","),
    metadata: undefined,
    payloads: undefined,
  };
  const header = headerJson(envelope); // what is undefined is not written
  envelope.metadata = metadata;
  envelope.payloads = [];
  const drafts = [];
  try {
    if (typeof data === "string" || typeof data?.[Symbol.iterator] !== "function") throw wrongValue(`payloads are [[dataname, data, type]], not ${describe(data)}`);
    for (const item of data) drafts.push(await draftOf(drafts.length, item, settings));
    const mayLink = Boolean(links) && receiver !== "micropython";
    for (const draft of drafts) {
      draft.direct = !mayLink || draft.size < size_threshold;
      // A link goes by its source; what is direct has to be in memory.
      if (draft.direct && draft.source.bytes === undefined) draft.source = await inMemory(draft, max_message_size);
      if (draft.direct && digest_direct) draft.payload.metadata.sha256 = await digestOfSource(draft.source);
      draft.baseLength = lengthOf(draft, '""');
      draft.linkLength = draft.baseLength + LINK_ALLOWANCE;
    }
    const plan = { envelope, drafts, headerJson: header, metadataJson: metadataText(metadata), settings, mayLink, once: one_shot ?? mayBeOneShot, mayBeOneShot };
    fit(plan, max_message_size, reserved);
    return plan;
  } catch (error) {
    for (const { source } of drafts) await source.release?.();
    throw ofMessage(asError(error, "wrong_value", "the message can't be sent"), envelope);
  }
}

function metadataText(metadata) {
  try {
    return writeJson(metadata);
  } catch (error) {
    throw isError(error) ? new NATSBridgeError(error.code, `\`metadata\`: ${error.reason}`, null, error) : error;
  }
}

async function inMemory({ source, size, payload }, limit) {
  if (size > limit) throw new NATSBridgeError("too_large", `it has ${size} bytes and may not travel as a link; the broker takes ${limit}`, payload.dataname);
  const bytes = await bytesOfSource(source);
  await source.release?.();
  return memorySource(bytes);
}

function momentOf(now) {
  if (!(now instanceof Date)) throw wrongValue(`\`now\` gives a Date, not ${describe(now)}`);
  return now.toISOString();
}

function checkSettings(subject, settings) {
  for (const name of TEXTS) checkText(name, settings[name]);
  checkSubject("subject", subject);
  if (settings.reply_to !== "") checkSubject("reply_to", settings.reply_to);
  if (!["desktop", "browser", "micropython"].includes(settings.receiver)) throw wrongValue("`receiver` is not desktop, browser or micropython");
  const { metadata } = settings;
  if (typeof metadata !== "object" || metadata === null || kindOfObject(metadata) !== "Object") throw wrongValue("`metadata` is not an object");
}

const TEXTS = [
  "correlation_id", "msg_id", "msg_purpose", "sender_name", "sender_id", "receiver_name", "receiver_id", "reply_to_msg_id",
  "broker_url", "fileserver_url", "fileserver_token",
];

async function draftOf(index, item, { receiver, convert_tables, new_id, signal }) {
  if (!Array.isArray(item) || item.length !== 3) throw wrongValue("it is not [dataname, data, type]; payloads are [[dataname, data, type]]", `#${index}`);
  const [dataname, value, type] = item;
  checkText("dataname", dataname, `#${index}`);
  try {
    checkType(type);
    let payload_type = type;
    if (type === "arrowtable" && receiver !== "desktop") {
      if (!convert_tables) throw new NATSBridgeError("unsupported", `a ${receiver} receiver reads no arrowtable; send it as jsontable`);
      payload_type = "jsontable";
    }
    const source = await serialise(value, payload_type, signal);
    if (receiver === "micropython" && source.size > MICROPYTHON_MAX_PAYLOAD) {
      throw new NATSBridgeError("too_large", `it has ${source.size} bytes, a MicroPython receiver takes ${MICROPYTHON_MAX_PAYLOAD}`);
    }
    const payload = { id: new_id(), dataname, payload_type, transport: "direct", encoding: "base64", size: 0, data: "", metadata: {} };
    return { payload, source, size: source.size, direct: true, baseLength: 0 };
  } catch (error) {
    throw asError(error, "wrong_value", "it can't be sent", dataname);
  }
}

/** Bytes of a payload's JSON with this data */
const lengthOf = ({ payload }, data) => platform.byteLength(payloadJson(payload, data, writeJson(payload.metadata)));

/** Turns the largest direct payloads into links until the envelope fits */
function fit({ headerJson: header, drafts, metadataJson, mayLink }, limit, reserved = 0) {
  const directLength = ({ baseLength, size }) => baseLength + String(size).length - 1 + Math.ceil(size / 3) * 4;
  // What it has beside its payloads comes first.
  let total = platform.byteLength(header) + platform.byteLength(metadataJson) + 26 + reserved + Math.max(0, drafts.length - 1);
  for (const draft of drafts) total += draft.direct ? directLength(draft) : draft.linkLength;
  if (total <= limit) return;
  const order = drafts.filter(({ direct }) => direct && mayLink).sort((a, b) => b.size - a.size);
  for (const draft of order) {
    const saved = directLength(draft) - draft.linkLength;
    if (total <= limit || saved <= 0) break;
    total -= saved;
    draft.direct = false;
  }
  if (total > limit) {
    const sizes = drafts.filter(({ direct }) => direct).map(({ payload, size }) => `${shown(payload.dataname)}: ${size}`).slice(0, 16).join(", ");
    const advice = mayLink ? "" : "; it may have no links (`links`, `receiver`)";
    throw new NATSBridgeError("too_large", `the message needs ${total} bytes, the broker takes ${limit} (direct: ${sizes})${advice}`);
  }
}

/** Uploads payloads, which become links; where one fails, what the others left is deleted */
async function upload({ envelope, settings, once, mayBeOneShot }, linked) {
  if (linked.length === 0) return;
  const removals = [];
  const time = new Timeout(settings.signal, Infinity);
  try {
    await inParallel(linked, settings.transfers, (draft) =>
      uploadOne(draft, { ...settings, signal: time.signal, once, mayBeOneShot }, removals).catch((error) => {
        time.abort(new NATSBridgeError("aborted", "another payload's upload failed"));
        throw error;
      }),
    );
    deletes.set(envelope, [...(deletes.get(envelope) ?? []), ...removals]);
  } catch (error) {
    await removed(removals);
    throw error;
  } finally {
    time.end();
  }
}

async function uploadOne({ payload, source, size }, settings, removals) {
  const { fileserver_upload_handler, fileserver_url, fileserver_token, ttl, signal, on_progress, once, mayBeOneShot } = settings;
  const { dataname } = payload;
  await fenced("handler", "the upload handler failed", dataname, async () => {
    const given = {
      fileserver_url, dataname, size, one_shot: once, ttl, token: fileserver_token, signal, on_progress,
      data: source.bytes ?? source.blob ?? null, stream: () => source.chunks(), bytes: () => bytesOfSource(source),
    };
    const own = fileserver_upload_handler === null;
    const { max_retries, base_delay, max_delay, idle_timeout, upload_timeout, fetch } = settings;
    const call = () => (own ? plikUpload({ ...given, source, may_be_one_shot: mayBeOneShot, max_retries, base_delay, max_delay, idle_timeout, upload_timeout, fetch }) : fileserver_upload_handler(given));
    const answer = await timed("file_upload_duration_seconds", call);
    const stored = typeof answer === "string" ? { url: answer } : answer;
    if (typeof stored !== "object" || stored === null) throw new TypeError(`it resolves to a URL, not to ${describe(stored)}`);
    if (stored.delete) removals.push(stored.delete);
    checkText("url", stored.url);
    Object.assign(payload, { transport: "link", encoding: "none", data: stored.url });
    payload.metadata = { sha256: own ? stored.sha256 : await digestOfSource(source) };
    if (stored.expires_at) payload.metadata.expires_at = stored.expires_at;
    if (stored.one_shot) payload.metadata.one_shot = true;
  });
}
