/** The Bridge and the Rust engine, in its command-line program: deliveries, requests and replies both ways; NATSBRIDGE names it. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";

import { Bridge } from "../src/node.js";
import { errorOf } from "./common.js";

const { TEST_NATS_URL, TEST_FILESERVER_URL, NATSBRIDGE } = process.env;
const { connect } = await import("@nats-io/transport-node").catch(() => ({}));
const skip = !(TEST_NATS_URL && TEST_FILESERVER_URL && NATSBRIDGE && connect) && "no NATSBRIDGE, TEST_NATS_URL and TEST_FILESERVER_URL, or no @nats-io/transport-node";
if (skip) console.log(`# skipped: ${skip}`);

const HURRY = { first_pause: 100, longest_pause: 200, timeout: 20_000 };
const LONG = "0123456789".repeat(60_000);

/** A command that runs; `ended` resolves to its exit code and what it printed */
function natsbridge(...args) {
  const child = spawn(NATSBRIDGE, args, { env: { ...process.env, NATS_URL: TEST_NATS_URL, FILESERVER_URL: TEST_FILESERVER_URL }, stdio: ["ignore", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text) => (err += text));
  const ended = new Promise((resolve, reject) => child.once("error", reject).once("close", (code) => resolve({ code, out, err })));
  return { ended, stop: () => (child.kill("SIGTERM"), ended) };
}

/** The one line of JSON that a command prints */
async function printed(command) {
  const { code, out, err } = await command.ended;
  assert.equal(code, 0, err);
  return JSON.parse(out);
}

async function withBridge(work) {
  const bridge = new Bridge(await connect({ servers: TEST_NATS_URL }), { senderName: "script", fileserverUrl: TEST_FILESERVER_URL });
  try {
    await work(bridge);
  } finally {
    await bridge.drain();
  }
}

/** Asks until the command has subscribed */
async function asked(bridge, subject, payloads) {
  for (const until = Date.now() + 20_000; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
    try {
      return await bridge.request(subject, payloads, { timeout: 20_000 });
    } catch (error) {
      if (error.code !== "broker_no_responders" || Date.now() > until) throw error;
    }
  }
}

test("the engine replies to the Bridge's requests, or says why not", { skip }, async () => {
  await withBridge(async (bridge) => {
    const upper = natsbridge("reply", "interop.upper", "--exec", "tr", "--", "a-z", "A-Z");
    const fails = natsbridge("reply", "interop.fails", "--exec", "sh", "--", "-c", "echo no such run >&2; exit 1");
    try {
      for (const text of ["run 7", LONG]) {
        const answer = await asked(bridge, "interop.upper", [["text", text, "text"]]);
        assert.equal(await answer.get("reply"), text.toUpperCase());
        assert.equal(answer.payload("reply").transport, text === LONG ? "link" : "direct");
      }
      const { code, refusal } = await errorOf(asked(bridge, "interop.fails", [["text", "run 7", "text"]]));
      assert.equal(code, "nacked");
      assert.match(refusal.reason, /no such run/);
    } finally {
      await Promise.all([upper.stop(), fails.stop()]);
    }
  });
});

test("the Bridge replies to the engine's requests, or says why not", { skip }, async () => {
  await withBridge(async (bridge) => {
    bridge.serve("interop.square", async (message) => {
      const n = await message.get("n");
      if (n < 0) throw { code: "no_root", reason: "it is negative", retryable: false };
      return [["n", n ** 2, "dictionary"], ["long", LONG, "text"]];
    });
    await bridge.flush();
    const { payloads } = await printed(natsbridge("request", "interop.square", "--dict", "n=7", "--json"));
    assert.deepEqual(payloads.map(({ dataname, value, transport }) => [dataname, value, transport]), [["n", 49, "direct"], ["long", LONG, "link"]]);
    const refused = await natsbridge("request", "interop.square", "--dict", "n=-7").ended;
    assert.notEqual(refused.code, 0);
    assert.match(refused.err, /no_root.*it is negative/);
  });
});

test("the engine acknowledges the Bridge's deliveries", { skip }, async () => {
  await withBridge(async (bridge) => {
    const received = natsbridge("receive", "interop.orders", "--ack", "--count", "1", "--json");
    const { envelope, acks } = await bridge.deliver("interop.orders", [["order", { n: 7 }, "dictionary"], ["long", LONG, "text"]], HURRY);
    assert.equal(acks.length, 1);
    const message = await printed(received);
    assert.deepEqual([message.msg_id, message.sender_name], [envelope.msg_id, "script"]);
    assert.deepEqual(message.payloads.map(({ value }) => value), [{ n: 7 }, LONG]);
  });
});

test("the Bridge acknowledges the engine's deliveries, which are repeated after a NACK and handled once", { skip }, async () => {
  await withBridge(async (bridge) => {
    let [refused, handled] = [0, 0];
    bridge.serve("interop.jobs", async (message) => {
      assert.deepEqual([await message.get("job"), (await message.get("long")).length, message.payload("long").transport], [{ n: 7 }, 100_000, "link"]);
      if (refused < 1) {
        refused += 1;
        throw { code: "full", reason: "no space left", retryable: true };
      }
      handled += 1;
    });
    await bridge.flush();
    const sent = await natsbridge("send", "interop.jobs", "--dict", `job={"n":7}`, "--text", `long=${LONG.slice(0, 100_000)}`, "--threshold", "10kB", "--ack", "1").ended;
    assert.deepEqual([sent.code, refused, handled], [0, 1, 1], sent.err);
  });
});
