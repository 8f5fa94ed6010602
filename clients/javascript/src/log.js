/** Log records: the seven fields of a message for each payload sent and received, and warnings. */

import { shownText, wrongValue } from "./errors.js";
import { count } from "./metrics.js";
import { describe } from "./values.js";

let logger = null;

/**
 * Sets what log records are given to: a function `(record) => void`, or an object with the methods of `console`; null for
 * none. A record has `level`, `text` and fields.
 */
export function setLogger(given) {
  if (!["function", "object", "undefined"].includes(typeof given)) throw wrongValue(`a logger is a function or an object such as console, not ${describe(given)}`);
  logger = given ?? null;
}

/** Writes a record; a logger that throws loses it and nothing else */
export function log(level, text, fields) {
  if (logger === null) return;
  const clean = {};
  for (const [name, value] of Object.entries(fields)) clean[name] = typeof value === "string" ? shownText(value, 200) : value;
  try {
    if (typeof logger === "function") logger({ level, text, ...clean });
    else logger[level]?.(text, clean);
  } catch {
    // The message matters more than its record.
  }
}

function each(envelope, payloads, text) {
  if (logger === null) return;
  const { correlation_id, msg_id, timestamp, sender_name, receiver_name } = envelope;
  const of = ({ payload_type, transport }) => log("debug", text, { correlation_id, msg_id, timestamp, sender_name, receiver_name, payload_type, transport });
  if (payloads.length === 0) of({ payload_type: "", transport: "" });
  else payloads.forEach(of);
}

/** A message is on its way, or was handed to the caller to publish */
export function sent(envelope) {
  count("messages_sent_total");
  if (envelope.msg_purpose === "ACK") count("acks_sent_total");
  if (envelope.msg_purpose === "NACK") count("nacks_sent_total");
  each(envelope, envelope.payloads, "message sent");
}

/** A message arrived as a sound envelope */
export function received(envelope, payloads) {
  count("messages_received_total");
  each(envelope, payloads, "message received");
}

/** A message arrived and can't be read */
export function unreadable(error, subject) {
  count("messages_unreadable_total", { code: error.code });
  log("warn", "a message can't be read", { msg_id: error.msgId ?? "", correlation_id: error.correlationId ?? "", subject, code: error.code, error: error.message });
}
