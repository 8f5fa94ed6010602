/** A Bridge: messages with typed payloads over any connection of `@nats-io/nats-core`. */

import { NATSBridgeError, ofMessage, shown, wrongValue } from "../errors.js";
import { sent } from "../log.js";
import { platform } from "../platform.js";
import { prepare, withdraw } from "../send.js";
import { DEFAULT_MAX_MESSAGE_SIZE, bridgeSettings, noOption, over, receiveSettings } from "../settings.js";
import { checkFilter, checkFunction, checkNumber, checkQueue, describe } from "../values.js";
import { deliver, request } from "./deliver.js";
import { lineOf } from "./line.js";
import { answering, problemOf, replySubject } from "./message.js";
import { Replies } from "./replies.js";
import { Service } from "./serve.js";
import { Subscription } from "./subscription.js";

/** Bytes that `seq` and `epoch` take in an envelope at most */
const ROOM = 90;
/** Subjects whose messages one Bridge counts; messages to further ones carry no numbers */
const MAX_SUBJECTS = 65_536;
const LOST = "broker_connection_lost";
/** How often a message is planned at most, where the server takes less each time */
const PLANS = 4;
export const HOW = ["acks", "timeout", "first_pause", "longest_pause"];

export class Bridge {
  #send;
  #receive;
  #own;
  #replies;
  #line;
  #maxPayload = DEFAULT_MAX_MESSAGE_SIZE;
  #epoch = platform.uuid();
  #numbers = new Map();
  #subscriptions = new Set();
  #services = new Set();

  /** @param connection what `connect` or `wsconnect` of a NATS client resolves to; it stays the caller's */
  constructor(connection, options = {}) {
    if (typeof connection?.publish !== "function" || typeof connection.subscribe !== "function") {
      throw wrongValue(`a Bridge is made over a NATS connection, which connect() resolves to, not over ${describe(connection)}`);
    }
    const { send, receive, own } = bridgeSettings(options);
    this.connection = connection;
    this.#line = lineOf(connection);
    this.#send = { ...send, sender_id: send.sender_id || platform.uuid() };
    this.#receive = receiveSettings(receive);
    this.#own = own;
    this.#replies = new Replies(this, this.#receive, own.inbox_prefix ?? connection.options?.inboxPrefix ?? "_INBOX");
  }

  /** The identifier that all its messages have as `sender_id` */
  get senderId() {
    return this.#send.sender_id;
  }

  /** Publishes a message; resolves to its envelope */
  async send(subject, payloads, options = {}) {
    return this.publish(await this.prepared(subject, payloads, options));
  }

