/** The envelope: its fields in order, how it is written, and the strict but tolerant reading of it. */

import { platform } from "./platform.js";
import { NATSBridgeError, shownText, wrongValue } from "./errors.js";
import { JsonReader, isDeeper } from "./json.js";
import { fromBase64, strictBase64 } from "./base64.js";
import { PAYLOAD_TYPES, describe, fromUtf8, hasLoneSurrogate, isRow, viewOf } from "./values.js";

const HEADER_FIELDS = [
  "correlation_id", "msg_id", "timestamp", "send_to", "msg_purpose", "sender_name", "sender_id", "receiver_name",
  "receiver_id", "reply_to", "reply_to_msg_id", "broker_url",
];
const PAYLOAD_FIELDS = ["id", "dataname", "payload_type", "transport", "encoding", "size", "data", "metadata"];
const ENCODINGS = ["none", "json", "base64", "arrow-ipc"];
/** Nesting of an envelope, its metadata and unknown fields */
const MAX_DEPTH = 200;

/** The JSON of an envelope's fields before `metadata`, without the closing brace */
export const headerJson = (header) => `${JSON.stringify(header).slice(0, -1)},`;

/** The JSON of a payload, in which `data` is JSON already */
export function payloadJson(payload, data, metadata) {
  const { id, dataname, payload_type, transport, encoding, size } = payload;
  return `{"id":${JSON.stringify(id)},"dataname":${JSON.stringify(dataname)},"payload_type":"${payload_type}","transport":"${transport}",` +
    `"encoding":"${encoding}","size":${size},"data":${data},"metadata":${metadata}}`;
}

/**
 * Reads a message as an ordinary sender writes it: the platform's parser reads everything but long base64, and writing it
 * again gives the same text, so that no key stood twice and no number was changed. Null where it is another.
 * `bodies` are the decoded ones of its payloads.
 */
function readPlainly(text) {
  const pieces = [];
  let skeleton = "";
  let at = 0;
  for (;;) {
    const start = text.indexOf('"data":"', at);
    if (start < 0) break;
    const from = start + 8;
    const end = text.indexOf('"', from);
    if (end < 0) return null;
    skeleton += `${text.slice(at, from)}#${pieces.length}`;
    pieces.push(text.slice(from, end));
    at = end;
  }
  skeleton += text.slice(at);
  if (skeleton.length > 65_536 || skeleton.includes("\\u")) return null;
  let raw;
  try {
    raw = JSON.parse(skeleton);
  } catch {
    return null;
  }
  if (!isRow(raw) || !Array.isArray(raw.payloads) || isDeeper(raw, MAX_DEPTH) || JSON.stringify(raw) !== skeleton || hasLoneSurrogate(skeleton)) return null;
  const bodies = new Map();
  let used = 0;
  for (const item of raw.payloads) {
    if (!isRow(item)) return null;
    if (typeof item.data !== "string") continue;
    if (item.data !== `#${used}`) return null;
    item.data = pieces[used];
    used += 1;
    // What is no base64 may hold what JSON does not allow.
    if (item.transport !== "direct" && /[\\\u0000-\u001f\ud800-\udfff]/.test(item.data)) return null;
    if (item.transport === "direct") {
      if (item.encoding !== "base64") return null;
      const body = strictBase64(item.data);
      if (body === null) return null;
      bodies.set(item, body);
    }
  }
  return used === pieces.length ? { value: raw, bodies, twice: NOTHING, rawData: NOTHING } : null;
}

const NOTHING = new Map();

function parse(message) {
  const view = typeof message === "string" ? null : viewOf(message);
  if (typeof message !== "string" && view === null) throw wrongValue(`a message is a string or bytes, not ${describe(message)}; give the json of [envelope, json], or the \`data\` of a NATS message`);
  try {
    const text = view === null ? message : fromUtf8(view);
    return readPlainly(text) ?? { ...new JsonReader(text, MAX_DEPTH).document(), bodies: NOTHING };
  } catch (error) {
    throw new NATSBridgeError("not_json", `the message is not an envelope: ${shownText(error.message, 200)}`, null, error);
  }
}

