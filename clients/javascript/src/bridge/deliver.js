/** Requests and acknowledged deliveries: a message is repeated until its answers are in, or its deadline has passed. */

import { NATSBridgeError, ofMessage } from "../errors.js";
import { count } from "../metrics.js";
import { waitFor } from "../retry.js";
import { discard, withdraw } from "../send.js";
import { refusedBy } from "./message.js";
import { newToken } from "./replies.js";

/** What comes in for one message, one after the other */
class Answers {
  constructor(replies, token, msg_id) {
    Object.assign(this, { found: [], wake: null });
    const put = (item) => {
      this.found.push(item);
      this.wake?.();
    };
    this.end = replies.wait(token, {
      msg_id,
      arrived: (message) => put({ message }),
      unreadable: (error) => put({ error }),
      noResponders: () => put({ nobody: true }),
    });
  }

  /** The next answer, or null when time is up */
  async next(until, signal) {
    if (this.found.length === 0) await waitFor((wake) => (this.wake = wake), until, signal);
    this.wake = null;
    return this.found.shift() ?? null;
  }
}

/** Sends a message once and waits for its answer */
export async function request(bridge, replies, subject, payloads, options, { timeout }) {
  const token = newToken();
  const until = Date.now() + timeout;
  const outgoing = await bridge.prepared(subject, payloads, { ...options, reply_to: replies.subject(token), awaits_ack: true });
  const answers = new Answers(replies, token, outgoing.envelope.msg_id);
  try {
    await bridge.publish(outgoing, { reply: outgoing.envelope.reply_to, until });
    for (;;) {
      const found = await answers.next(until, options.signal);
      if (found === null) throw new NATSBridgeError("timeout", `no reply within ${timeout} ms`);
      if (found.nobody) throw Object.assign(new NATSBridgeError("broker_no_responders", "nobody subscribes to the subject"), { retryable: true });
      if (found.error) throw found.error;
      const { message } = found;
      if (message.purpose === "NACK") throw refusedBy(message);
      if (message.purpose === "ACK" || message.purpose === "chat") return message;
    }
  } catch (error) {
    throw ofMessage(error, outgoing.envelope);
  } finally {
    answers.end();
  }
}

/** Publishes a message until it is acknowledged */
export async function deliver(bridge, replies, subject, payloads, options, how) {
  const { acks: wanted = 1, timeout = 30_000, first_pause = 500, longest_pause = 5_000 } = how;
  const token = newToken();
  const until = Date.now() + timeout;
  const fields = { ...options, reply_to: replies.subject(token), awaits_ack: true };
  const outgoing = await bridge.prepared(subject, payloads, { ...fields, max_retries: 1_000, upload_timeout: timeout });
  const { envelope } = outgoing;
  const answers = new Answers(replies, token, envelope.msg_id);
  const acks = [];
  let [repeats, pause, refusal] = [0, first_pause, null];
  try {
    for (;;) {
      try {
        await bridge.publish(outgoing, { keep: true, until });
      } catch (error) {
        // The connection may come back.
        if (outgoing.isLost || !["broker_closed", "broker_connection_lost"].includes(error.code) || bridge.connection.isClosed?.()) throw error;
      }
      const next = Math.min(until, Date.now() + pause * (0.5 + Math.random() / 2));
      pause = Math.min(pause * 2, longest_pause);
      for (let found; (found = await answers.next(next, options.signal)) !== null; ) {
        if (!found.message) continue;
        const { purpose, envelope: header } = found.message;
        if (purpose === "NACK") {
          const error = refusedBy(found.message);
          if (!error.refusal.retryable) throw error;
          refusal = error.refusal;
        } else if ((purpose === "ACK" || purpose === "chat") && acks.every((ack) => ack.sender_id !== header.sender_id)) {
          acks.push(header);
          if (acks.length >= wanted) {
            await discard(envelope);
            return { envelope, acks, repeats };
          }
        }
      }
      if (Date.now() >= until) throw missing(outgoing.isPublished, acks.length, wanted, repeats, refusal);
      repeats += 1;
      count("messages_repeated_total");
    }
  } catch (error) {
    count("deliveries_failed_total", { code: error.code ?? "handler" });
    // A slow receiver may still read the links of a message that was published; they expire.
    await withdraw(outgoing);
    throw ofMessage(error, envelope);
  } finally {
    answers.end();
  }
}

function missing(isPublished, acked, wanted, repeats, refusal) {
  if (!isPublished) return new NATSBridgeError("unacknowledged", "it was not sent: the connection was down until the time was up");
  const advice = acked === 0 ? "no receiver acknowledged it: is one subscribed to the subject, and does it acknowledge?" : "some receivers did not reply in time; raise the timeout, or ask for fewer";
  const last = refusal === null ? "" : `; the last refusal was ${refusal.code}: ${refusal.reason}`;
  const error = new NATSBridgeError("unacknowledged", `${acked} of ${wanted} acknowledgements came, after ${repeats} repeats: ${refusal === null ? advice : "a receiver refused it"}${last}`);
  return Object.assign(error, { refusal, acked });
}
