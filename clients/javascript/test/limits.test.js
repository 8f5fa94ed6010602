/** What is bounded, and what is left behind by a failure: memories, links, time, retries. */

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { Bridge, NATSBridgeError, file, metrics, openMessage, resetMetrics, setLogger, smartreceive, smartsend } from "../src/node.js";
import { Detector } from "../src/bridge/losses.js";
import { Window } from "../src/bridge/window.js";
import { count } from "../src/metrics.js";
import { platform } from "../src/platform.js";
import { MemoryBroker, MemoryStore } from "../src/testing-node.js";
import { Plik, codeOf, errorOf, linked, withServer } from "./common.js";

const QUICK = { base_delay: 1, max_delay: 2 };
const HURRY = { first_pause: 10, longest_pause: 20 };
const ID = "7a512910-bf40-4c64-a088-d2975d3d09ed";
const soon = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const film = (value, options) => smartsend("lab.x", [["film", value, "video"]], { size_threshold: 1, ...QUICK, ...options });

function pair() {
  const [broker, store] = [new MemoryBroker(), new MemoryStore()];
  const options = { size_threshold: 10, fileserver_upload_handler: store.upload, fileserver_download_handler: store.download };
  return { broker, store, sender: new Bridge(broker.connect(), options), receiver: new Bridge(broker.connect(), options) };
}

test("the memory of handled messages is bounded", () => {
  const window = new Window(2);
  const key = (msg_id, sender_id = "s") => window.key({ sender_id, msg_id });
  for (const id of ["a", "b", "c"]) {
    assert.equal(window.begin(key(id)), "new");
    window.finish(key(id));
  }
  assert.deepEqual(["c", "b", "a"].map((id) => window.begin(key(id))), ["handled", "handled", "new"]);
  for (const [id, sender] of [["", "s"], ["m".repeat(65), "s"], ["m", "s".repeat(65)]]) assert.equal(key(id, sender), null);
  assert.notEqual(key("m".repeat(64), "s".repeat(64)), null);
});

test("the memory of numbers is bounded, and a jump that no loss explains is none", () => {
  const detector = new Detector();
  const note = (seq, epoch = "e") => detector.note({ metadata: { seq, epoch }, send_to: "x", sender_name: "", msg_id: "" });
  for (const seq of [1, 1_000_003]) note(seq);
  assert.deepEqual(detector.losses, { missing: 0, duplicates: 0, reordered: 0 });
  for (const seq of [1_002_003, 1_002_103]) note(seq);
  assert.equal(detector.losses.missing, 1_999 + 99);
  assert.equal([...detector.senders.values()][0].missing.size, 1_024);
  for (const seq of [1_000_004, 1_002_102]) note(seq);
  assert.deepEqual(detector.losses, { missing: 1_999 + 98, duplicates: 1, reordered: 1 });
  for (let sender = 0; sender < 1_024; sender += 1) note(1, `e${sender}`);
  assert.equal(detector.senders.size, 1_024);
  note(2_000_000);
  assert.equal(detector.losses.missing, 1_999 + 98, "who was heard of first is forgotten");
});

test("messages that wait are bounded: what is dropped is counted, and taken when it comes again", async () => {
  const { broker, receiver } = pair();
  const inbox = receiver.subscribe("lab.x");
  const publish = (msg_id) => broker.publish("lab.x", Buffer.from(JSON.stringify({ msg_id, sender_id: "s", payloads: [] })));
  for (let at = 0; at < 65_536; at += 1) publish("");
  publish("late");
  await soon(1);
  assert.deepEqual([inbox.waiting, inbox.dropped], [65_536, 1]);
  await inbox.take();
  for (let at = 0; at < 2; at += 1) publish("late");
  await soon(1);
  assert.deepEqual([inbox.waiting, inbox.dropped], [65_536, 1]);
  assert.equal(inbox.unsubscribe(), 65_536);
});

