/** The Bridge over a broker in memory: requests, deliveries, repeats, losses, the orderly end. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Bridge, NATSBridgeError, ack, metrics, nack, openMessage, reply, resetMetrics, setLogger, smartsend } from "../src/node.js";
import { MemoryBroker, MemoryStore } from "../src/testing-node.js";
import { codeOf, errorOf } from "./common.js";

const pair = (options = {}) => {
  const broker = new MemoryBroker();
  const store = new MemoryStore();
  const handlers = { fileserver_upload_handler: store.upload, fileserver_download_handler: store.download };
  const make = (more) => new Bridge(broker.connect(), { ...handlers, ...options, ...more });
  return { broker, store, sender: make({ senderName: "sender" }), receiver: make({ senderName: "receiver" }) };
};
const soon = (milliseconds = 20) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const HURRY = { first_pause: 10, longest_pause: 20 };

test("payloads arrive, large ones by link, and answers go back", async () => {
  const { sender, receiver, store } = pair({ sizeThreshold: 1000 });
  const service = receiver.serve("lab.square", async (message) => [["n", (await message.get("n")) ** 2, "dictionary"]]);
  const answer = await sender.request("lab.square", [["n", 7, "dictionary"]]);
  assert.equal(await answer.get("n"), 49);
  assert.deepEqual([answer.senderName, answer.envelope.receiver_name], ["receiver", "sender"]);
  const inbox = receiver.subscribe("lab.*");
  const sent = await sender.send("lab.results", [["note", "run 7", "text"], ["film", new Uint8Array(5000).fill(7), "video"]]);
  assert.equal(store.files.size, 1);
  for await (const message of inbox) {
    assert.equal(message.msgId, sent.msg_id);
    assert.equal(message.payload("film").transport, "link");
    assert.equal((await message.get("film")).length, 5000);
    assert.equal(await codeOf(message.get("nothing")), "no_such_payload");
    assert.equal(await codeOf(message.ack()), "no_reply_subject");
    break;
  }
  await service.stop();
  await Promise.all([sender.drain(), receiver.drain()]);
});

test("a handler's error is a NACK; nobody, silence and aborts are errors", async () => {
  const { sender, receiver } = pair();
  receiver.serve("lab.fails", () => { throw new Error("no such run"); });
  receiver.serve("lab.own", () => { throw Object.assign(new NATSBridgeError("wrong_value", "not this", "n"), { retryable: false }); });
  receiver.serve("lab.word", () => { throw { code: "no_run", reason: "ask again", retryable: false }; });
  receiver.subscribe("lab.silent");
  const fails = await errorOf(sender.request("lab.fails", []));
  assert.deepEqual([fails.code, fails.refusal.code, fails.refusal.reason, fails.refusal.retryable], ["nacked", "handler", "no such run", true]);
  assert.deepEqual((await errorOf(sender.request("lab.own", []))).refusal, { receiver: "receiver", code: "wrong_value", reason: "payload `n`: not this", retryable: false });
  assert.equal((await errorOf(sender.request("lab.word", []))).refusal.code, "no_run");
  assert.equal(await codeOf(sender.request("lab.nobody", [])), "broker_no_responders");
  const late = await errorOf(sender.request("lab.silent", [], { timeout: 30 }));
  assert.ok(late.code === "timeout" && late.msgId !== null && late.retryable);
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 20);
  assert.equal(await codeOf(sender.request("lab.silent", [], { signal: abort.signal })), "aborted");
  assert.equal(await codeOf(sender.request("lab.silent", [], { reply_to: "x" })), "wrong_value");
  assert.equal(await codeOf(sender.send("lab.*", [])), "wrong_value");
});

test("a delivery is repeated until it is acknowledged, and handled once", async () => {
  const { broker, sender, receiver, store } = pair({ size_threshold: 10 });
  resetMetrics();
  let [left, handled] = [2, 0];
  // The first acknowledgements get lost.
  broker.loses = (subject) => subject.startsWith("_INBOX") && left-- > 0;
  receiver.serve("lab.orders", async (message) => {
    assert.equal(await message.get("order"), "a long enough order");
    handled += 1;
  });
  const { acks, repeats } = await sender.deliver("lab.orders", [["order", "a long enough order", "text"]], HURRY);
  assert.deepEqual([acks.length, handled], [1, 1]);
  assert.ok(repeats >= 2 && acks[0].sender_id === receiver.senderId);
  assert.equal(store.files.size, 0, "what was acknowledged is deleted");
  assert.equal(metrics().messages_repeated_total, repeats);
  assert.ok(metrics().acks_sent_total >= 3);
});

test("a delivery fails with the reason that it has", async () => {
  const { sender, receiver, store } = pair({ size_threshold: 10 });
  const alone = await errorOf(sender.deliver("lab.none", [["x", "a long enough text", "text"]], { timeout: 60, ...HURRY }));
  assert.equal(alone.code, "unacknowledged");
  let tries = 0;
  receiver.serve("lab.later", () => {
    tries += 1;
    if (tries < 3) throw new Error("not yet");
  });
  assert.ok((await sender.deliver("lab.later", [["x", "y", "text"]], HURRY)).repeats >= 2);
  receiver.serve("lab.full", () => { throw { code: "full", reason: "no space left", retryable: true }; });
  const full = await errorOf(sender.deliver("lab.full", [["x", "y", "text"]], { timeout: 60, ...HURRY }));
  assert.deepEqual([full.code, full.refusal.reason], ["unacknowledged", "no space left"]);
  receiver.serve("lab.never", () => { throw { code: "bad", reason: "never", retryable: false }; });
  assert.equal(await codeOf(sender.deliver("lab.never", [["x", "y", "text"]], HURRY)), "nacked");
  store.failing = 1;
  assert.equal(await codeOf(sender.deliver("lab.later", [["x", "a long enough text", "text"]], HURRY)), "unreachable");
  const second = pair();
  second.receiver.serve("lab.two", () => {});
  const two = await errorOf(second.sender.deliver("lab.two", [], { acks: 2, timeout: 60, ...HURRY }));
  assert.deepEqual([two.code, two.acked], ["unacknowledged", 1]);
});

test("messages are numbered, losses counted, repeats and late ones too", async () => {
  const { broker, sender, receiver } = pair();
  const inbox = receiver.subscribe("lab.x");
  let number = 0;
  const kept = [];
  broker.loses = (subject, data) => {
    number += 1;
    if (number === 3) kept.push(data);
    return [3, 5].includes(number);
  };
  const envelopes = [];
  for (let at = 0; at < 6; at += 1) envelopes.push(await sender.send("lab.x", [["n", at, "dictionary"]]));
  assert.deepEqual(envelopes.map(({ metadata }) => metadata.seq), [1, 2, 3, 4, 5, 6]);
  await soon();
  assert.deepEqual(inbox.losses, { missing: 2, duplicates: 0, reordered: 0 });
  broker.publish("lab.x", kept[0]);
  broker.publish("lab.x", kept[0]);
  await soon();
  assert.deepEqual(inbox.losses, { missing: 1, duplicates: 1, reordered: 1 });
  await inbox.drain();
  const seen = [];
  for await (const message of inbox) seen.push(await message.get("n"));
  assert.deepEqual(seen, [0, 1, 3, 5, 2], "a repeat is handed out once");
});

test("queue groups share, drained subscriptions hand out what has arrived", async () => {
  const { sender, receiver } = pair();
  const [one, two] = [receiver.subscribe("lab.x", { queue: "g" }), receiver.subscribe("lab.x", { queue: "g" })];
  for (let at = 0; at < 10; at += 1) await sender.send("lab.x", [["n", at, "dictionary"]]);
  await soon();
  assert.deepEqual([one.waiting, two.waiting, one.losses.missing], [5, 5, 0]);
  await one.drain();
  await sender.send("lab.x", [["n", 10, "dictionary"]]);
  await soon();
  let count = 0;
  for await (const message of one) count += message ? 1 : 0;
  assert.deepEqual([count, two.waiting, two.unsubscribe()], [5, 6, 6]);
});

test("a service that is stopped handles what has arrived, or says how much it did not", async () => {
  const { sender, receiver } = pair();
  let handled = 0;
  const service = receiver.serve("lab.x", async () => {
    await soon(10);
    handled += 1;
  }, { concurrency: 2 });
  for (let at = 0; at < 8; at += 1) await sender.send("lab.x", []);
  await soon(1);
  await service.stop();
  assert.equal(handled, 8);
  let release;
  const slow = receiver.serve("lab.y", () => new Promise((resolve) => (release = resolve)), { concurrency: 1, grace: 20 });
  for (let at = 0; at < 3; at += 1) await sender.send("lab.y", []);
  await soon(5);
  const error = await errorOf(slow.stop());
  assert.ok(error.code === "unhandled" && error.message.startsWith("3 "), error.message);
  release();
  await Promise.all([sender.drain(), receiver.drain().catch(() => {})]);
  assert.equal(await codeOf(sender.send("lab.x", [])), "broker_closed");
});

test("what can't be read is refused, counted, said, and the iterator goes on", async () => {
  const { broker, sender, receiver } = pair();
  resetMetrics();
  const errors = [];
  const inbox = receiver.subscribe("lab.x", { onError: (error) => { errors.push(error.code); throw new Error("mine"); } });
  const nacks = sender.subscribe("back");
  const bad = JSON.stringify({ msg_id: "m", reply_to: "back", sender_name: "s", payloads: [{ payload_type: "x", transport: "direct", data: "" }] });
  for (const text of ["not JSON", bad]) broker.publish("lab.x", Buffer.from(text));
  await sender.send("lab.x", [["n", 1, "dictionary"]]);
  const message = await inbox.take();
  assert.equal(await message.get("n"), 1);
  assert.deepEqual(errors, ["not_json", "unknown_payload_type"]);
  const refusal = await nacks.take();
  assert.deepEqual([refusal.purpose, refusal.metadata.code, refusal.envelope.reply_to_msg_id], ["NACK", "unknown_payload_type", "m"]);
  assert.equal(metrics()['messages_unreadable_total{code="not_json"}'], 1);
});

test("strangers' subjects are not replied to", async () => {
  const { broker, sender, receiver } = pair({ reply_subjects: ["_INBOX.>", "back.*"] });
  const inbox = receiver.subscribe("lab.x");
  const asked = [];
  const watch = sender.subscribe(">");
  for (const reply_to of ["$SYS.REQ", "elsewhere", "back.one", "a.*"]) {
    const [, json] = await smartsend("lab.x", [], { reply_to: "back.x" });
    broker.publish("lab.x", Buffer.from(json.replace("back.x", reply_to).replace(/"msg_id":"/, `"msg_id":"${reply_to}`)));
    const message = await inbox.take();
    asked.push(await message.ack().then(() => "sent", ({ code }) => code));
  }
  assert.deepEqual(asked, ["reply_refused", "reply_refused", "sent", "reply_refused"]);
  watch.unsubscribe();
  const open = new Bridge(broker.connect());
  const all = open.subscribe("lab.y");
  for (const reply_to of ["$SYS.REQ", "$JS.API.STREAM.DELETE.x"]) {
    const [, json] = await smartsend("lab.y", [], { reply_to: "back.x" });
    broker.publish("lab.y", Buffer.from(json.replace("back.x", reply_to)));
    assert.equal(await codeOf((await all.take()).ack()), "reply_refused");
  }
});

test("answers can be made for a connection of one's own", async () => {
  const [, json] = await smartsend("lab.x", [["n", 1, "dictionary"]], { reply_to: "back", sender_name: "s" });
  const message = await openMessage(json);
  const made = await ack(message);
  assert.deepEqual([made.subject, made.envelope.msg_purpose, made.envelope.reply_to_msg_id, made.envelope.receiver_name], ["back", "ACK", message.envelope.msg_id, "s"]);
  const refusal = await nack(message.envelope, new Error("x"), { senderName: "me" });
  assert.deepEqual([refusal.envelope.metadata, refusal.envelope.sender_name], [{ code: "handler", reason: "x", retryable: true }, "me"]);
  assert.equal((await reply(message, [["a", "b", "text"]])).envelope.payloads.length, 1);
  const [, none] = await smartsend("lab.x", []);
  assert.equal(await codeOf(ack(await openMessage(none))), "no_reply_subject");
  assert.equal((await ack(await openMessage(none), { reply: "r" })).subject, "r");
  assert.equal(await codeOf(ack(await openMessage(made.json), { reply: "r" })), "no_reply_subject");
});

test("records have the seven fields, and strangers' text is harmless in them", async () => {
  const records = [];
  setLogger((record) => records.push(record));
  try {
    const [, json] = await smartsend("lab.x", [["a", "b", "text"], ["c", 1, "dictionary"]], { sender_name: "s\u001b[31m\n" });
    await openMessage(json);
  } finally {
    setLogger(null);
  }
  assert.deepEqual(records.map(({ text, payload_type, transport }) => `${text} ${payload_type} ${transport}`), [
    "message sent text direct", "message sent dictionary direct", "message received text direct", "message received dictionary direct",
  ]);
  for (const record of records) {
    for (const field of ["correlation_id", "msg_id", "timestamp", "sender_name", "receiver_name", "payload_type", "transport"]) assert.ok(field in record, field);
    assert.equal(record.sender_name, "s\\u{1b}[31m\\u{a}");
  }
});

/** A broker that takes something else each time it is asked; the last stays. What it gives begins anew */
function shrinking(broker, ...limits) {
  let asked = 0;
  Object.defineProperty(broker, "max_payload", { get: () => limits[Math.min(asked++, limits.length - 1)] });
  return () => (asked = 0);
}

