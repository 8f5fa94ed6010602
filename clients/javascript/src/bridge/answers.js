/** The JSON of an ACK, a NACK or a reply, and its subject, for a connection of the caller's own. */

import { NATSBridgeError } from "../errors.js";
import { checkOpened } from "../receive.js";
import { smartsend } from "../send.js";
import { over } from "../settings.js";
import { answering, problemOf, replySubject } from "./message.js";

async function answer(message, payloads, fields, options) {
  const { reply = "", ...rest } = options ?? {};
  const envelope = checkOpened(message);
  if (["ACK", "NACK"].includes(envelope.msg_purpose)) throw new NATSBridgeError("no_reply_subject", "an ACK or a NACK gets no reply");
  const subject = replySubject(envelope, { reply }, []);
  const [made, json] = await smartsend(subject, payloads, over({ ...answering(envelope), ...fields }, rest));
  return { subject, json, envelope: made };
}

/** An ACK of a received message; `options.reply` is the NATS reply subject, for a message without `reply_to` */
export const ack = (message, options) => answer(message, [], { msg_purpose: "ACK" }, options);

/** A NACK: why it was not handled, an error or `{code, reason, retryable}` */
export const nack = (message, problem, options) => answer(message, [], { msg_purpose: "NACK", metadata: problemOf(problem) }, options);

/** A reply with payloads */
export const reply = (message, payloads, options) => answer(message, payloads, {}, options);