test("subjects that are counted are bounded: messages to further ones carry no numbers", async () => {
  const { sender } = pair();
  const seq = async (subject) => (await sender.send(subject, [])).metadata.seq;
  const { publish } = sender.connection;
  for (let at = 0; at < 65_535; at += 1) await seq(`lab.${at}`);
  sender.connection.publish = () => { throw new Error("torn"); };
  assert.equal(await codeOf(seq("lab.last")), "broker_closed");
  sender.connection.publish = publish;
  assert.deepEqual([await seq("lab.beyond"), await seq("lab.last"), await seq("lab.0"), await seq("lab.beyond")], [undefined, 1, 2, undefined]);
});

test("a stream that is read, cancelled or broken leaves no temporary file open", async () => {
  const { spool } = platform;
  let [open, broken] = [0, false];
  platform.spool = async () => {
    const sink = await spool();
    const finish = () => {
      const source = sink.finish();
      open += 1;
      const chunks = async function* () {
        for await (const chunk of source.chunks()) {
          if (broken) throw new Error("the disk is gone");
          yield chunk;
        }
      };
      return { ...source, chunks, release: () => ((open -= 1), source.release()) };
    };
    return { ...sink, finish };
  };
  try {
    await withServer((_, response) => response.end(Buffer.alloc(3_000_000)), async (fileserver_url) => {
      const readers = async () => (await (await openMessage(linked(`${fileserver_url}/f`), { fileserver_url })).payload("x").stream()).getReader();
      const whole = await readers();
      assert.equal(open, 1);
      let size = 0;
      for (let piece; !(piece = await whole.read()).done; ) size += piece.value.length;
      assert.deepEqual([size, open], [3_000_000, 0]);
      await (await readers()).cancel();
      const begun = await readers();
      await begun.read();
      await begun.cancel();
      assert.equal(open, 0);
      broken = true;
      await assert.rejects((await readers()).read());
      assert.equal(open, 0);
    });
  } finally {
    platform.spool = spool;
  }
});

test("series of metrics are bounded, and a logger that throws loses its record alone", async () => {
  resetMetrics();
  try {
    for (let at = 0; at < 2_000; at += 1) count("deliveries_failed_total", { code: `c${at}` });
    assert.equal(Object.keys(metrics()).length, 1_000);
    setLogger(() => { throw new Error("mine"); });
    assert.equal((await smartsend("lab.x", [["a", "b", "text"]])).length, 2);
  } finally {
    setLogger(null);
    resetMetrics();
  }
});

test("uploads of what was not published are deleted; those of what was may still be read", async () => {
  const { store, sender } = pair();
  const long = [["x", "a long enough text", "text"]];
  assert.equal(await codeOf(sender.deliver("lab.none", long, { timeout: 40, ...HURRY })), "unacknowledged");
  assert.equal(store.files.size, 1);
  sender.connection.publish = () => { throw new Error("torn"); };
  assert.equal(await codeOf(sender.send("lab.none", long)), "broker_closed");
  assert.equal(await codeOf(sender.deliver("lab.none", long, { timeout: 40, ...HURRY })), "unacknowledged");
  assert.equal(store.files.size, 1);
});

test("a service handles no more at a time than it is told, and no answers", async () => {
  const { sender, receiver } = pair();
  let [running, most, handled] = [0, 0, 0];
  const service = receiver.serve("lab.x", async () => {
    running += 1;
    most = Math.max(most, running);
    await soon(5);
    running -= 1;
    handled += 1;
  }, { concurrency: 2 });
  for (const msg_purpose of ["chat", "ACK", "chat", "NACK", "chat", "chat"]) await sender.send("lab.x", [], { msg_purpose });
  await soon(1);
  await service.stop();
  assert.deepEqual([most, handled], [2, 4]);
});

test("a NACK says nothing of the receiver's own files", async () => {
  const { sender, receiver } = pair();
  receiver.serve("lab.x", () => { throw new NATSBridgeError("local_file", "no room in /home/bob", "film"); });
  const { refusal } = await errorOf(sender.request("lab.x", []));
  assert.equal(refusal.code, "local_file");
  assert.ok(!refusal.reason.includes("bob"), refusal.reason);
});