test("a server that takes less than before gets a link, and no number is lost", async () => {
  const { broker, sender, receiver, store } = pair();
  const inbox = receiver.subscribe("lab.x");
  const again = shrinking(broker, 1_000_000, 50_000);
  const big = new Uint8Array(100_000);
  const envelope = await sender.send("lab.x", [["raw", big, "binary"]]);
  assert.deepEqual([envelope.payloads[0].transport, envelope.metadata.seq, store.files.size], ["link", 1, 1]);
  again();
  const stream = (async function* () { yield big; })();
  assert.equal((await sender.send("lab.x", [["raw", stream, "binary"]])).payloads[0].transport, "link");
  assert.equal((await sender.send("lab.x", [])).metadata.seq, 3);
  for (let at = 0; at < 2; at += 1) assert.equal((await (await inbox.take()).get("raw")).length, 100_000);
  again();
  assert.equal(await codeOf(sender.send("lab.x", [["raw", big, "binary"]], { links: false })), "too_large");
  again();
  store.failing = 1;
  assert.equal(await codeOf(sender.send("lab.x", [["raw", big, "binary"]])), "unreachable");
  assert.equal(store.files.size, 2);
  assert.equal((await sender.send("lab.x", [])).metadata.seq, 4);
});

test("a message is planned again with the links that it has, until its server takes less than they need", async () => {
  const { broker, sender, store } = pair();
  const parts = [["link", new Uint8Array(600_000), "binary"], ...[90_000, 80_000, 70_000].map((size) => [`d${size}`, new Uint8Array(size), "binary"])];
  // Asked for the plan, for the size that is published, and for each further plan.
  shrinking(broker, 1_000_000, 250_000, 250_000, 98_500);
  const { payloads } = await sender.send("lab.x", parts);
  assert.deepEqual([payloads.map(({ transport }) => transport), store.files.size], [["link", "link", "link", "direct"], 3]);
  for (const limits of [[250_000, 250_000, 150_000, 150_000, 90_000, 90_000, 1_000], [1_000], [...Array(4).fill([1_000, 900_000]).flat(), 900_000]]) {
    shrinking(broker, 1_000_000, ...limits);
    assert.equal(await codeOf(sender.send("lab.x", parts)), "too_large");
  }
  shrinking(broker, 1_000_000, 100_000);
  const upload = store.upload;
  let left = 2;
  const failing = new Bridge(broker.connect(), { fileserver_upload_handler: async (given) => ((left -= 1) === 0 ? Promise.reject(new Error("torn")) : upload(given)) });
  assert.equal(await codeOf(failing.send("lab.x", parts.slice(1))), "handler");
  assert.equal(store.files.size, 3, "what was not published is deleted");
});

