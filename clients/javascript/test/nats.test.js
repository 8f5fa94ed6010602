/** The Bridge over a real nats-server and file server; TEST_NATS_URL and TEST_FILESERVER_URL name them. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { Bridge, smartsend } from "../src/node.js";
import { MemoryStore } from "../src/testing-node.js";
import { codeOf } from "./common.js";

const { TEST_NATS_URL, TEST_FILESERVER_URL, NATS_SERVER } = process.env;
const { connect } = await import("@nats-io/transport-node").catch(() => ({}));
const skip = !(TEST_NATS_URL && TEST_FILESERVER_URL && connect) && "no TEST_NATS_URL and TEST_FILESERVER_URL, or no @nats-io/transport-node";
if (skip) console.log(`# skipped: ${skip}`);

async function withBridges(work, options = {}) {
  const make = async (senderName) => new Bridge(await connect({ servers: TEST_NATS_URL }), { senderName, fileserverUrl: TEST_FILESERVER_URL, ...options });
  const bridges = [await make("one"), await make("two")];
  try {
    await work(...bridges);
  } finally {
    await Promise.all(bridges.map((bridge) => bridge.drain()));
  }
}

test("a thousand messages arrive in order, each once, and none is missing", { skip }, async () => {
  await withBridges(async (one, two) => {
    const inbox = two.subscribe("test.order");
    await two.flush();
    for (let at = 0; at < 1000; at += 1) await one.send("test.order", [["n", at, "dictionary"]]);
    await one.flush();
    for (let at = 0; at < 1000; at += 1) assert.equal(await (await inbox.take()).get("n"), at);
    assert.deepEqual(inbox.losses, { missing: 0, duplicates: 0, reordered: 0 });
  });
});

test("requests, deliveries and links go through real servers", { skip }, async () => {
  await withBridges(async (one, two) => {
    const big = new Uint8Array(1_500_000).fill(7);
    let handled = 0;
    const services = [0, 1].map(() => two.serve("test.sizes", async (message) => {
      handled += 1;
      const raw = await message.get("raw");
      return [["size", raw.length, "dictionary"], ["back", raw.subarray(1), "binary"]];
    }, { queue: "workers" }));
    await two.flush();
    const answers = await Promise.all(Array.from({ length: 8 }, () => one.request("test.sizes", [["raw", big, "binary"]], { timeout: 20_000 })));
    for (const answer of answers) {
      assert.equal(await answer.get("size"), 1_500_000);
      assert.equal((await answer.get("back")).length, 1_499_999);
    }
    const { acks } = await one.deliver("test.sizes", [["raw", big, "binary"]], { timeout: 20_000 });
    assert.deepEqual([acks.length, handled], [1, 9]);
    await Promise.all(services.map((service) => service.stop()));
    assert.equal(await codeOf(one.request("test.nobody", [])), "broker_no_responders");
    // A program that is told nothing of the Bridge answers by NATS' own reply subject.
    two.connection.subscribe("test.plain", { callback: async (error, raw) => raw.respond((await smartsend(raw.reply, [["a", "b", "text"]], { reply_to_msg_id: JSON.parse(raw.string()).msg_id }))[1]) });
    await two.flush();
    assert.equal(await (await one.request("test.plain", [])).get("a"), "b");
  });
});

test("the end is orderly: what was sent before is handled, and nothing is sent after", { skip }, async () => {
  let handled = 0;
  let sender;
  await withBridges(async (one, two) => {
    sender = one;
    two.serve("test.end", async () => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      handled += 1;
    });
    await two.flush();
    for (let at = 0; at < 200; at += 1) await one.send("test.end", [["n", at, "dictionary"]]);
    await one.flush();
    await two.flush();
  });
  assert.equal(handled, 200);
  assert.equal(await codeOf(sender.send("test.end", [])), "broker_closed");
});

/** Runs `work` with the URL of a nats-server of its own, and what ends it and starts it anew with another max_payload */
async function withServerOfItsOwn(work) {
  const folder = await mkdtemp(join(tmpdir(), "natsbridge-test-"));
  const port = await new Promise((resolve) => {
    const free = createServer().listen(0, "127.0.0.1", () => {
      const { port: found } = free.address();
      free.close(() => resolve(found));
    });
  });
  let running = null;
  const stop = async () => {
    if (running === null) return;
    const ended = new Promise((resolve) => running.once("exit", resolve));
    running.kill();
    await ended;
    running = null;
  };
  const start = async (max_payload) => {
    await stop();
    await writeFile(join(folder, "nats.conf"), `host: 127.0.0.1\nport: ${port}\nmax_payload: ${max_payload}\n`);
    running = spawn(NATS_SERVER, ["-c", join(folder, "nats.conf")], { stdio: ["ignore", "ignore", "pipe"] });
    await new Promise((resolve, reject) => {
      running.once("error", reject).once("exit", () => reject(new Error("nats-server ended")));
      running.stderr.on("data", (text) => String(text).includes("Server is ready") && resolve());
    });
  };
  try {
    await start(1_000_000);
    await work(`nats://127.0.0.1:${port}`, start, stop);
  } finally {
    await stop();
    await rm(folder, { recursive: true, force: true });
  }
}

