/** A connection that goes away and comes back, with another max_payload too: what a Bridge does meanwhile. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Bridge, NATSBridgeError } from "../src/node.js";
import { MemoryBroker, MemoryStore } from "../src/testing-node.js";
import { codeOf, errorOf } from "./common.js";

const HURRY = { first_pause: 10, longest_pause: 20 };

/** A connection that does as `@nats-io/nats-core` does while it is down: it says so, takes everything, and forgets it */
class Unsteady {
  constructor(broker) {
    this.inner = broker.connect();
    this.isDown = false;
    this.forgotten = 0;
    this.queue = [];
    this.wake = () => {};
  }

  get info() {
    return this.isDown ? undefined : this.inner.info;
  }

  say(type) {
    this.queue.push({ type });
    this.wake();
  }

  down() {
    this.isDown = true;
    this.say("disconnect");
  }

  up() {
    this.isDown = false;
    this.say("reconnect");
  }

  async *status() {
    for (;;) {
      while (this.queue.length > 0) yield this.queue.shift();
      if (this.isClosed()) return;
      await new Promise((resolve) => (this.wake = resolve));
    }
  }

  publish(subject, payload, options) {
    if (this.isDown && !this.isClosed()) this.forgotten += 1;
    else this.inner.publish(subject, payload, options);
  }

  async close() {
    await this.inner.close();
    this.wake();
  }

  subscribe = (...args) => this.inner.subscribe(...args);
  flush = () => this.inner.flush();
  drain = () => this.inner.drain();
  isClosed = () => this.inner.isClosed();
  isDraining = () => this.inner.isDraining();
}

function unsteady() {
  const [broker, store] = [new MemoryBroker(), new MemoryStore()];
  const handlers = { fileserver_upload_handler: store.upload, fileserver_download_handler: store.download };
  const connection = new Unsteady(broker);
  return { broker, store, connection, sender: new Bridge(connection, handlers), receiver: new Bridge(broker.connect(), handlers) };
}

/** Lets everything run that can run now */
const turn = () => new Promise((resolve) => setImmediate(resolve));

test("what is sent while the connection is down is sent when it is back, as links where the server takes less", async () => {
  const { broker, store, connection, sender, receiver } = unsteady();
  const inbox = receiver.subscribe("lab.x");
  await sender.send("lab.x", [["n", 0, "dictionary"]]);
  connection.down();
  await turn();
  const order = [];
  const sends = [1, 2].map((n) => sender.send("lab.x", [["n", n, "dictionary"], ["raw", new Uint8Array(100_000).fill(n), "binary"]]).then((envelope) => order.push(envelope.metadata.seq)));
  await turn();
  assert.deepEqual([order, store.files.size, connection.forgotten], [[], 0, 0]);
  broker.max_payload = 50_000;
  connection.up();
  await Promise.all(sends);
  for (const n of [0, 1, 2]) {
    const message = await inbox.take();
    assert.deepEqual([await message.get("n"), message.metadata.seq], [n, n + 1]);
    if (n > 0) assert.deepEqual([message.payload("raw").transport, (await message.get("raw"))[0]], ["link", n]);
  }
  assert.deepEqual([order, inbox.losses.missing, store.files.size], [[2, 3], 0, 2]);
});

test("a delivery waits for the connection within its time, a request too, and an abort ends any wait", async () => {
  const { connection, sender, receiver, store } = unsteady();
  receiver.serve("lab.orders", async () => {});
  receiver.serve("lab.square", async (message) => [["n", (await message.get("n")) ** 2, "dictionary"]]);
  const order = [["order", new Uint8Array(1_000), "binary"]];
  const down = async () => {
    connection.down();
    await turn();
  };
  await down();
  const delivered = sender.deliver("lab.orders", order, { ...HURRY, size_threshold: 10 });
  const asked = sender.request("lab.square", [["n", 7, "dictionary"]]);
  await turn();
  connection.up();
  assert.deepEqual([(await delivered).acks.length, await (await asked).get("n"), store.files.size], [1, 49, 0]);
  await down();
  const late = await errorOf(sender.deliver("lab.orders", order, { ...HURRY, timeout: 30, size_threshold: 10 }));
  assert.deepEqual([late.code, store.files.size], ["unacknowledged", 0]);
  const unsent = await errorOf(sender.request("lab.square", [], { timeout: 30 }));
  assert.ok(unsent.code === "broker_connection_lost" && unsent.retryable && /down/.test(unsent.message), unsent.message);
  const abort = new AbortController();
  const waits = ["send", "request", "deliver"].map((how) => codeOf(sender[how]("lab.orders", order, { signal: abort.signal, size_threshold: 10 })));
  await turn();
  abort.abort();
  assert.deepEqual([await Promise.all(waits), store.files.size], [["aborted", "aborted", "aborted"], 0]);
  const unhappy = codeOf(sender.send("lab.orders", order, { size_threshold: 10 }));
  await turn();
  await connection.close();
  assert.deepEqual([await unhappy, store.files.size, connection.forgotten], ["broker_closed", 0, 0]);
});

test("a delivery that fails deletes the links that nobody was sent, and keeps those that a receiver may read", async () => {
  const { broker, store, sender } = unsteady();
  const kept = broker.publish.bind(broker);
  const seen = [];
  broker.publish = (subject, data, ...more) => {
    if (subject === "lab.x") {
      seen.push(JSON.parse(Buffer.from(data)).payloads.map(({ transport }) => transport));
      broker.max_payload = 50_000;
    }
    kept(subject, data, ...more);
  };
  const upload = store.upload;
  const uploads = [];
  const options = { ...HURRY, timeout: 5_000, fileserver_upload_handler: async (given) => {
    uploads.push(given.dataname);
    if (given.dataname === "b") broker.max_payload = 100;
    return upload(given);
  } };
  const error = await errorOf(sender.deliver("lab.x", [["a", new Uint8Array(600_000), "binary"], ["b", new Uint8Array(200_000), "binary"]], options));
  assert.deepEqual([error.code, seen, uploads], ["too_large", [["link", "direct"]], ["a", "b"]]);
  assert.deepEqual([...store.files.values()].map(({ bytes }) => bytes.length), [600_000]);
});

test("many Bridges over one connection listen to it once", () => {
  const { connection } = unsteady();
  let listeners = 1; // the first Bridge's
  connection.status = () => ((listeners += 1), (async function* () {})());
  for (let at = 0; at < 3; at += 1) new Bridge(connection);
  assert.equal(listeners, 1);
});

test("a flush that the connection's break ends is the library's error", async () => {
  const { connection, sender } = unsteady();
  connection.flush = async () => { throw new Error("connection disconnected"); };
  assert.equal(await codeOf(sender.flush()), "broker_connection_lost");
});

test("a delivery whose later plan can't be uploaded fails with the store's own error", async () => {
  const { broker, store, sender } = unsteady();
  const publish = broker.publish.bind(broker);
  broker.publish = (...given) => {
    broker.max_payload = 50_000;
    publish(...given);
  };
  // A store over NATS has errors of its own connection.
  const failing = async (given) => {
    if (given.dataname === "b") throw new NATSBridgeError("broker_connection_lost", "the store's connection is down");
    return store.upload(given);
  };
  const parts = ["a", "b"].map((name) => [name, new Uint8Array(100_000), "binary"]);
  const error = await errorOf(sender.deliver("lab.x", parts, { ...HURRY, timeout: 2_000, fileserver_upload_handler: failing }));
  assert.deepEqual([error.code, error.dataname, store.files.size], ["broker_connection_lost", "b", 0]);
});