test("a delivery and a request are planned again too, as the same message", async () => {
  const { broker, sender, receiver, store } = pair();
  let sizes = [];
  receiver.serve("lab.x", async (message) => {
    const bytes = await message.get("raw");
    sizes.push([message.payload("raw").transport, bytes.length, bytes[0], message.metadata.seq]);
    return [["n", 1, "dictionary"]];
  });
  const raw = () => [["raw", new Uint8Array(100_000), "binary"]];
  const again = shrinking(broker, 1_000_000, 50_000);
  assert.equal(await (await sender.request("lab.x", raw())).get("n"), 1);
  again();
  assert.equal((await sender.deliver("lab.x", raw(), HURRY)).repeats, 0);
  assert.deepEqual(sizes, [["link", 100_000, 0, 1], ["link", 100_000, 0, 2]]);
  // It is sent, lost, and sent again when the server takes less.
  sizes = [];
  const lost = [];
  let limit = 1_000_000;
  Object.defineProperty(broker, "max_payload", { get: () => limit });
  broker.loses = (subject, data) => {
    if (subject !== "lab.x" || limit < 1_000_000) return false;
    lost.push(JSON.parse(Buffer.from(data).toString()));
    limit = 50_000;
    return true;
  };
  const own = new Uint8Array(100_000).fill(1);
  const delivery = sender.deliver("lab.x", [["raw", own, "binary"]], HURRY);
  await soon(5);
  own.fill(2);
  const { envelope, repeats } = await delivery;
  assert.deepEqual([lost.length, lost[0].payloads[0].transport, lost[0].msg_id, lost[0].metadata], [1, "direct", envelope.msg_id, envelope.metadata]);
  assert.deepEqual([repeats, sizes], [1, [["link", 100_000, 1, 3]]]);
  assert.equal(store.files.size, 1, "the request's upload; those of deliveries are deleted");
});
