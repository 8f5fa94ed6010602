/** Options of every call: the contract's keywords or their camelCase, the environment's variables, defaults. */

import { platform } from "./platform.js";
import { NATSBridgeError, shown, wrongValue } from "./errors.js";
import { checkBoolean, checkFunction, checkNumber, describe } from "./values.js";

/** NATS's own default; a Bridge takes the server's */
export const DEFAULT_MAX_MESSAGE_SIZE = 1_048_576;
const MAX_PAYLOAD_SIZE = 10_000_000_000;
const MAX_MEMORY_SIZE = 2 ** 30;
const LINK_TTL = 24 * 60 * 60;

const TRANSFER = {
  fileserver_url: undefined, fileserver_token: undefined, max_retries: 5, base_delay: 100, max_delay: 5_000, idle_timeout: 30_000,
  transfers: 4, fetch: null, signal: null, on_progress: null,
};
export const SEND = {
  ...TRANSFER, broker_url: undefined, fileserver_upload_handler: null, size_threshold: undefined,
  max_message_size: DEFAULT_MAX_MESSAGE_SIZE, receiver: "desktop", links: true, convert_tables: false, digest_direct: false,
  correlation_id: "", msg_purpose: "chat", sender_name: "NATSBridge", receiver_name: "", receiver_id: "", reply_to: "",
  reply_to_msg_id: "", msg_id: "", sender_id: "", metadata: {}, awaits_ack: false, one_shot: undefined, ttl: LINK_TTL,
  upload_timeout: 600_000, new_id: null, now: () => new Date(),
};
export const RECEIVE = {
  ...TRANSFER, fileserver_download_handler: null, allowed_origins: undefined, strict: false, max_payload_size: MAX_PAYLOAD_SIZE,
  max_memory_size: MAX_MEMORY_SIZE, message_timeout: 60_000,
};

const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The error of an option that does not exist, with those that were probably meant */
export function noOption(name, known) {
  const plain = (word) => word.toLowerCase().replace(/_/g, "");
  const near = known.filter((word) => plain(word).includes(plain(name)) || plain(name).includes(plain(word)));
  return wrongValue(`there is no option ${shown(name)}${near.length > 0 ? `; there is ${near.map(shown).join(", ")}` : ""}`);
}

/** Options under the contract's keywords; one that does not exist is refused by name */
function named(options, known) {
  if (options === undefined || options === null) return {};
  if (typeof options !== "object") throw wrongValue(`the options are not an object but ${describe(options)}`);
  const found = {};
  for (const [name, value] of Object.entries(options)) {
    const keyword = snake(name);
    if (!Object.prototype.hasOwnProperty.call(known, keyword)) throw noOption(name, Object.keys(known));
    if (value !== undefined) found[keyword] = value;
  }
  return found;
}

/** A variable of the environment, read when a call is made */
const variable = (name, otherwise) => platform.env?.[name] || otherwise;

function threshold() {
  const text = variable("SIZE_THRESHOLD", "500000");
  if (!/^\d{1,15}$/.test(text)) throw new NATSBridgeError("configuration", `SIZE_THRESHOLD is a number of bytes such as 500000, not ${shown(text)}`);
  return Number(text);
}

const FUNCTIONS = ["fetch", "on_progress", "fileserver_upload_handler", "fileserver_download_handler", "new_id", "now"];
const SWITCHES = ["links", "convert_tables", "digest_direct", "awaits_ack", "one_shot", "strict"];

function filled(settings, known) {
  const all = { ...known, ...settings };
  all.fileserver_url ??= variable("FILESERVER_URL", "http://localhost:8080");
  all.fileserver_token ??= variable("FILESERVER_TOKEN", "");
  for (const name of ["max_retries", "base_delay", "max_delay", "idle_timeout", "transfers"]) checkNumber(name, all[name]);
  for (const name of FUNCTIONS) if ((all[name] ?? null) !== null) checkFunction(name, all[name]);
  for (const name of SWITCHES) if (all[name] !== undefined) checkBoolean(name, all[name]);
  if (all.signal !== null && typeof all.signal?.addEventListener !== "function") throw wrongValue(`\`signal\` is an AbortSignal, such as controller.signal, not ${describe(all.signal)}`);
  all.transfers = Math.max(1, Math.floor(all.transfers));
  return all;
}

/** What smartsend is told, complete */
export function sendSettings(options) {
  const all = filled(named(options, SEND), SEND);
  all.broker_url ??= variable("NATS_URL", "nats://localhost:4222");
  all.size_threshold ??= threshold();
  for (const name of ["size_threshold", "max_message_size", "ttl", "upload_timeout"]) checkNumber(name, all[name]);
  all.new_id ??= platform.uuid;
  return all;
}

/** What smartreceive is told, complete */
export function receiveSettings(options) {
  const all = filled(named(options, RECEIVE), RECEIVE);
  for (const name of ["max_payload_size", "max_memory_size", "message_timeout"]) checkNumber(name, all[name]);
  return all;
}

export const BRIDGE = { ...RECEIVE, ...SEND, inbox_prefix: undefined, reply_subjects: [], remembered: 10_000 };

/** What a Bridge is told: options of both sides, kept apart, and its own */
export function bridgeSettings(options) {
  const given = named(options, BRIDGE);
  const of = (known) => Object.fromEntries(Object.entries(given).filter(([name]) => Object.prototype.hasOwnProperty.call(known, name)));
  const own = { inbox_prefix: given.inbox_prefix, reply_subjects: given.reply_subjects ?? BRIDGE.reply_subjects, remembered: given.remembered ?? BRIDGE.remembered };
  if (!Array.isArray(own.reply_subjects) || own.reply_subjects.some((filter) => typeof filter !== "string")) {
    throw wrongValue("`reply_subjects` is not an array of subjects");
  }
  checkNumber("remembered", own.remembered);
  return { send: of(SEND), receive: of(RECEIVE), own };
}

/** One call's options over a Bridge's, whichever spelling each has */
export const over = (base, options) => ({ ...base, ...Object.fromEntries(Object.entries(options ?? {}).map(([name, value]) => [snake(name), value])) });
