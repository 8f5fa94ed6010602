/** Every vector of the test data, by the program that the conformance run uses. */

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test } from "node:test";

import "../src/node.js";
import { TESTDATA, testdata } from "./common.js";

const { Conformance, readLine } = await import(new URL("peers/javascript/conform.mjs", TESTDATA));
const conformance = new Conformance(async (sha256) => new Uint8Array(await readFile(new URL(`blobs/${sha256}`, TESTDATA))));

/** A float as its width holds it; how many digits say that is everyone's own */
const number = (text, kind) => (kind === "float64" ? Number : Math.fround)(text.replace("inf", "Infinity"));

/** What values of a vector and of an answer have in common: bytes as a digest and a size, numbers of tables as numbers */
async function plainValue(value, type) {
  if (value.table !== undefined) return value.table.columns.map(({ name, type: kind, values }) => ({ name, kind, values: values.map((item) => (/^float/.test(kind) && item !== null ? number(item, kind) : item)) }));
  if (value.json !== undefined) return value.json;
  if (value.sha256 !== undefined) return { sha256: value.sha256, size: BigInt(value.size) };
  const bytes = await conformance.bytesOf(value);
  if (type === "text") return Buffer.from(bytes).toString();
  if (["dictionary", "jsontable"].includes(type)) return readLine(Buffer.from(bytes).toString());
  return { sha256: (await import("node:crypto")).createHash("sha256").update(bytes).digest("hex"), size: BigInt(bytes.length) };
}

const SERIALISED = ["dictionary", "jsontable", "arrowtable"];

/** An envelope without what serialisers may write in different ways */
async function plainEnvelope(envelope) {
  const payloads = [];
  for (const { data, ...payload } of envelope.payloads) {
    if (SERIALISED.includes(payload.payload_type)) payloads.push({ ...payload, size: null, metadata: { ...payload.metadata, sha256: null } });
    else payloads.push({ ...payload, data: typeof data === "string" ? data : Buffer.from(await conformance.bytesOf(data.base64_of)).toString("base64") });
  }
  return { ...envelope, payloads };
}

async function check(name, vector, answer) {
  assert.ok(!String(answer.error).startsWith("crashed"), `${name}: ${answer.error}`);
  if (vector.result === "acceptable") return;
  if (vector.result === "invalid") {
    assert.equal(answer.error, vector.error, name);
    if (vector.dataname !== undefined) assert.equal(answer.dataname, vector.dataname, name);
    return;
  }
  assert.equal(answer.error, undefined, name);
  if (name.startsWith("send/")) {
    assert.deepEqual(answer.expect.transports, vector.expect.transports, name);
    assert.deepEqual(await plainEnvelope(answer.expect.envelope), await plainEnvelope(vector.expect.envelope), name);
    return;
  }
  const { parts, subject, fields } = answer.expect;
  assert.equal(subject, vector.expect.subject, name);
  for (const [field, value] of Object.entries(vector.expect.fields ?? {})) assert.deepEqual(fields[field], value, `${name}: ${field}`);
  assert.equal(parts.length, vector.expect.parts.length, name);
  for (const [at, part] of vector.expect.parts.entries()) {
    const found = parts[at];
    assert.deepEqual([found.name, found.type, found.transport], [part.name, part.type, part.transport], name);
    assert.deepEqual(await plainValue(found.value, part.type), await plainValue(part.value, part.type), name);
  }
}

for (const folder of ["receive/valid", "receive/invalid", "send"]) {
  test(`vectors of ${folder}`, async () => {
    const names = (await readdir(new URL(`${folder}/`, TESTDATA))).filter((file) => file.endsWith(".json")).map((file) => `${folder}/${file.slice(0, -5)}`);
    assert.ok(names.length > 80);
    const skips = (await testdata("skips.json")).filter(({ runner }) => runner === "node");
    const isSkipped = (name) => skips.some(({ vector }) => new RegExp(`^${vector.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*")}$`).test(name));
    let skipped = 0;
    for (const name of names) {
      const vector = readLine(await readFile(new URL(`${name}.json`, TESTDATA), "utf8"));
      const answer = await conformance.vector({ name, kind: folder.split("/")[0], ...vector });
      if (answer.skip !== undefined) {
        assert.ok(isSkipped(name), `${name}: ${answer.skip}`);
        skipped += 1;
      } else await check(name, vector, answer);
    }
    if (skipped > 0) console.log(`# ${skipped} of ${names.length} skipped: apache-arrow reads no list views and no runs`);
  });
}
