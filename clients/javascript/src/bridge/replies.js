/** Answers by the message they belong to: one subscription of a Bridge serves all its requests and deliveries. */

import { log } from "../log.js";
import { open } from "../receive.js";
import { hex } from "../digest.js";
import { platform } from "../platform.js";
import { Message } from "./message.js";

/** A token that nobody guesses: whoever may publish to inboxes can't answer for others */
export const newToken = () => hex(platform.random(12));

export class Replies {
  #bridge;
  #settings;
  #inbox = null;
  #waiting = new Map();

  constructor(bridge, settings, prefix) {
    this.#bridge = bridge;
    this.#settings = settings;
    this.prefix = prefix;
  }

  /** The subject where the answers to a message are awaited */
  subject(token) {
    if (this.#inbox === null) {
      const inbox = `${this.prefix}.${newToken()}`;
      this.#bridge.listen(`${inbox}.*`, { callback: (error, raw) => (error ? log("warn", "replies can't be received", { error: String(error.message) }) : this.#arrived(raw)) });
      this.#inbox = inbox;
    }
    return `${this.#inbox}.${token}`;
  }

  #arrived(raw) {
    const token = raw.subject.slice(raw.subject.lastIndexOf(".") + 1);
    const waiter = this.#waiting.get(token);
    if (raw.data.length === 0 && raw.headers?.code === 503) {
      waiter?.noResponders();
      return;
    }
    try {
      const message = open(raw.data, this.#settings, (...read) => new Message(this.#bridge, raw, () => {}, ...read));
      if (waiter?.msg_id === message.envelope.reply_to_msg_id) waiter.arrived(message);
    } catch (error) {
      // The sender of the request may have got what it can't read.
      waiter?.unreadable(error);
    }
  }

  wait(token, waiter) {
    this.#waiting.set(token, waiter);
    return () => this.#waiting.delete(token);
  }
}
