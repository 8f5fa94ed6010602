/** Damaged messages: whatever comes, nothing but the library's error is let out. HOSTILE says how many are tried. */

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test } from "node:test";

import { Bridge, NATSBridgeError, openMessage, smartreceive, smartsend } from "../src/node.js";
import { MemoryBroker } from "../src/testing-node.js";
import { TESTDATA, codeOf, testdata } from "./common.js";

/** A run of 200,000 takes some minutes on one core; a quick one is enough for each change */
const MESSAGES = Number(process.env.HOSTILE ?? 20_000);
const LARGEST = 16_384;

/** The same numbers in every run */
let state = 0x9e3779b9n;
function draw(end) {
  state ^= (state << 13n) & 0xffffffffffffffffn;
  state ^= state >> 7n;
  state ^= (state << 17n) & 0xffffffffffffffffn;
  return Number(state % BigInt(end));
}

const WORDS = ["null", "true", "-0", "1e400", "18446744073709551616", "[]", "{}", '""', '"\\ud800"', '"x"', "0.5", "-1", '"direct"', '"link"', '"arrowtable"', '"dictionary"', '"text"', '"none"', '"json"', '{"__proto__":1}'];

/** Flips, cuts, doubles or overwrites some bytes, or puts another word in the place of one */
function damaged(given) {
  let bytes = Buffer.from(given);
  for (let times = draw(4); times >= 0; times -= 1) {
    const at = draw(Math.max(1, bytes.length));
    switch (draw(7)) {
      case 0: bytes[at] ^= 1 << draw(8); break;
      case 1: bytes[at] = draw(256); break;
      case 2: bytes = bytes.subarray(0, at); break;
      case 3: bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + draw(8))]); break;
      case 4: bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([draw(256), draw(256), draw(256), draw(256)]), bytes.subarray(at)]); break;
      case 5: bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - 40))]); break;
      default: {
        const places = [...bytes.toString("latin1").matchAll(/:(?:"[^"]*"|\d+|\{\}|\[\])/g)];
        if (places.length === 0) break;
        const place = places[draw(places.length)];
        bytes = Buffer.concat([bytes.subarray(0, place.index + 1), Buffer.from(WORDS[draw(WORDS.length)]), bytes.subarray(place.index + place[0].length)]);
      }
    }
  }
  return bytes;
}

/** The vectors' messages, and the bodies of payloads to damage inside their base64 */
async function corpus() {
  const messages = [];
  for (const folder of ["receive/valid", "receive/invalid"]) {
    for (const name of await readdir(new URL(`${folder}/`, TESTDATA))) {
      const vector = await testdata(`${folder}/${name}`).catch(() => null);
      const bytes = vector?.envelope ? Buffer.from(JSON.stringify(vector.envelope)) : vector?.envelope_base64 ? Buffer.from(vector.envelope_base64, "base64") : null;
      if (bytes !== null && bytes.length <= LARGEST) messages.push(bytes);
    }
  }
  const bodies = [];
  for (const name of await readdir(new URL("arrow/", TESTDATA))) {
    if (!/\.arrows?$/.test(name)) continue;
    const bytes = await readFile(new URL(`arrow/${name}`, TESTDATA));
    if (bytes.length <= 4 * LARGEST) bodies.push(bytes);
  }
  const [, table] = await smartsend("x", [["t", [{ a: 1, b: "x", c: [1.5, null], d: { e: true }, f: new Date(0), g: new Uint8Array(3) }], "arrowtable"]]);
  bodies.push(Buffer.from(JSON.parse(table).payloads[0].data, "base64"));
  return { messages, bodies };
}

/** The milliseconds that this process has worked; a busy machine makes the clock's longer */
function busy() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const enveloped = (payload_type, body) => JSON.stringify({ payloads: [{ dataname: "x", payload_type, transport: "direct", data: body.toString("base64") }] });

