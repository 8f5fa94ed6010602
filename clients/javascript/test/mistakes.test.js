/** Mistakes that everybody makes once: each gives one error that names what is wrong and says what to do. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Bridge, ack, file, openMessage, setLogger, smartreceive, smartsend } from "../src/node.js";
import { MemoryBroker } from "../src/testing-node.js";
import { errorOf } from "./common.js";

const one = (data, type, options) => smartsend("lab.x", [["n", data, type]], options);
const sent = (options) => smartsend("lab.x", [["n", "x", "text"]], options);
const read = async (options) => smartreceive((await sent())[1], options);
const itself = { name: "run 7" };
itself.again = itself;
/** The message is the library's, of this payload or of none, and says this */
const check = (name, expected) => test(name, async () => {
  for (const [work, code, dataname, ...says] of expected) {
    const error = await errorOf(Promise.resolve().then(work));
    assert.deepEqual([error.code, error.dataname], [code, dataname], error.message);
    for (const say of says) assert.ok(error.message.includes(say), `${work}: ${error.message}`);
  }
});

check("payloads in another shape", [
  [() => smartsend("lab.x", "hello"), "wrong_value", null, "not String", "[[dataname, data, type]]"],
  [() => smartsend("lab.x"), "wrong_value", null, "not undefined", "[[dataname, data, type]]"],
  [() => smartsend("lab.x", { note: "x" }), "wrong_value", null, "not Object"],
  [() => smartsend("lab.x", ["note", "x", "text"]), "wrong_value", "#0", "[[dataname, data, type]]"],
  [() => smartsend("lab.x", [["note", "x"]]), "wrong_value", "#0", "[dataname, data, type]"],
  [() => smartsend("lab.x", [{ name: "note" }]), "wrong_value", "#0", "[dataname, data, type]"],
  [() => smartsend("lab.x", [[7, "x", "text"]]), "wrong_value", "#0", "`dataname` is not a string but Number"],
  [() => one("text", "x"), "unknown_payload_type", "n", "`x`", "text, dictionary, arrowtable, jsontable, image, audio, video or binary"],
  [() => one({}, "json"), "unknown_payload_type", "n", "`json`", "dictionary"],
]);

check("values that don't suit their type", [
  [() => one(7, "text"), "wrong_value", "n", "text", "a string", "was given Number"],
  [() => one("\ud800", "text"), "wrong_value", "n", "lone surrogate"],
  [() => one(undefined, "text"), "wrong_value", "n", "was given undefined"],
  [() => one("run7.mp4", "video"), "wrong_value", "n", "was given String", "file(path)", "Uint8Array"],
  [() => one([1, 2, 3], "binary"), "wrong_value", "n", "was given Array", "Uint8Array"],
  [() => one(Promise.resolve("x"), "text"), "wrong_value", "n", "await it"],
  [() => one(Promise.resolve({}), "dictionary"), "wrong_value", "n", "await it"],
  [() => one({ a: Promise.resolve() }, "dictionary"), "wrong_value", "n", "await it", "`a`"],
  [() => one([[1, 2]], "jsontable"), "wrong_value", "n", "row 0 is Array"],
  [() => one([{ a: 1 }, null], "jsontable"), "wrong_value", "n", "row 1 is null"],
  [() => one({ a: [1, 2] }, "jsontable"), "wrong_value", "n", "array of objects", "was given Object"],
  [() => one(file("/no/such/film.mp4"), "video"), "local_file", "n", "/no/such/film.mp4", "ENOENT: no such file"],
  [() => one(file(new URL("..", import.meta.url)), "video"), "local_file", "n", "a folder"],
]);

check("values that JSON has not", [
  [() => one(itself, "dictionary"), "too_deep", "n", "refer to itself", "`again`"],
  [() => one({ at: new Date("x") }, "dictionary"), "wrong_value", "n", "invalid Date", "`at`"],
  [() => one({ n: 2n ** 64n }, "dictionary"), "wrong_value", "n", "send it as text", "`n`"],
  [() => one(undefined, "dictionary"), "wrong_value", "n", "undefined", "null"],
  [() => one({ run: { n: NaN } }, "dictionary"), "wrong_value", "n", "NaN", "null", "`n`"],
  [() => one({ f() {} }, "dictionary"), "wrong_value", "n", "function", "`f`"],
  [() => one({ [Symbol("k")]: 1 }, "dictionary"), "wrong_value", "n", "Symbol(k)"],
  [() => one({ m: new Map([[1, 2]]) }, "dictionary"), "wrong_value", "n", "Map", "Object.fromEntries", "`m`"],
  [() => one({ s: new Set([1]) }, "dictionary"), "wrong_value", "n", "Set", "[...set]", "`s`"],
  [() => one({ raw: new Uint8Array(3) }, "dictionary"), "wrong_value", "n", "Uint8Array", "binary", "`raw`"],
  [() => sent({ metadata: { f() {} } }), "wrong_value", null, "`metadata`", "function", "`f`"],
]);

