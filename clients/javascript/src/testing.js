/** For tests: a broker and a file store in memory, of which nothing leaves the process. */

import { NATSBridgeError } from "./errors.js";
import { matches } from "./bridge/message.js";
import { platform } from "./platform.js";

/** A broker in memory; `connect()` makes what a NATS client's `connect` resolves to, as far as a Bridge uses it */
export class MemoryBroker {
  constructor({ max_payload = 1_048_576 } = {}) {
    this.max_payload = max_payload;
    this.subscriptions = new Set();
    this.turns = new Map();
    /** Messages that get lost: a function of subject and bytes */
    this.loses = () => false;
  }

  connect() {
    return new MemoryConnection(this);
  }

  publish(subject, data, reply, headers) {
    if (this.loses(subject, data)) return;
    const groups = new Map();
    let reached = 0;
    for (const subscription of this.subscriptions) {
      if (!matches(subscription.subject, subject)) continue;
      reached += 1;
      if (subscription.queue === "") subscription.arrived({ subject, data, reply, headers });
      else groups.set(subscription.queue, [...(groups.get(subscription.queue) ?? []), subscription]);
    }
    for (const [queue, members] of groups) {
      const turn = this.turns.get(queue) ?? 0;
      this.turns.set(queue, turn + 1);
      members[turn % members.length].arrived({ subject, data, reply, headers });
    }
    if (reached === 0 && reply) this.publish(reply, new Uint8Array(), undefined, { code: 503 });
  }
}

class MemoryConnection {
  constructor(broker) {
    Object.assign(this, { broker, own: new Set(), ended: false, isDrained: false });
    this.over = new Promise((resolve) => (this.resolve = resolve));
  }

  get info() {
    return { max_payload: this.broker.max_payload };
  }

  /** As a NATS client's connection does */
  #checkOpen() {
    if (this.ended) throw new Error("the connection is closed");
  }

  publish(subject, payload = new Uint8Array(), { reply } = {}) {
    this.#checkOpen();
    const data = typeof payload === "string" ? platform.encode(payload) : payload;
    this.broker.publish(subject, data.slice(), reply);
  }

  subscribe(subject, { callback, queue = "" } = {}) {
    this.#checkOpen();
    let end;
    const subscription = { subject, queue, closed: new Promise((resolve) => (end = resolve)) };
    subscription.arrived = (message) => queueMicrotask(() => callback(null, message));
    subscription.unsubscribe = () => {
      this.broker.subscriptions.delete(subscription);
      this.own.delete(subscription);
      end();
    };
    subscription.drain = async () => {
      this.broker.subscriptions.delete(subscription);
      await new Promise((resolve) => setTimeout(resolve));
      subscription.unsubscribe();
    };
    this.broker.subscriptions.add(subscription);
    this.own.add(subscription);
    return subscription;
  }

  async flush() {
    this.#checkOpen();
    await new Promise((resolve) => setTimeout(resolve));
  }

  async drain() {
    this.isDrained = true;
    for (const subscription of [...this.own]) await subscription.drain();
    await this.close();
  }

  async close() {
    this.ended = true;
    for (const subscription of [...this.own]) subscription.unsubscribe();
    this.resolve();
  }

  closed() {
    return this.over;
  }

  isClosed() {
    return this.ended;
  }

  isDraining() {
    return this.isDrained;
  }
}

/** A file store in memory: pass `store.upload` and `store.download` as the two handlers */
export class MemoryStore {
  constructor() {
    this.files = new Map();
    /** How many uploads and downloads fail from now on, each with an error */
    this.failing = 0;
    this.upload = this.upload.bind(this);
    this.download = this.download.bind(this);
  }

  async upload(upload) {
    this.#fail();
    const url = `http://files.test/file/${platform.uuid()}/payload.bin`;
    this.files.set(url, { bytes: (await upload.bytes()).slice(), one_shot: upload.one_shot });
    return { url, one_shot: upload.one_shot, delete: async () => void this.files.delete(url) };
  }

  async download({ url, dataname }) {
    this.#fail();
    const found = this.files.get(url);
    if (found === undefined) throw new NATSBridgeError("not_found", "the store has no such file", dataname);
    if (found.one_shot) this.files.delete(url);
    return found.bytes;
  }

  #fail() {
    if (this.failing <= 0) return;
    this.failing -= 1;
    throw new NATSBridgeError("unreachable", "the store fails, as it was told to");
  }
}
