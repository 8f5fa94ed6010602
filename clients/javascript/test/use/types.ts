/** What the compiler says of a user's program: this has to pass `tsc --strict`, and each marked line has to fail. */

import { connect } from "@nats-io/transport-node";
import { wsconnect } from "@nats-io/nats-core";
import { Table, tableFromArrays } from "apache-arrow";
import { Readable } from "node:stream";
import { Bridge, NATSBridgeError, file, openMessage, setLogger, smartreceive, smartsend, type ErrorCode, type Envelope, type Part, type PayloadType, type ReceivedPart } from "natsbridge";
import { MemoryBroker, MemoryStore } from "natsbridge/testing";

interface Reading { t: number; v: number }

export async function uses(): Promise<void> {
  const readings: Reading[] = [{ t: 1, v: 2 }];
  const parts: Part[] = [["note", "x", "text"], ["d", { a: [1, 2n, null, new Date()] }, "dictionary"], ["r", readings, "jsontable"]];
  const table: Table = tableFromArrays({ a: [1] });
  const [envelope, json] = await smartsend("lab.x", [...parts, ["t", table, "arrowtable"], ["rows", readings, "arrowtable"], ["f", file("x"), "video"], ["b", new Blob([]), "binary"], ["s", Readable.from([]), "audio"], ["u", new URL("file:///x"), "image"], ["v", new Float32Array(1), "binary"]], { sizeThreshold: 1, size_threshold: 2, signal: new AbortController().signal, onProgress: ({ done, total }) => void (done + (total ?? 0)) });
  const sent: Envelope = envelope;
  const id: string = sent.msg_id;
  const received = await smartreceive(json, { allowed_origins: ["https://files.example.com"], allowedOrigins: "https://x", strict: true });
  for (const part of received.payloads) {
    // The type of a part says what its value is.
    if (part[2] === "text") part[1].toUpperCase();
    else if (part[2] === "jsontable") part[1].map((row) => row.t);
    else if (part[2] === "binary") part[1].byteLength.toFixed();
  }
  const one: ReceivedPart | undefined = received.payloads[0];
  const type: PayloadType | undefined = one?.[2];
  const opened = await openMessage(new Uint8Array());
  const stream: ReadableStream<Uint8Array> = await opened.payload("x").stream();
  const path: string = await opened.payload("x").save("x/");
  for (const connection of [await connect({ servers: "x" }), await wsconnect({ servers: "ws://x" }), new MemoryBroker().connect()]) {
    const bridge = new Bridge(connection, { senderName: "x", replySubjects: ["_INBOX.>"] });
    const answer = await bridge.request("x", [["n", 7, "dictionary"]], { timeout: 1 });
    const n: number = await answer.get<number>("n");
    const { acks } = await bridge.deliver("x", [], { acks: 2, firstPause: 1 });
    bridge.serve("x", async (message) => [["n", (await message.get<number>("n")) ** 2, "dictionary"]], { concurrency: 2 });
    bridge.serve("x", () => {});
    for await (const message of bridge.subscribe("x", { queue: "g", onError: (error) => error.code })) await message.nack({ reason: "no" });
    [n, acks[0]?.sender_id];
  }
  try {
    await smartreceive("");
  } catch (error) {
    if (error instanceof NATSBridgeError) {
      const code: ErrorCode = error.code;
      const about: (string | null)[] = [error.dataname, error.msgId, error.correlationId];
      [code, about];
    }
  }
  setLogger(console);
  setLogger(({ text, msg_id }) => void [text, msg_id]);
  new MemoryStore().upload;
  [id, type, stream, path];

  // @ts-expect-error a text is a string
  await smartsend("x", [["a", 7, "text"]]);
  // @ts-expect-error there is no such type
  await smartsend("x", [["a", "b", "string"]]);
  // @ts-expect-error rows are objects
  await smartsend("x", [["rows", [1, 2], "jsontable"]]);
  // @ts-expect-error bytes are no string
  await smartsend("x", [["a", "b", "binary"]]);
  // @ts-expect-error a payload has three parts
  await smartsend("x", [["a", "b"]]);
  // @ts-expect-error there is no such option
  await smartsend("x", [], { sizeLimit: 1 });
  // @ts-expect-error there is no such kind of receiver
  await smartsend("x", [], { receiver: "toaster" });
  // @ts-expect-error there is no such code
  new NATSBridgeError("nonsense", "x");
}