/** The envelope with every field, and its payloads, whose `body` is the bytes, or null for a link */
export function readEnvelope(message) {
  const missing = (field, dataname = null) => new NATSBridgeError("missing_field", `\`${field}\` is missing`, dataname);
  const wrongType = (field, wanted, dataname = null) => new NATSBridgeError("wrong_type", `\`${field}\` is not ${wanted}`, dataname);
  const { value: raw, bodies, twice, rawData } = parse(message);
  const text = (object, field, dataname) => {
    const value = object[field] ?? null;
    if (value !== null && typeof value !== "string") throw wrongType(field, "a string", dataname);
    return value;
  };
  const once = (object, names) => {
    const [key] = [...(twice.get(object) ?? [])].find(([name]) => names === null || names.includes(name)) ?? [];
    if (key !== undefined) throw new NATSBridgeError("not_json", `the message is not an envelope: the key \`${shownText(key)}\` occurs twice`);
  };
  const metadataOf = (object, dataname) => {
    const value = object.metadata ?? null;
    if (value === null) return {};
    if (!isRow(value)) throw wrongType("metadata", "an object", dataname);
    once(value, null);
    return value;
  };

  if (!isRow(raw)) {
    const found = raw === null ? "JSON null" : Array.isArray(raw) ? "a JSON array" : `a JSON ${typeof raw === "bigint" ? "number" : typeof raw}`;
    throw new NATSBridgeError("wrong_type", `the message is not an envelope: it is ${found}, not an object`);
  }
  once(raw, [...HEADER_FIELDS, "metadata", "payloads"]);
  const envelope = {};
  for (const field of HEADER_FIELDS) envelope[field] = text(raw, field) ?? "";
  try {
    envelope.metadata = metadataOf(raw);
    if ((raw.payloads ?? null) === null) throw missing("payloads");
    if (!Array.isArray(raw.payloads)) throw wrongType("payloads", "an array");
    for (const payload of raw.payloads) if (isRow(payload)) once(payload, PAYLOAD_FIELDS);

    const payloads = raw.payloads.map((item, index) => {
      if (!isRow(item)) throw new NATSBridgeError("wrong_type", `item ${index} of \`payloads\` is not an object`);
      const dataname = text(item, "dataname", `#${index}`) ?? "";
      const payload = { id: text(item, "id", dataname) ?? "", dataname };
      for (const [word, known] of WORDS) {
        payload[word] = text(item, word, dataname);
        if (payload[word] === null) throw missing(word, dataname);
        if (!known.includes(payload[word])) throw new NATSBridgeError(`unknown_${word}`, `unknown ${word} \`${shownText(payload[word])}\``, dataname);
      }
      const encoding = text(item, "encoding", dataname) || "base64";
      const size = item.size ?? 0;
      if (!(typeof size === "bigint" || Number.isInteger(size)) || size < 0) throw wrongType("size", "a number of bytes", dataname);
      Object.assign(payload, { size: Number(size), metadata: metadataOf(item, dataname), body: null });
      const direct = payload.transport === "direct";
      if (direct && !ENCODINGS.includes(encoding)) {
        throw new NATSBridgeError("unknown_encoding", `unknown encoding \`${shownText(encoding)}\``, dataname);
      }
      if (direct && encoding === "json" && item.data !== undefined && typeof item.data !== "string") {
        payload.body = platform.encode(rawData.get(item) ?? JSON.stringify(item.data));
        return payload;
      }
      payload.data = text(item, "data", dataname);
      if (payload.data === null) throw missing("data", dataname);
      if (direct) payload.body = bodies.get(item) ?? (encoding === "none" ? platform.encode(payload.data) : fromBase64(payload.data, dataname));
      return payload;
    });
    return { envelope, payloads };
  } catch (error) {
    // Whoever refuses the message says of which one.
    throw Object.assign(error, { envelope });
  }
}

const WORDS = [["payload_type", PAYLOAD_TYPES], ["transport", ["direct", "link"]]];
