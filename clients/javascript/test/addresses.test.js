/** Where links may lead: the specification's list, in every spelling of the test data. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { EMBEDDING_NETWORKS, FORBIDDEN_NETWORKS, isForbidden, originOf } from "../src/addresses.js";
import { smartreceive } from "../src/node.js";
import { codeOf, errorOf, linked, testdata, withServer } from "./common.js";

const NONE = "http://127.0.0.1:9";

test("lists of networks are those of the test data", async () => {
  const addresses = await testdata("addresses.json");
  assert.deepEqual(FORBIDDEN_NETWORKS, addresses.forbidden.map(({ network }) => network));
  assert.deepEqual(EMBEDDING_NETWORKS, addresses.embedding.map(({ network, bit, inverted }) => [network, bit, inverted]));
});

test("hosts are judged in every spelling", async () => {
  const addresses = await testdata("addresses.json");
  assert.ok(addresses.hosts.length > 150);
  for (const { host, judgement } of addresses.hosts) {
    if (judgement === "open") assert.equal(isForbidden(new URL(`http://${host}/`).hostname), false, host);
    else assert.equal((await errorOf(smartreceive(linked(`http://${host}/f`), { fileserver_url: "" }))).code, "blocked_origin", host);
  }
});

test("links are followed to the configured origin alone", async () => {
  const addresses = await testdata("addresses.json");
  for (const { configured, link, followed } of addresses.origins) {
    const given = originOf(link);
    assert.equal(given !== null && given === originOf(configured), followed, link);
  }
  const other = linked("http://127.0.0.1:9/f");
  for (const options of [{}, { allowed_origins: [] }, { allowed_origins: "http://127.0.0.1:10" }, { fileserver_url: "http://files.test" }]) {
    assert.equal((await errorOf(smartreceive(other, options))).code, "blocked_origin");
  }
  for (const allowed_origins of ["127.0.0.1:9", "*", ["x"], [1], {}, 7]) {
    assert.equal((await errorOf(smartreceive(other, { allowed_origins }))).code, "wrong_value");
  }
  for (const options of [{ allowed_origins: NONE }, { fileserver_url: NONE }, { fileserver_url: "" }, { allowed_origins: ["http://[::1]:9/x"] }]) {
    assert.equal((await errorOf(smartreceive(other, { ...options, max_retries: 0 }))).code, "download_retry_exceeded");
  }
});

test("guarded downloads connect to what was checked", async () => {
  await withServer((_, response) => response.end("hello"), async (base) => {
    const url = linked(`${base.replace("127.0.0.1", "localhost")}/f`);
    assert.equal((await smartreceive(url, { fileserver_url: "" })).payloads[0][1], "hello");
    assert.equal((await smartreceive(url, { fileserver_url: base })).payloads[0][1], "hello");
    assert.equal(await codeOf(smartreceive(url, { fileserver_url: "http://files.test" })), "blocked_origin");
  });
});
