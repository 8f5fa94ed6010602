/** JSON: exact integers, and the platform's parser wherever it changes nothing. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { JsonReader, readJson, writeJson, writeValue } from "../src/json.js";
import { readEnvelope } from "../src/envelope.js";
import { smartsend } from "../src/node.js";

const slowly = (text) => new JsonReader(text, 127).document().value;

test("both readers agree", () => {
  const texts = [
    "0", "-0", "[1,2.5,-3e5]", "999999999999999", "1234567890123456", "-9223372036854775808", "18446744073709551615", "[9007199254740993]",
    "0.12345678901234567", "123456789012345678.5", "1e22", "1e308", '{"a":{"b":[null,true,false,"x"]}}', '"1234567890123456"', '"\\ud83d\\ude00"', '"é😀"', "[]",
    '{"__proto__":1}', '{"10":1,"9":2}', `[${"1,".repeat(1000)}1]`, "[1234567890123456789, 1]", "[\n 12345678901234567\n]", "1.0", "1E5", "[0.1e1]",
  ];
  for (const text of texts) assert.deepEqual(readJson(text), slowly(text), text);
  assert.ok(Object.is(readJson("-0"), -0));
});

test("what changes a number is refused or BigInt, wherever it stands", () => {
  for (let before = 0; before < 40; before += 1) {
    const padding = `[${" ".repeat(before)}`;
    assert.deepEqual(readJson(`${padding}9007199254740993]`), [9007199254740993n]);
    assert.deepEqual(readJson(`${padding}1.9007199254740993]`), [1.9007199254740993]);
    for (const bad of ["1e400", "-1e999", "1e-400", `1${"0".repeat(310)}.5`, `0.${"0".repeat(330)}1`, '"\\ud800"', '"\\uDC00x"']) {
      assert.throws(() => readJson(`${padding}${bad}]`), SyntaxError, bad);
    }
  }
  for (const bad of ["", "01", "[1,]", "{a:1}", "NaN", "'x'", "[1] x", "\ufeff1", '"\ud800"', "+1", ".5", "1.", "[1", '"\n"']) assert.throws(() => readJson(bad), SyntaxError, JSON.stringify(bad));
  assert.throws(() => readJson(`${"[".repeat(128)}${"]".repeat(128)}`), /deeper/);
  assert.doesNotThrow(() => readJson(`${"[".repeat(127)}${"]".repeat(127)}`));
  assert.throws(() => readJson(`${'{"a":'.repeat(128)}1${"}".repeat(128)}`), /deeper/);
});

test("both writers agree", () => {
  const values = [1, "x", null, true, [1, [2]], { a: { b: [null, "\u2028\"\\"] } }, [], {}, Object.create(null), { a: undefined }, [undefined], new Date(0), -0, 1e21, { toJSON: () => 5 }, [[], [{}]]];
  for (const value of values) assert.equal(writeJson(value), writeValue(value));
  assert.equal(writeJson([1n, 2n ** 64n - 1n]), `[1,${2n ** 64n - 1n}]`);
  assert.equal(writeJson("\\ud800"), '"\\\\ud800"', "a backslash of the caller's own is none of an escape");
  assert.throws(() => writeJson({ "\ud800": 1 }), /surrogate/);
  let deep = 1;
  for (let level = 0; level < 127; level += 1) deep = [deep];
  assert.equal(writeJson(deep).length, 255);
  assert.throws(() => writeJson([deep]), /deeper/);
});

test("messages read plainly and letter by letter are the same", async () => {
  const parts = [["note", "run 7", "text"], ["d", { a: [1, 2.5] }, "dictionary"], ["raw", new Uint8Array([1, 2, 255]), "binary"], ["", "", "text"]];
  const [, json] = await smartsend("lab.x", parts, { metadata: { data: "#0", nested: { data: "AAAA" } } });
  const spaced = JSON.stringify(JSON.parse(json), null, 1);
  assert.deepEqual(readEnvelope(json), readEnvelope(spaced));
  // What looks like the mark of a cut piece is the message's own.
  const odd = JSON.stringify({ payloads: [{ dataname: "#0", payload_type: "text", transport: "direct", encoding: "none", data: "#1" }], metadata: { data: "#0" } });
  assert.equal(Buffer.from(readEnvelope(odd).payloads[0].body).toString(), "#1");
  const twice = json.replace('"data":"', '"data":"AAAA","data":"');
  assert.throws(() => readEnvelope(twice), { code: "not_json" });
  const [, ordinary] = await smartsend("lab.x", parts, { metadata: { nested: { a: 1 } } });
  for (const [found, wanted] of [['"size":5,', '"size":5,"size":5,'], ['"msg_purpose":"chat",', '"msg_purpose":"ACK","msg_purpose":"chat",'], ['"nested":{', '"nested":1,"nested":{']]) {
    assert.ok(ordinary.includes(found));
    assert.throws(() => readEnvelope(ordinary.replace(found, wanted)), { code: "not_json" }, wanted);
  }
  const deep = (levels) => `{"metadata":{"a":${"[".repeat(levels)}${"]".repeat(levels)}},"payloads":[]}`;
  assert.equal(readEnvelope(deep(198)).payloads.length, 0);
  assert.throws(() => readEnvelope(deep(199)), { code: "not_json" });
  assert.throws(() => readEnvelope(deep(30_000)), { code: "not_json" });
  // Unknown fields may stand twice, and an integer of the metadata stays exact.
  assert.equal(readEnvelope(ordinary.replace('"nested":{', '"n":9007199254740993,"nested":{')).envelope.metadata.n, 9007199254740993n);
  assert.equal(readEnvelope(ordinary.replace('{"id":', '{"x":1,"x":2,"id":')).payloads.length, 4);
  assert.throws(() => readEnvelope(json.replace('"metadata":{"data"', '"metadata":{"data":"#9","data"')), { code: "not_json" });
});
