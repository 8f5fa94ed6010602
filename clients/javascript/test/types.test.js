/** The types tell what the code does: the same options, exports and members. */

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test } from "node:test";

import * as natsbridge from "../src/node.js";
import * as testing from "../src/testing-node.js";
import { HOW } from "../src/bridge/bridge.js";
import { BRIDGE, RECEIVE, SEND } from "../src/settings.js";
import { codeOf } from "./common.js";

const here = (path) => new URL(`../${path}`, import.meta.url);
const types = await readFile(here("types/index.d.cts"), "utf8");

/** The members that an interface or class of the types has itself */
function membersOf(name) {
  const [, body] = new RegExp(`^(?:export )?(?:interface|class) ${name}\\b[^{]*\\{\n([^]*?)^\\}`, "m").exec(types) ?? [];
  assert.ok(body, name);
  const found = [...body.matchAll(/^ {2}(?:readonly )?(\w+)\??[(:<]/gm)].map(([, member]) => member);
  return found.filter((member) => member !== "constructor");
}
const sorted = (names) => [...new Set(names)].sort();

test("options of the types and of the code are the same, and each is used", async () => {
  const [transfer, send, receive, bridge] = ["Transfer", "Send", "Receive", "Bridge"].map((name) => membersOf(`${name}Keywords`));
  assert.deepEqual(sorted([...transfer, ...send]), sorted(Object.keys(SEND)));
  assert.deepEqual(sorted([...transfer, ...receive]), sorted(Object.keys(RECEIVE)));
  assert.deepEqual(sorted([...transfer, ...send, ...receive, ...bridge]), sorted(Object.keys(BRIDGE)));
  assert.deepEqual(sorted(membersOf("DeliverKeywords")), sorted(HOW));
  const files = await Promise.all(["src", "src/bridge", "src/platform"].map(async (folder) => (await readdir(here(folder))).filter((file) => file.endsWith(".js")).map((file) => `${folder}/${file}`)));
  const texts = await Promise.all(files.flat().filter((file) => file !== "src/settings.js").map((file) => readFile(here(file), "utf8")));
  for (const name of Object.keys(BRIDGE)) assert.ok(texts.some((text) => new RegExp(`\\b${name}\\b`).test(text)), `${name} is not used`);
  const bridged = new natsbridge.Bridge(new testing.MemoryBroker().connect());
  for (const name of membersOf("SubscribeOptions")) bridged.subscribe("lab.x", { [name]: undefined }).unsubscribe();
  for (const name of membersOf("ServeOptions")) await bridged.serve("lab.x", () => {}, { [name]: undefined }).stop();
  assert.equal(await codeOf(bridged.send("lab.x", [], { timeout: 1 })), "wrong_value");
});

test("exports and members of the types are there", async () => {
  const exported = [...types.matchAll(/^export (?:function|class|const) (\w+)/gm)].map(([, name]) => name);
  // `file()` makes a FilePath; nobody else does.
  assert.deepEqual(sorted(exported.filter((name) => name !== "FilePath")), sorted(Object.keys(natsbridge)));
  const testingTypes = await readFile(here("types/testing.d.cts"), "utf8");
  assert.deepEqual(sorted([...testingTypes.matchAll(/^export (?:function|class|const) (\w+)/gm)].map(([, name]) => name)), sorted(Object.keys(testing)));
  const [broker, store] = [new testing.MemoryBroker(), new testing.MemoryStore()];
  const bridge = new natsbridge.Bridge(broker.connect(), { fileserver_upload_handler: store.upload });
  const inbox = bridge.subscribe("lab.x");
  await bridge.send("lab.x", [["n", "x", "text"]]);
  const message = await inbox.take();
  const opened = await natsbridge.openMessage((await natsbridge.smartsend("lab.x", [["n", "x", "text"]]))[1]);
  const error = new natsbridge.NATSBridgeError("handler", "it failed", "n", new Error("why"));
  const have = { Bridge: bridge, Subscription: inbox, Service: bridge.serve("lab.y", () => {}), Message: message, OpenedMessage: opened, Payload: opened.payload("n"), NATSBridgeError: error };
  // Of a refusal only.
  for (const [name, object] of Object.entries(have)) for (const member of membersOf(name)) assert.ok(member in object || member === "refusal", `${name}.${member}`);
  const received = await natsbridge.smartreceive((await natsbridge.smartsend("lab.x", []))[1]);
  assert.deepEqual(sorted(Object.keys(received)), sorted([...membersOf("Header"), ...membersOf("Received")]));
  await bridge.drain();
});
