/** The stated rule for JavaScript's values: what is kept, converted, refused by name. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { smartreceive, smartsend } from "../src/node.js";
import { errorOf, linked } from "./common.js";

const send = (value, type = "dictionary", options = {}) => smartsend("lab.x", [["x", value, type]], options);
const sent = async (value, type) => Buffer.from((await send(value, type))[0].payloads[0].data, "base64").toString();
const received = async (value) => (await smartreceive((await send(value, "arrowtable"))[1])).payloads[0][1];

test("senders refuse what receivers refuse", async () => {
  const cyclic = [];
  cyclic.push(cyclic);
  const cases = [
    ["lab.*", "x", "text"], ["lab..x", "x", "text"], ["", "x", "text"], ["a b", "x", "text"], [7, "x", "text"], [null, "x", "text"],
    ["lab\u0000", "x", "text"], ["lab.\ud800", "x", "text"], [".a", "x", "text"], ["a.>", "x", "text"], ["a".repeat(2001), "x", "text"],
  ];
  for (const [subject, value, type] of cases) assert.equal((await errorOf(smartsend(subject, [["x", value, type]]))).code, "wrong_value");
  for (const name of [7, null, undefined, {}, "\ud800", Symbol("x")]) {
    const error = await errorOf(smartsend("lab.x", [["a", "b", "text"], [name, "x", "text"]]));
    assert.deepEqual([error.code, error.dataname], ["wrong_value", "#1"]);
  }
  for (const options of [{ reply_to: "a.*" }, { reply_to: 5 }, { receiver_id: 5 }, { receiver_id: null }, { metadata: [] }, { metadata: new Map() }, { metadata: "x" }, { msg_purpose: 1 }, { receiver: "toaster" }, { metadata: { a: 1n, b: NaN } }, { size_threshold: "500kB" }, { correlation_id: {} }, { now: () => new Date(NaN) }, { sender_name: "\udc00" }]) {
    assert.equal((await errorOf(send(1, "dictionary", options))).code, "wrong_value", JSON.stringify(Object.keys(options)));
  }
  for (const type of [7, "Text", null, Symbol("x")]) assert.equal((await errorOf(send("x", type))).code, "unknown_payload_type");
  for (const data of [null, 7, [7], [["x"]], [["x", "y"]], undefined]) assert.equal((await errorOf(smartsend("lab.x", data))).code, "wrong_value");
  for (const value of [new Map([[1, 2]]), new Set([1]), /x/, Symbol("x"), () => 1, undefined, NaN, Infinity, new Uint8Array(2), Promise.resolve(), new Error("x"), new WeakMap(), 2n ** 64n, [-(2n ** 63n) - 1n], { [Symbol("k")]: 1 }, { a: () => 1 }, { a: Symbol("x") }, new Date(NaN), { toJSON() { throw new Error("no"); } }, "\ud800", { "\ud800": 1 }]) {
    const error = await errorOf(send(value));
    assert.deepEqual([error.code, error.dataname], ["wrong_value", "x"], String(error));
  }
  assert.equal((await errorOf(send(cyclic))).code, "too_deep");
});

test("holes and JavaScript's own values become JSON as JSON.stringify writes them", async () => {
  class Point { constructor() { this.x = 1; } }
  // eslint-disable-next-line no-sparse-arrays
  for (const value of [[1, , 3], [, ], new Array(3), [undefined], { a: undefined, b: 1 }, new Date(0), { at: new Date(5) }, Object(7), [Object("x"), Object(true)], new Point(), Object.create(null), { toJSON: () => [1] }, "\u2028"]) {
    assert.equal(await sent(value), JSON.stringify(value));
  }
  assert.equal(await sent(Object(7n)), "7");
  assert.equal((await errorOf(send([new Date()], "jsontable"))).code, "wrong_value");
});

test("dates and bytes keep their kind in a table", async () => {
  const table = await received([{ at: new Date(1500), raw: new Uint8Array([1, 2]), deep: { at: new Date(-1), list: [new Date(0)] } }, { at: null, raw: Buffer.from("x"), deep: null }]);
  const [at, raw, deep] = table.schema.fields.map(({ type }) => String(type));
  assert.match(at, /^Timestamp<MILLISECOND/);
  assert.equal(raw, "Binary");
  assert.match(deep, /at:Timestamp<MILLISECOND.*list:List<Timestamp<MILLISECOND/);
  assert.equal(Number(table.getChildAt(0).data[0].values[0]), 1500);
  assert.equal(table.getChildAt(0).get(1), null);
  assert.deepEqual([...table.getChildAt(1).get(1)], [120]);
  assert.equal(Number(table.getChildAt(2).data[0].children[0].values[0]), -1);
});

test("objects that no column holds are refused by name", async () => {
  class Point { constructor() { this.x = 1; } }
  const odd = [new Map(), new Set(), /x/, new Point(), new Float64Array(2), new Int32Array(1), Object(7), Object("x"), () => 1, Symbol("x"), new Error("x"), Promise.resolve(), new Date(NaN), "\ud800", { [Symbol("k")]: 1 }, new WeakMap(), new URLSearchParams("a=1")];
  for (const value of odd) {
    for (const row of [{ good: 1, bad: value }, { good: 1, deep: { bad: [value] } }]) {
      const error = await errorOf(send([row], "arrowtable"));
      assert.equal(error.code, "unconvertible", String(error));
      assert.equal(error.dataname, "x");
      assert.match(error.message, /bad/);
    }
  }
  for (const row of [new Map(), new Point(), /x/, new Date()]) assert.equal((await errorOf(send([row], "arrowtable"))).code, "unconvertible");
  for (const rows of [[1], ["x"], [[1]], [null]]) assert.equal((await errorOf(send(rows, "arrowtable"))).code, "wrong_value");
  for (const mixed of [[new Date(0), 5], [new Date(0), "x"], [new Uint8Array(1), [1]], [true, 1]]) {
    assert.equal((await errorOf(send(mixed.map((value) => ({ value })), "arrowtable"))).code, "unconvertible");
  }
});

test("integers take the column that holds them, or are refused", async () => {
  const cases = [
    [[1, 2n], "Int64"], [[-(2n ** 63n), 2n ** 63n - 1n], "Int64"], [[2n ** 63n], "Uint64"], [[0, 2n ** 64n - 1n], "Uint64"],
    [[2 ** 53], "Int64"], [[2 ** 60], "Int64"], [[2 ** 63], "Uint64"], [[1e300], "Float64"], [[1, 1e300], "Float64"], [[-0], "Float64"], [[1.5, NaN], "Float64"],
    [[2n ** 64n], null], [[-1n, 2n ** 63n], null], [[-(2n ** 63n) - 1n], null], [[2 ** 64], null], [[1.5, 2n ** 60n], null], [[0.5, 2 ** 60], null], [[1e300, 2 ** 60], null],
  ];
  for (const [values, type] of cases) {
    const rows = values.map((n) => ({ n }));
    if (type === null) assert.match((await errorOf(send(rows, "arrowtable"))).message, /the table\.n/);
    else {
      const table = await received(rows);
      assert.equal(String(table.schema.fields[0].type), type, String(values));
      values.forEach((value, at) => assert.ok(Object.is(Number(table.getChildAt(0).get(at)), Number(value)) && (type === "Float64" || BigInt(value) === table.getChildAt(0).get(at)), String(value)));
    }
  }
  const holes = await received([{ list: [1, , 3] }, { "constructor": 2 }, {}]); // eslint-disable-line no-sparse-arrays
  assert.equal(holes.getChild("list").get(0).get(1), null);
  assert.deepEqual([...holes.getChild("constructor")], [null, 2n, null]);
});

test("links that are read again are never one-shot", async () => {
  let uploads = 0;
  const fileserver_upload_handler = async ({ one_shot }) => ((uploads += 1), { url: "http://f/x", one_shot });
  const options = (more) => ({ fileserver_upload_handler, size_threshold: 0, ...more });
  const id = "7a512910-bf40-4c64-a088-d2975d3d09ed";
  for (const [more, once] of [[{}, false], [{ receiver_id: id }, true], [{ receiver_id: id, awaits_ack: true }, false], [{ receiver_id: id, reply_to: "r" }, false], [{ receiver_id: id, one_shot: false }, false], [{ receiver_id: id, one_shot: true }, true]]) {
    const [envelope] = await send("x", "text", options(more));
    assert.equal(envelope.payloads[0].metadata.one_shot === true, once, JSON.stringify(more));
  }
  uploads = 0;
  for (const more of [{ one_shot: true }, { one_shot: true, receiver_id: id, awaits_ack: true }, { one_shot: true, receiver_id: id, reply_to: "r" }, { one_shot: true, receiver_name: "r" }]) {
    assert.equal((await errorOf(send("x", "text", options(more)))).code, "wrong_value");
  }
  assert.equal(uploads, 0);
});

test("errors of handlers are the library's too", async () => {
  const link = linked("http://f/x");
  for (const fileserver_download_handler of [async () => { throw new TypeError("mine"); }, async () => "text", async () => null, async () => { throw "text"; }]) {
    const error = await errorOf(smartreceive(link, { fileserver_download_handler }));
    assert.deepEqual([error.code, error.dataname], ["handler", "x"]);
  }
  for (const fileserver_upload_handler of [async () => { throw new TypeError("mine"); }, async () => 7, async () => null, async () => ({})]) {
    assert.ok(["handler", "wrong_value"].includes((await errorOf(send("x", "text", { fileserver_upload_handler, size_threshold: 0 }))).code));
  }
  for (const message of [undefined, null, 7, {}, [], new Map()]) assert.equal((await errorOf(smartreceive(message))).code, "wrong_value");
});

test("variables are read when a call is made, and a bad one is named", async () => {
  const { SIZE_THRESHOLD, NATS_URL, FILESERVER_URL } = process.env;
  try {
    process.env.SIZE_THRESHOLD = "500kB";
    const error = await errorOf(send("x", "text"));
    assert.ok(error.code === "configuration" && error.message.includes("SIZE_THRESHOLD"), error.message);
    assert.equal((await send("x", "text", { sizeThreshold: 10 }))[0].payloads[0].transport, "direct");
    process.env.SIZE_THRESHOLD = "1";
    process.env.NATS_URL = "nats://user:secret@one:4222,nats://two:4222?x=1";
    const [envelope] = await send("xy", "text", { fileserver_upload_handler: async ({ fileserver_url }) => `${fileserver_url}/f` });
    assert.equal(envelope.broker_url, "nats://one:4222,nats://two:4222");
    assert.equal(envelope.payloads[0].transport, "link");
  } finally {
    for (const [name, value] of Object.entries({ SIZE_THRESHOLD, NATS_URL, FILESERVER_URL })) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
});

test("options have both spellings, and one that does not exist is named", async () => {
  for (const options of [{ senderName: "s" }, { sender_name: "s" }]) assert.equal((await send("x", "text", options))[0].sender_name, "s");
  for (const [call, name] of [[() => send("x", "text", { sizeLimit: 1 }), "sizeLimit"], [() => smartreceive("{}", { senderName: "x" }), "senderName"]]) {
    const error = await errorOf(call());
    assert.ok(error.code === "wrong_value" && error.message.includes(name), error.message);
  }
});

test("a table without rows or columns is one", async () => {
  for (const rows of [[], [{}], [{ a: null }, {}]]) {
    assert.equal((await received(rows)).numRows, rows.some((row) => "a" in row) ? rows.length : 0);
  }
  assert.equal(await sent([], "jsontable"), "[]");
});

test("a table is read wherever a handler's Buffer lies in memory, and bytes are no Buffer", async () => {
  const bytes = Buffer.from((await send([{ a: 1 }], "arrowtable"))[0].payloads[0].data, "base64");
  const shifted = Buffer.concat([Buffer.alloc(3), bytes]).subarray(3);
  const read = async (payload_type) => (await smartreceive(linked("http://f/x", { payload_type }), { fileserver_download_handler: async () => shifted })).payloads[0][1];
  assert.equal((await read("arrowtable")).numRows, 1);
  const raw = await read("binary");
  assert.ok(bytes.equals(raw) && !Buffer.isBuffer(raw));
});

test("what stands behind the end of an Arrow stream is not read", async () => {
  const bytes = Buffer.from((await send([{ a: 1 }], "arrowtable"))[0].payloads[0].data, "base64");
  const twice = Buffer.concat([bytes, bytes.subarray(0, 40), Buffer.alloc(1000, 0x7f)]);
  const message = JSON.stringify({ payloads: [{ dataname: "x", payload_type: "arrowtable", transport: "direct", data: twice.toString("base64") }] });
  assert.equal((await smartreceive(message)).payloads[0][1].numRows, 1);
});
