/** The same package by `require`, and one error class for both kinds of import. */

const { Bridge, NATSBridgeError, smartreceive, smartsend, useArrow } = require("natsbridge");
const { MemoryBroker } = require("natsbridge/testing");
const assert = require("node:assert");

(async () => {
  const [, json] = await smartsend("lab.x", [["note", "run 7", "text"]]);
  assert.deepStrictEqual((await smartreceive(json)).payloads, [["note", "run 7", "text"]]);
  const bridge = new Bridge(new MemoryBroker().connect());
  bridge.serve("lab.square", async (message) => [["n", (await message.get("n")) ** 2, "dictionary"]]);
  assert.strictEqual(await (await bridge.request("lab.square", [["n", 7, "dictionary"]])).get("n"), 49);
  const other = await import("natsbridge");
  const error = await other.smartreceive("{").catch((reason) => reason);
  assert.ok(error instanceof NATSBridgeError && error instanceof other.NATSBridgeError);
  assert.strictEqual(typeof useArrow, "function");
  await bridge.drain();
  console.log("ok");
})();