test("what was handed out and not answered is handed out again", async () => {
  const { sender, receiver } = pair();
  const inbox = receiver.subscribe("lab.x");
  const delivered = sender.deliver("lab.x", [], HURRY);
  let seen = 0;
  for await (const message of inbox) {
    seen += 1;
    if (seen < 3) continue;
    await message.ack();
    break;
  }
  assert.ok((await delivered).repeats >= 2);
});

test("an answer to another message is none to this one", async () => {
  const { sender, receiver } = pair();
  const inbox = receiver.subscribe("lab.x");
  const asked = sender.request("lab.x", []);
  const message = await inbox.take();
  await receiver.send(message.envelope.reply_to, [["a", "wrong", "text"]], { reply_to_msg_id: "another" });
  await message.reply([["a", "right", "text"]]);
  assert.equal(await (await asked).get("a"), "right");
});

test("an empty message is one, and a one-shot file is there once", async () => {
  const { broker, store } = pair();
  const found = [];
  broker.connect().subscribe("x", { callback: (_, message) => found.push(message.headers) });
  broker.publish("x", new Uint8Array());
  await soon(1);
  assert.deepEqual(found, [undefined]);
  const { url } = await store.upload({ one_shot: true, bytes: async () => new Uint8Array(3) });
  assert.equal((await store.download({ url })).length, 3);
  assert.equal(await codeOf(store.download({ url })), "not_found");
});

test("the links of a message share its time, which stands still between them", async () => {
  const slow = ({ signal }) => new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(Buffer.from("x")), 200);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)));
  });
  const message = await openMessage(JSON.stringify({ payloads: ["a", "b"].map((dataname) => ({ dataname, payload_type: "text", transport: "link", data: "http://f/x" })) }), { fileserver_download_handler: slow, message_timeout: 300 });
  assert.equal(await message.get("a"), "x");
  await soon(150);
  assert.equal(await codeOf(message.get("b")), "timeout");
});

test("a payload that could not be read is read anew when it is asked for again", async () => {
  const { store } = pair();
  const [, json] = await film(new Uint8Array(10), { fileserver_upload_handler: store.upload });
  const message = await openMessage(json, { fileserver_download_handler: store.download });
  store.failing = 1;
  assert.equal(await codeOf(message.get("film")), "unreachable");
  assert.equal((await message.get("film")).length, 10);
});

test("servers' ways to say no: expired links, hidden errors, a file in use, an answer without end", async () => {
  const answers = [];
  let asked = 0;
  const server = (request, response) => {
    asked += 1;
    const answer = answers.shift();
    return answer ? answer(response) : response.writeHead(400).end();
  };
  await withServer(server, async (fileserver_url) => {
    const read = (payload) => smartreceive(linked(`${fileserver_url}/f`, payload), { fileserver_url, max_retries: 1, ...QUICK });
    assert.equal(await codeOf(read({ metadata: { expires_at: new Date(Date.now() - 3_600_000).toISOString() } })), "expired");
    assert.equal(asked, 0, "nobody is asked for what has long expired");
    answers.push((response) => response.writeHead(302, { Location: "/?errcode=404&err=gone" }).end());
    assert.equal(await codeOf(read()), "not_found");
    answers.push((response) => response.writeHead(409, { "Retry-After": "0" }).end(), (response) => response.end("hello"));
    assert.equal((await read()).payloads[0][1], "hello");
    let written = 0;
    answers.push(async (response) => {
      response.writeHead(404);
      let open = true;
      response.on("close", () => (open = false));
      for (; open && written < 1_000; written += 1) {
        if (!response.write(Buffer.alloc(100_000))) await Promise.race(["drain", "close"].map((event) => new Promise((resolve) => response.once(event, resolve))));
      }
      response.end();
    });
    assert.equal(await codeOf(read()), "not_found");
    assert.ok(written < 1_000, "the beginning is enough");
  });
});