  /** Publishes a message and waits for the reply: a Message. A NACK is the error `nacked` */
  async request(subject, payloads, options = {}) {
    const [how, rest] = apart(options);
    return request(this, this.#replies, subject, payloads, rest, { timeout: 5_000, ...how });
  }

  /** Repeats a message until it is acknowledged by `acks` receivers; resolves to `{envelope, acks, repeats}` */
  async deliver(subject, payloads, options = {}) {
    const [how, rest] = apart(options);
    return deliver(this, this.#replies, subject, payloads, rest, how);
  }

  /** Messages of a subject, as an async iterator */
  subscribe(subject, options = {}) {
    if (typeof options === "function") throw wrongValue("subscribe takes no callback: read its messages with `for await`, or use serve");
    const { queue = "", onError = null, ...unknown } = options;
    for (const name of Object.keys(unknown)) throw noOption(name, ["queue", "onError"]);
    checkFilter("subject", subject);
    checkQueue("queue", queue);
    if (onError !== null) checkFunction("onError", onError);
    const subscription = new Subscription(this, subject, { queue, onError, settings: this.#receive, remembered: this.#own.remembered });
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** Answers each message of a subject with what `handler` resolves to: payloads, or nothing for an ACK */
  serve(subject, handler, options = {}) {
    if (typeof handler !== "function") throw wrongValue(`a handler is a function, not ${describe(handler)}`);
    const { concurrency = 16, grace = 10_000, ...rest } = options;
    checkNumber("concurrency", concurrency, 1);
    checkNumber("grace", grace);
    const service = new Service(this.subscribe(subject, rest), handler, { concurrency, grace });
    this.#services.add(service);
    service.ended.then(() => this.#services.delete(service), () => this.#services.delete(service));
    return service;
  }

  /** Says no to the sender of a message that could not be read; `error` is what `onError` was given */
  async nack(error, raw) {
    if (!error?.envelope) throw new NATSBridgeError("no_reply_subject", "nobody knows who sent it");
    await this.answer(error.envelope, raw, [], { msg_purpose: "NACK", metadata: problemOf(error) });
  }

  /** Waits until the server has all that was published */
  async flush() {
    try {
      await this.connection.flush();
    } catch (error) {
      throw broken("it can't be flushed", error, this.connection.isClosed() ? "broker_closed" : LOST);
    }
  }

  /** Ends in order: services and subscriptions handle what has arrived, what was sent is flushed, the connection is drained */
  async drain() {
    const stopped = await Promise.allSettled([...this.#services].map((service) => service.stop()));
    await Promise.allSettled([...this.#subscriptions].map((subscription) => subscription.drain()));
    if (!this.connection.isClosed?.() && !this.connection.isDraining?.()) await this.connection.drain();
    const failed = stopped.find(({ status }) => status === "rejected");
    if (failed) throw failed.reason;
  }

  // What the rest of the package uses.

  /** Subscribes at the connection */
  listen(subject, options) {
    try {
      return this.connection.subscribe(subject, options);
    } catch (error) {
      throw broken(`${shown(subject)} can't be subscribed to`, error);
    }
  }

  /** A message whose uploads are done */
  prepared(subject, payloads, options) {
    // While the connection is down, what the server took before is the best guess.
    this.#maxPayload = this.connection.info?.max_payload ?? this.#maxPayload;
    return prepare(subject, payloads, over({ max_message_size: this.#maxPayload, ...this.#send }, options), ROOM);
  }

  /**
   * Publishes a message: waits while the connection is down, plans it again where the server takes less than it did; `keep`
   * keeps its uploads for a repeat
   */
  async publish(outgoing, { reply = undefined, keep = false, until = Infinity } = {}) {
    const { envelope, isPublished } = outgoing;
    try {
      for (let plans = 1; ; plans += 1) {
        if (!this.#line.isUp && !(await this.#line.back(until, outgoing.signal))) {
          throw new NATSBridgeError(LOST, "it can't be published: the connection is down, and did not come back in time");
        }
        if (this.#publishOnce(outgoing, reply)) break;
        const limit = this.connection.info.max_payload;
        if (plans === PLANS) throw new NATSBridgeError("too_large", `the message is larger than the ${limit} bytes that the server takes by now`);
        await outgoing.again(limit, until);
      }
    } catch (error) {
      if (!keep) await withdraw(outgoing);
      if (error instanceof NATSBridgeError) throw ofMessage(error, envelope);
      throw ofMessage(broken("it can't be published", error), envelope);
    }
    if (!isPublished) sent(envelope);
    return envelope;
  }

  /** Numbers, writes and publishes a message; false where it is larger than the server takes */
  #publishOnce(outgoing, reply) {
    const { envelope } = outgoing;
    const numbers = outgoing.isPublished ? null : this.#number(envelope);
    try {
      outgoing.text ??= outgoing.json(numbers);
      if (platform.byteLength(outgoing.text) > (this.connection.info?.max_payload ?? Infinity)) return false;
      this.connection.publish(envelope.send_to, outgoing.text, reply === undefined ? undefined : { reply });
      outgoing.publish();
      return true;
    } finally {
      if (!outgoing.isPublished) {
        // A number that nobody has seen is not missing.
        if (numbers !== null) this.#numbers.set(envelope.send_to, numbers.seq - 1);
        outgoing.text = undefined;
      }
    }
  }

  /** The next number of a subject; a reply goes to a subject of its own, where there is nothing to count */
  #number({ send_to, reply_to_msg_id }) {
    const known = this.#numbers.get(send_to);
    if (reply_to_msg_id !== "" || (known === undefined && this.#numbers.size >= MAX_SUBJECTS)) return null;
    const seq = (known ?? 0) + 1;
    this.#numbers.set(send_to, seq);
    return { seq, epoch: this.#epoch };
  }

  /** Sends an answer to where a message asks for it */
  async answer(envelope, raw, payloads, options) {
    const to = replySubject(envelope, raw, this.#own.reply_subjects);
    return this.publish(await this.prepared(to, payloads, over(answering(envelope), options)));
  }

  forget(subscription) {
    this.#subscriptions.delete(subscription);
  }
}

const broken = (what, error, code = "broker_closed") => new NATSBridgeError(code, `${what}: ${error.message}`, null, error);

/** Options of a delivery, and those of the message */
function apart(options) {
  const [how, rest] = [{}, {}];
  for (const [name, value] of Object.entries(over({}, options))) {
    if (HOW.includes(name)) {
      checkNumber(name, value, name === "acks" ? 1 : 0);
      how[name] = value;
    } else rest[name] = value;
  }
  if (rest.reply_to) throw wrongValue("replies come back on a subject of the Bridge; leave reply_to out, or use send");
  return [how, rest];
}