test("damaged messages", async () => {
  const { messages, bodies } = await corpus();
  assert.ok(messages.length > 200 && bodies.length > 5);
  const codes = {};
  let read = 0;
  let [slowest, worst] = [0, ""];
  const options = { max_retries: 0, allowed_origins: [], fileserver_url: "http://127.0.0.1:9" };
  for (let number = 0; number < MESSAGES; number += 1) {
    const kind = number % 4;
    let message;
    if (kind < 2) message = damaged(messages[draw(messages.length)]);
    else if (kind === 2) message = enveloped("arrowtable", damaged(bodies[draw(bodies.length)]));
    else message = enveloped(draw(2) ? "dictionary" : "jsontable", damaged(messages[draw(messages.length)]));
    const start = busy();
    try {
      const { payloads } = await smartreceive(message, { ...options, strict: draw(2) === 1 });
      for (const [, value, type] of payloads) if (type === "arrowtable") await smartsend("x", [["t", value, "jsontable"]], { size_threshold: 1e9, max_message_size: 1e9 });
      read += 1;
    } catch (error) {
      assert.ok(error instanceof NATSBridgeError, `${error?.stack}\nof ${Buffer.from(message).toString("base64").slice(0, 4000)}`);
      codes[error.code] = (codes[error.code] ?? 0) + 1;
    }
    const took = Math.round(busy() - start);
    if (took > slowest) [slowest, worst] = [took, Buffer.from(message).toString("base64").slice(0, 2000)];
  }
  console.log(`# ${MESSAGES} damaged messages: ${read} read, ${Object.entries(codes).map(([code, times]) => `${code} ${times}`).join(", ")}; the slowest took ${slowest} ms of work`);
  assert.ok(read > 0 && Object.keys(codes).length > 8);
  assert.ok(slowest < 5_000, `none takes long, as this did: ${worst}`);
});

test("an Arrow file whose blocks lead to another message ends", async () => {
  const { links } = await testdata("receive/valid/arrowtable_file_link.json");
  const file = Buffer.from(Object.values(links)[0].base64, "base64");
  const length = BigInt(8 + file.readInt32LE(12)); // of the schema's message, behind which the batch stands
  const block = file.lastIndexOf(Buffer.from(new BigInt64Array([8n + length]).buffer));
  Buffer.from(new BigInt64Array([8n, length, 0n]).buffer).copy(file, block);
  assert.equal(await codeOf(smartreceive(enveloped("arrowtable", file))), "undecodable");
});

test("a column with more nulls than values", async () => {
  const [, message] = await smartsend("x", [["t", [{ a: 1.5 }, { a: null }, { a: 2.5 }], "arrowtable"]]);
  const body = Buffer.from(JSON.parse(message).payloads[0].data, "base64");
  const node = Buffer.from(new BigInt64Array([3n, 1n]).buffer);
  for (const nulls of [9n, -1n]) {
    const changed = Buffer.from(body);
    changed.writeBigInt64LE(nulls, changed.indexOf(node) + 8);
    assert.equal(await codeOf(smartreceive(enveloped("arrowtable", changed))), "undecodable");
  }
});

test("a subscription outlives damaged messages", async () => {
  const { messages } = await corpus();
  const broker = new MemoryBroker();
  const bridge = new Bridge(broker.connect());
  const inbox = bridge.subscribe("lab.x");
  for (let number = 0; number < 500; number += 1) broker.publish("lab.x", damaged(messages[draw(messages.length)]), "back");
  broker.publish("lab.x", Buffer.from(JSON.stringify({ msg_id: "last", sender_name: "end", payloads: [] })));
  for await (const message of inbox) {
    for (const payload of message.payloads) await payload.value().catch((error) => assert.ok(error instanceof NATSBridgeError, error?.stack));
    if (message.msgId === "last" && message.senderName === "end") break;
  }
  await bridge.drain();
});

test("links of every kind", async () => {
  for (const url of ["", "x", "//x", "http://", "http:///x", "http:x", "http://a..b/x", "http://.a/", "http://[", "http://[::g]/", "http://a:99999/", "http://%/", "http://a%2fb/", "http://xn--a/", "http://user@files.test/", "http://a b/", "file:///etc/passwd", "data:,x", "javascript:1", "http://\u{130}.test/", "http://0x/", "http://1.2.3.08/"]) {
    const message = await openMessage(JSON.stringify({ payloads: [{ dataname: "x", payload_type: "text", transport: "link", data: url }] }));
    await assert.rejects(message.get("x"), NATSBridgeError, url);
  }
});