test("a certificate that is not trusted is not tried again", async () => {
  let calls = 0;
  const fetch = async () => {
    calls += 1;
    throw Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error("self-signed certificate"), { code: "DEPTH_ZERO_SELF_SIGNED_CERT" }) });
  };
  const fileserver_url = "https://127.0.0.1:9";
  assert.equal(await codeOf(film(new Uint8Array(9), { fileserver_url, fetch })), "untrusted");
  assert.equal(await codeOf(smartreceive(linked(`${fileserver_url}/f`), { fileserver_url, fetch, ...QUICK })), "untrusted");
  assert.equal(calls, 3, "the configuration, the upload, the download");
});

test("what the file server offers is asked of it, and what it forces is refused", async () => {
  const upload = (plik, options, handler = plik.handler) => withServer(handler, (base) => film(new Uint8Array(9), { fileserver_url: `${base}/?x=1#y`, ...options }));
  for (const onConfig of [{ feature_authentication: "forced" }, { noAnonymousUploads: true }]) {
    const plik = Object.assign(new Plik(), { onConfig });
    assert.equal(await codeOf(upload(plik, { fileserver_token: "" })), "refused");
    assert.equal(plik.uploads, 0);
    const [envelope] = await upload(plik, { fileserver_token: "token" });
    assert.match(envelope.payloads[0].data, /^http:\/\/127\.0\.0\.1:\d+\/file\/u1\//, "without the query of the server's URL");
  }
  for (const onConfig of [{ feature_one_shot: "disabled" }, { oneShot: false }]) {
    const plik = Object.assign(new Plik(), { onConfig });
    await upload(plik, { receiver_id: ID });
    assert.equal(plik.wish.oneShot, false);
  }
  const streaming = Object.assign(new Plik(), { created: { stream: true } });
  assert.equal(await codeOf(upload(streaming, {})), "rejected");
  assert.deepEqual(streaming.deleted, ["/upload/u1"]);
  const hidden = Object.assign(new Plik(), { onFile: (_, response) => (response.writeHead(302, { Location: "/?errcode=413&err=large" }).end(), false) });
  assert.equal(await codeOf(upload(hidden, {})), "too_large");
  const busy = new Plik();
  let configs = 0;
  await upload(busy, {}, (request, response) => (request.url === "/config" && (configs += 1) === 1 ? response.writeHead(503).end() : busy.handler(request, response)));
  assert.deepEqual([configs, busy.uploads], [2, 1], "a server that is busy has not said what it offers");
});

test("the first upload that fails ends the others, with its own error", async () => {
  const begun = [];
  let ended = null;
  const fileserver_upload_handler = async ({ dataname, signal }) => {
    begun.push(dataname);
    if (dataname === "a") throw Object.assign(new NATSBridgeError("unreachable", "no"), { retryable: false });
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    ended = signal.reason.code;
    return "http://f/b";
  };
  const parts = ["a", "b", "c"].map((name) => [name, "text", "text"]);
  const error = await errorOf(smartsend("lab.x", parts, { fileserver_upload_handler, size_threshold: 0, transfers: 2 }));
  assert.deepEqual([error.code, error.dataname, error.retryable], ["unreachable", "a", false]);
  assert.deepEqual([begun, ended], [["a", "b"], "aborted"]);
});

test("a file that changes while it is read is refused, and a stream may use its buffer again", async () => {
  const folder = await mkdtemp(join(tmpdir(), "natsbridge-test-"));
  try {
    for (const other of ["short", "longer than it was"]) {
      const path = join(folder, "film");
      await writeFile(path, "ten bytes.");
      const fileserver_upload_handler = async ({ bytes }) => (await writeFile(path, other), await bytes(), "http://f/x");
      assert.equal(await codeOf(film(file(path), { fileserver_upload_handler })), "local_file");
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const buffer = Buffer.alloc(2);
  const stream = (async function* () { for (const text of ["ab", "cd"]) yield buffer.fill(text); })();
  const [envelope] = await smartsend("lab.x", [["raw", stream, "binary"]]);
  assert.equal(Buffer.from(envelope.payloads[0].data, "base64").toString(), "abcd");
});
