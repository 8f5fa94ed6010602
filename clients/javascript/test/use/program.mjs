/** A program of a user, on any platform: what it imports is the installed package. Prints `ok` when all of it works. */

import { Bridge, NATSBridgeError, openMessage, smartreceive, smartsend } from "natsbridge";
import { MemoryBroker, MemoryStore } from "natsbridge/testing";

const same = (found, wanted) => {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(wanted)}`);
};

export async function program() {
  const bytes = Uint8Array.from({ length: 10_000 }, (_, at) => at & 255);
  const [envelope, json] = await smartsend("lab.x", [["note", "grüß dich", "text"], ["n", { a: [1, 2.5, 2n ** 60n] }, "dictionary"], ["raw", bytes, "binary"]], { digestDirect: true });
  const { payloads, msg_id } = await smartreceive(json);
  same([payloads[0], String(payloads[1][1].a[2]), payloads[2][1].length, msg_id], [["note", "grüß dich", "text"], String(2n ** 60n), 10_000, envelope.msg_id]);
  const blob = await (await openMessage(json)).payload("raw").blob();
  same([blob.size, new Uint8Array(await blob.arrayBuffer())[9_999]], [10_000, 9_999 & 255]);
  try {
    await smartreceive("{");
    throw new Error("it was taken");
  } catch (error) {
    same([error instanceof NATSBridgeError, error.code], [true, "not_json"]);
  }
  const [broker, store] = [new MemoryBroker(), new MemoryStore()];
  const options = { sizeThreshold: 1000, fileserverUploadHandler: store.upload, fileserverDownloadHandler: store.download };
  const [sender, receiver] = [new Bridge(broker.connect(), options), new Bridge(broker.connect(), options)];
  receiver.serve("lab.sizes", async (message) => [["size", (await message.get("raw")).length, "dictionary"]]);
  const answer = await sender.request("lab.sizes", [["raw", bytes, "binary"]]);
  same(await answer.get("size"), 10_000);
  same((await sender.deliver("lab.sizes", [["raw", typeof Blob === "undefined" ? bytes : new Blob([bytes]), "binary"]])).acks.length, 1);
  await Promise.all([sender.drain(), receiver.drain()]);
  return "ok";
}

globalThis.outcome = program();
console.log(await globalThis.outcome);
