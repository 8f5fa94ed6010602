/** A subscription: messages in order of arrival, as an async iterator; repeats are answered, losses counted. */

import { NATSBridgeError, asError } from "../errors.js";
import { log, unreadable } from "../log.js";
import { open } from "../receive.js";
import { Detector } from "./losses.js";
import { Message, wantsAnswer } from "./message.js";
import { Window } from "./window.js";

/** Messages that wait for their reader; what comes beyond is dropped, counted by the senders' numbers and said */
const MAX_WAITING = 65_536;

export class Subscription {
  #bridge;
  #settings;
  #onError;
  #subscription;
  #detector = new Detector();
  #window;
  #waiting = [];
  #wake = null;
  #ended = null;
  #isDraining = false;
  #last = null;

  constructor(bridge, subject, { queue = "", onError = null, settings, remembered }) {
    this.#bridge = bridge;
    this.#settings = settings;
    this.#onError = onError;
    this.#window = new Window(remembered);
    this.subject = subject;
    this.queue = queue;
    this.dropped = 0;
    const options = { callback: (error, raw) => (error ? this.#end(asError(error, "broker", "the subscription failed")) : this.#arrived(raw)) };
    if (queue !== "") options.queue = queue;
    this.#subscription = bridge.listen(subject, options);
    const closed = this.#subscription.closed;
    closed?.then?.(() => this.#end(null), (error) => this.#end(asError(error, "broker", "the subscription failed")));
  }

  /** Numbered messages that did not arrive, came again, or came late */
  get losses() {
    return { ...this.#detector.losses };
  }

  /** Messages that have arrived and wait */
  get waiting() {
    return this.#waiting.length;
  }

  #arrived(raw) {
    if (this.#ended !== null) return;
    let key = null;
    let message;
    try {
      let settled = false;
      const release = (isHandled) => {
        if (isHandled) this.#window.finish(key);
        else if (!settled) this.#window.forget(key);
        settled = true;
      };
      message = open(raw.data, this.#settings, (...read) => new Message(this.#bridge, raw, release, ...read));
      Object.defineProperty(message, "release", { value: (isHandled) => !settled && release(isHandled) });
    } catch (error) {
      this.#unreadable(error, raw);
      return;
    }
    const { envelope } = message;
    // A member of a queue group gets some of a sender's messages only.
    if (this.queue === "") this.#detector.note(envelope);
    key = this.#window.key(envelope);
    const seen = this.#window.begin(key);
    if (seen === "handled" && wantsAnswer(envelope, raw)) this.#quietly(this.#bridge.answer(envelope, raw, [], { msg_purpose: "ACK" }));
    if (seen !== "new" || this.#bridge.connection.isClosed?.()) return;
    if (this.#waiting.length >= MAX_WAITING) {
      this.dropped += 1;
      this.#window.forget(key);
      log("warn", "a message was dropped: too many wait", { subject: this.subject, msg_id: envelope.msg_id });
      return;
    }
    this.#waiting.push(message);
    this.#wake?.();
  }

  #unreadable(error, raw) {
    unreadable(error, raw.subject);
    const { envelope } = error;
    if (envelope && wantsAnswer(envelope, raw)) this.#quietly(this.#bridge.nack(error, raw));
    try {
      this.#onError?.(error, raw);
    } catch (thrown) {
      log("warn", "onError threw", { error: String(thrown?.message) });
    }
  }

  #quietly(promise) {
    promise.catch((error) => log("warn", "an answer could not be sent", { code: error.code ?? "", error: String(error.message) }));
  }

  #end(error) {
    this.#ended ??= { error };
    this.#wake?.();
  }

  /** The next message; null at the end */
  async take() {
    // Whoever asks for the next one is done with the last: without an answer, a repeat of it gets its chance.
    if (this.#last !== null) this.#last.release(!this.#last.wantsAnswer);
    this.#last = null;
    for (;;) {
      const message = this.#waiting.shift();
      if (message !== undefined) return message;
      if (this.#ended !== null) {
        const { error } = this.#ended;
        if (error !== null && !this.#isDraining) throw error;
        return null;
      }
      await new Promise((resolve) => (this.#wake = resolve));
      this.#wake = null;
    }
  }

  async *[Symbol.asyncIterator]() {
    try {
      for (let message; (message = await this.take()) !== null; ) {
        this.#last = message;
        yield message;
      }
    } finally {
      this.unsubscribe();
    }
  }

  /** Ends at once; what waits is not handed out */
  unsubscribe() {
    this.#subscription.unsubscribe();
    const left = this.#waiting.splice(0).length;
    this.#end(null);
    this.#bridge.forget(this);
    return left;
  }

  /** Unsubscribes at the server first; what has arrived is still handed out, and then the iterator ends */
  async drain() {
    this.#isDraining = true;
    try {
      await this.#subscription.drain();
    } catch (error) {
      if (!this.#bridge.connection.isClosed?.()) throw new NATSBridgeError("broker", `the subscription can't be drained: ${error.message}`, null, error);
    }
    this.#end(null);
    this.#bridge.forget(this);
  }
}
