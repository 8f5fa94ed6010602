/** A service: an async function answers each message of a subject, several at once, until it is stopped. */

import { NATSBridgeError } from "../errors.js";
import { log } from "../log.js";

export class Service {
  #subscription;
  #running = new Set();
  #loop;
  #grace;
  #isOver = false;

  constructor(subscription, handler, { concurrency, grace }) {
    this.#subscription = subscription;
    this.#grace = grace;
    this.#loop = this.#run(handler, concurrency);
    this.#loop.catch(() => {}); // `ended` reports it
  }

  /** Resolves when the service has ended, by `stop` or with the connection */
  get ended() {
    return this.#loop;
  }

  get losses() {
    return this.#subscription.losses;
  }

  async #run(handler, concurrency) {
    for (;;) {
      const message = await this.#subscription.take();
      if (message === null || this.#isOver) break;
      if (message.purpose === "ACK" || message.purpose === "NACK") {
        message.release(true);
        continue;
      }
      const task = this.#handle(handler, message).finally(() => this.#running.delete(task));
      this.#running.add(task);
      if (this.#running.size >= concurrency) await Promise.race(this.#running);
    }
    await Promise.all(this.#running);
  }

  async #handle(handler, message) {
    const answer = async (send) => {
      try {
        if (message.wantsAnswer) await send();
      } catch (error) {
        log("warn", "an answer could not be sent", { msg_id: message.msgId, code: error.code ?? "", error: String(error.message) });
        throw error;
      }
    };
    try {
      const payloads = (await handler(message)) ?? [];
      await answer(() => (payloads.length === 0 ? message.ack() : message.reply(payloads)));
      message.release(true);
    } catch (error) {
      log("warn", "a handler failed", { msg_id: message.msgId, error: String(error?.message ?? error) });
      await answer(() => message.nack(error)).catch(() => {});
      message.release(false);
    }
  }

  /** Unsubscribes, handles what has arrived within `grace`, and ends; an error says how many were not handled */
  async stop() {
    await this.#subscription.drain();
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(() => resolve("late"), this.#grace)));
    const outcome = await Promise.race([this.#loop, late]);
    clearTimeout(timer);
    if (outcome !== "late") return;
    this.#isOver = true;
    const left = this.#subscription.unsubscribe() + this.#running.size;
    if (left > 0) throw new NATSBridgeError("unhandled", `${left} messages had arrived and were not handled within ${this.#grace / 1000} s`);
  }
}