check("options", [
  [() => sent({ fileServerUrl: "http://localhost:1" }), "wrong_value", null, "`fileServerUrl`", "`fileserver_url`"],
  [() => sent({ retries: 1 }), "wrong_value", null, "`retries`", "`max_retries`"],
  [() => sent({ colour: 1 }), "wrong_value", null, "there is no option `colour`"],
  [() => sent("http://localhost:1"), "wrong_value", null, "the options are not an object but String"],
  [() => sent({ size_threshold: "1000" }), "wrong_value", null, "`size_threshold`", "not String"],
  [() => sent({ max_retries: -1 }), "wrong_value", null, "`max_retries`", "at least 0"],
  [() => sent({ links: "no" }), "wrong_value", null, "`links`", "true or false", "not String"],
  [() => sent({ one_shot: "no" }), "wrong_value", null, "`one_shot`", "true or false"],
  [() => read({ strict: "no" }), "wrong_value", null, "`strict`", "true or false"],
  [() => sent({ now: new Date() }), "wrong_value", null, "`now` is not a function but Date"],
  [() => sent({ now: Date.now }), "wrong_value", null, "`now`", "a Date, not Number"],
  [() => sent({ new_id: "x" }), "wrong_value", null, "`new_id` is not a function but String"],
  [() => sent({ fileserver_upload_handler: "x" }), "wrong_value", null, "`fileserver_upload_handler` is not a function"],
  [() => read({ fileserver_download_handler: {} }), "wrong_value", null, "`fileserver_download_handler` is not a function"],
  [() => sent({ signal: new AbortController() }), "wrong_value", null, "`signal`", "controller.signal"],
  [() => one(new Uint8Array(9), "binary", { fileserver_url: "localhost:8080", size_threshold: 1 }), "wrong_value", "n", "http://localhost:8080"],
  [() => setLogger("debug"), "wrong_value", null, "a logger", "not String"],
  [() => one(new Uint8Array(2_000_000), "binary", { links: false }), "too_large", null, "`n`: 2000000", "`links`"],
  [() => one(new Uint8Array(9), "binary", { fileserver_url: "http://127.0.0.1:9", size_threshold: 1, max_retries: 0 }), "unreachable", "n", "ECONNREFUSED", "http://127.0.0.1:9", "fileserver_url"],
]);

check("subjects", [
  [() => smartsend("lab results", []), "wrong_value", null, "`lab results`", "such as lab.results"],
  [() => smartsend("lab.*", []), "wrong_value", null, "`lab.*`", "such as lab.results"],
  [() => smartsend(undefined, []), "wrong_value", null, "`subject` is not a string but undefined"],
]);

check("messages", [
  [() => smartreceive(sent()), "wrong_value", null, "await it"],
  [async () => smartreceive(await sent()), "wrong_value", null, "not Array", "[envelope, json]"],
  [async () => smartreceive(JSON.parse((await sent())[1])), "wrong_value", null, "not Object", "`data`"],
  [async () => smartreceive({ subject: "lab.x", data: Buffer.from((await sent())[1]) }), "wrong_value", null, "`data`"],
  [async () => (await openMessage((await sent())[1])).get("m"), "no_such_payload", "m", "`n`"],
  [async () => (await openMessage((await sent())[1])).payload("n").save("/no/such/folder/x"), "local_file", "n", "/no/such/folder", "ENOENT: no such file"],
  [() => ack("x"), "wrong_value", null, "not a received message"],
]);

const bridge = (options) => new Bridge(new MemoryBroker().connect(), options);
check("a Bridge", [
  [() => new Bridge("nats://localhost:4222"), "wrong_value", null, "not over String", "connect()"],
  [() => new Bridge(Promise.resolve()), "wrong_value", null, "await it"],
  [() => bridge({ fileServerUrl: "x" }), "wrong_value", null, "`fileserver_url`"],
  [() => bridge().serve("lab.y"), "wrong_value", null, "a handler is a function, not undefined"],
  [() => bridge().serve("lab.y", () => {}, { concurrency: "4" }), "wrong_value", null, "`concurrency`", "not String"],
  [() => bridge().subscribe(), "wrong_value", null, "`subject` is not a string but undefined"],
  [() => bridge().subscribe("lab x"), "wrong_value", null, "`lab x`", "lab.>"],
  [() => bridge().subscribe("lab.>.x"), "wrong_value", null, "`lab.>.x`", "lab.>"],
  [() => bridge().subscribe("lab..x"), "wrong_value", null, "`lab..x`"],
  [() => bridge().subscribe("lab.y", { queue: "two words" }), "wrong_value", null, "`queue`", "white space"],
  [() => bridge().subscribe("lab.y", () => {}), "wrong_value", null, "for await"],
  [() => bridge().subscribe("lab.y", { onerror() {} }), "wrong_value", null, "`onerror`", "`onError`"],
  [() => bridge().subscribe("lab.y", { onError: 7 }), "wrong_value", null, "`onError` is not a function but Number"],
  [() => bridge().deliver("lab.y", [], { acks: 0 }), "wrong_value", null, "`acks`", "at least 1"],
  [() => bridge().request("lab.y", [], { timeout: "5" }), "wrong_value", null, "`timeout`", "not String"],
  ...["send", "request", "deliver", "subscribe", "serve", "flush"].map((name) => [async () => {
    const closed = bridge();
    await closed.connection.close();
    await closed[name]("lab.y", name === "serve" ? () => {} : name === "subscribe" ? {} : []);
  }, "broker_closed", null, "closed"]),
  [async () => {
    const own = bridge();
    own.serve("lab.z", () => "hello");
    await own.request("lab.z", []);
  }, "nacked", null, "not String"],
]);
