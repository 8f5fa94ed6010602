/** The Bridge over a real nats-server and file server; TEST_NATS_URL and TEST_FILESERVER_URL name them. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Bridge, smartsend } from "../src/node.js";
import { codeOf } from "./common.js";

const { TEST_NATS_URL, TEST_FILESERVER_URL } = process.env;
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
