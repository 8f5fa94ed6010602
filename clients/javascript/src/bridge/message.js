/** A message that arrived on a subscription: its fields, its payloads, and the means to answer it. */

import { NATSBridgeError, isError, ofMessage, shown, shownText } from "../errors.js";
import { Opened } from "../receive.js";

/** How much of a reason travels in a NACK */
const MAX_REASON = 500;

export class Message extends Opened {
  #bridge;
  #raw;
  #release;

  constructor(bridge, raw, release, envelope, payloads, settings) {
    super(envelope, payloads, settings);
    this.#bridge = bridge;
    this.#raw = raw;
    this.#release = release;
  }

  /** The NATS subject that it arrived on */
  get subject() {
    return this.#raw.subject;
  }

  get msgId() {
    return this.envelope.msg_id;
  }

  get correlationId() {
    return this.envelope.correlation_id;
  }

  get senderName() {
    return this.envelope.sender_name;
  }

  get senderId() {
    return this.envelope.sender_id;
  }

  get purpose() {
    return this.envelope.msg_purpose;
  }

  get timestamp() {
    return this.envelope.timestamp;
  }

  get metadata() {
    return this.envelope.metadata;
  }

  /** Whether the sender awaits an answer */
  get wantsAnswer() {
    return wantsAnswer(this.envelope, this.#raw);
  }

  /** Says that it was handled; a repeat of it is acknowledged without being handed out again */
  async ack() {
    this.#release(true);
    await this.#bridge.answer(this.envelope, this.#raw, [], { msg_purpose: "ACK" });
  }

  /** Says why it was not handled: an error, or `{code, reason, retryable}` */
  async nack(problem) {
    this.#release(false);
    await this.#bridge.answer(this.envelope, this.#raw, [], { msg_purpose: "NACK", metadata: problemOf(problem) });
  }

  /** Sends payloads to where the message asks for replies; counts as handled */
  async reply(payloads, options = {}) {
    this.#release(true);
    return this.#bridge.answer(this.envelope, this.#raw, payloads, options);
  }
}

/** The fields that an answer takes from the message that it is for */
export const answering = ({ correlation_id, msg_id, sender_name, sender_id }) => ({
  correlation_id, reply_to_msg_id: msg_id, receiver_name: sender_name, receiver_id: sender_id,
});

/** Whether somebody awaits an answer to a message; an ACK and a NACK get none */
export function wantsAnswer({ msg_id, reply_to, msg_purpose }, raw) {
  return msg_id !== "" && (reply_to !== "" || Boolean(raw.reply)) && msg_purpose !== "ACK" && msg_purpose !== "NACK";
}

/** Where the answer to a message goes; a stranger's word must not make a program speak to the server's own subjects */
export function replySubject(envelope, raw, allowed) {
  const to = envelope.reply_to || raw.reply || "";
  if (to === "") throw ofMessage(new NATSBridgeError("no_reply_subject", "the message names no subject for replies"), envelope);
  if (to.startsWith("$") || (allowed.length > 0 && !allowed.some((filter) => matches(filter, to)))) {
    throw ofMessage(new NATSBridgeError("reply_refused", `this program sends no reply to ${shown(to)}`), envelope);
  }
  return to;
}

/** Whether a subject is one of a filter's */
export function matches(filter, subject) {
  const [wanted, found] = [filter.split("."), subject.split(".")];
  for (let at = 0; at < wanted.length; at += 1) {
    if (wanted[at] === ">") return found.length > at;
    if (at >= found.length || (wanted[at] !== "*" && wanted[at] !== found[at])) return false;
  }
  return wanted.length === found.length;
}

/** A NACK's metadata */
export function problemOf(problem) {
  const text = (value, otherwise) => (typeof value === "string" && value !== "" ? shownText(value, MAX_REASON) : otherwise);
  if (isError(problem)) {
    const reason = problem.dataname === null ? problem.reason : `payload ${shown(problem.dataname)}: ${problem.reason}`;
    // This program's own folders are nobody's business.
    const said = problem.code === "local_file" ? "the receiver has a problem with a file of its own" : reason;
    return { code: problem.code, reason: text(said, "no reason given"), retryable: problem.retryable };
  }
  if (problem instanceof Error || typeof problem !== "object" || problem === null) {
    return { code: "handler", reason: text(problem?.message ?? String(problem ?? ""), "the handler failed"), retryable: true };
  }
  return { code: text(problem.code, "handler"), reason: text(problem.reason, "no reason given"), retryable: problem.retryable !== false };
}

/** What a NACK says, as the error of whoever sent the message */
export function refusedBy({ envelope }) {
  const text = (key) => (typeof envelope.metadata[key] === "string" ? shownText(envelope.metadata[key], MAX_REASON) : "no reason given");
  const refusal = { receiver: shownText(envelope.sender_name), code: text("code"), reason: text("reason"), retryable: envelope.metadata.retryable === true };
  const error = new NATSBridgeError("nacked", `${shown(envelope.sender_name)} refused it (${refusal.code}): ${refusal.reason}`);
  return Object.assign(error, { refusal, msgId: envelope.reply_to_msg_id, correlationId: envelope.correlation_id || null });
}
