/** Whether the connection is up: NATS clients take what is published while it is down, and forget it. */

import { waitFor } from "../retry.js";

const lines = new WeakMap();

/** What is known of a connection, the same for all Bridges over it */
export function lineOf(connection) {
  if (!lines.has(connection)) lines.set(connection, new Line(connection));
  return lines.get(connection);
}

class Line {
  #waiting = new Set();

  constructor(connection) {
    const mayTell = typeof connection.status === "function";
    this.isUp = !mayTell || connection.info !== undefined || connection.isClosed();
    if (mayTell) this.#follow(connection).catch(() => this.#up());
  }

  async #follow(connection) {
    for await (const { type } of connection.status()) {
      if (type === "disconnect") this.isUp = false;
      else if (type === "reconnect") this.#up();
    }
    // It is closed, and says so to whoever publishes.
    this.#up();
  }

  #up() {
    this.isUp = true;
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  /** Waits until it is up or closed; resolves to false where it is down at `until` */
  async back(until, signal) {
    while (!this.isUp) {
      let woken;
      const isBack = await waitFor((wake) => this.#waiting.add((woken = wake)), until, signal).finally(() => this.#waiting.delete(woken));
      if (!isBack) return false;
    }
    return true;
  }
}