const noServer = !(NATS_SERVER && connect) && "no NATS_SERVER, or no @nats-io/transport-node";

test("a server that comes back with a smaller max_payload gets links", { skip: noServer }, async () => {
  await withServerOfItsOwn(async (servers, start, stop) => {
    const store = new MemoryStore();
    const make = async () => new Bridge(await connect({ servers, reconnectTimeWait: 50, maxReconnectAttempts: -1 }), { fileserver_upload_handler: store.upload, fileserver_download_handler: store.download });
    const [one, two] = [await make(), await make()];
    try {
      const big = (fill) => [["raw", new Uint8Array(300_000).fill(fill), "binary"]];
      const inbox = two.subscribe("test.small");
      await two.flush();
      const delivered = one.deliver("test.small", big(1), { timeout: 30_000, first_pause: 100, longest_pause: 200 });
      delivered.catch(() => inbox.unsubscribe());
      const seen = [];
      for await (const message of inbox) {
        const raw = message.payload("raw");
        seen.push([message.msgId, raw.transport, (await raw.bytes()).every((byte) => byte === 1)]);
        if (raw.transport === "link") await message.ack();
        else if (seen.length === 1) await start(100_000);
        if (raw.transport === "link") break;
      }
      const { envelope } = await delivered;
      const { msg_id } = envelope;
      assert.deepEqual([seen[0], seen[seen.length - 1]], [[msg_id, "direct", true], [msg_id, "link", true]]);
      assert.equal(store.files.size, 0);
      two.serve("test.echo", async (message) => [["size", (await message.get("raw")).length, "dictionary"], ["back", await message.get("raw"), "binary"]]);
      await two.flush();
      const answer = await one.request("test.echo", big(2), { timeout: 30_000 });
      assert.deepEqual([await answer.get("size"), answer.payload("back").transport, (await answer.get("back")).length], [300_000, "link", 300_000]);
      // What is sent while the server is away is kept until it is back, which takes less then.
      const late = one.subscribe("test.late"); // of the same connection: subscribed again before anything is sent
      const status = one.connection.status();
      await stop();
      let [sends, tries] = [[], 0];
      for await (const { type } of status) {
        if (type === "disconnect") sends = [3, 4].map((fill) => one.send("test.late", [["raw", new Uint8Array(40_000).fill(fill), "binary"]]));
        // The client forgets at each try what it was given before.
        if (type === "reconnecting" && (tries += 1) === 2) break;
      }
      await start(30_000);
      await Promise.all(sends);
      for (const fill of [3, 4]) {
        const message = await late.take();
        assert.deepEqual([message.metadata.seq, message.payload("raw").transport, (await message.get("raw"))[0]], [fill - 2, "link", fill]);
      }
    } finally {
      await Promise.all([one.drain(), two.drain()]);
    }
  });
});
