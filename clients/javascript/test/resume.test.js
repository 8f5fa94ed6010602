/** Downloads that break off: continued where the server promises the same bytes, begun anew elsewhere. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { openMessage, smartreceive, smartsend } from "../src/node.js";
import { choosePlatform } from "../src/platform.js";
import { browserPlatform } from "../src/platform/browser.js";
import { nodePlatform } from "../src/platform/node.js";
import { codeOf, linked, withServer } from "./common.js";

const payload = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, at) => (at * 31 + (at >> 8)) & 255));
const sha256 = createHash("sha256").update(payload).digest("hex");
const TAG = { ETag: '"v1"' };
const options = { base_delay: 1, max_delay: 2 };

/** A whole body, or one that breaks off after `cut` bytes */
const whole = (headers = TAG, cut = payload.length, bytes = payload) => (_, response) => send(response, 200, headers, bytes, 0, cut);
/** What is left from `start`, said to begin at `said` */
const rest = (start, { said = start, cut = payload.length, bytes = payload } = {}) => (_, response) =>
  send(response, 206, { ...TAG, "Content-Range": `bytes ${said}-${payload.length - 1}/${payload.length}` }, bytes, start, cut);
const status = (code) => (_, response) => response.writeHead(code).end();
const broken = (request) => request.destroy();
/** A body without a length: where it ends, the connection does */
const untilClose = (bytes) => (_, response) => {
  response.useChunkedEncodingByDefault = false;
  response.writeHead(200);
  response.end(bytes);
};

/** What the next break waits for: the reader has so many bytes */
let breaking = null;
const onProgress = ({ done }) => {
  if (breaking === null || done < breaking.at) return;
  breaking.response.destroy();
  breaking = null;
};

function send(response, code, headers, bytes, start, cut) {
  response.writeHead(code, { "Content-Length": bytes.length - start, ...headers });
  if (cut >= bytes.length) {
    response.end(bytes.subarray(start));
    return;
  }
  if (cut > start) breaking = { at: cut, response };
  response.write(bytes.subarray(start, cut), () => cut === start && response.destroy());
}

/** Reads a link whose server answers one after the other; `asked` has the range of each request */
async function readFrom(answers, metadata = {}, read = (found) => found.bytes(), more = {}, settings = {}) {
  const asked = [];
  const left = [...answers];
  const handler = (request, response) => {
    asked.push([request.headers.range ?? null, request.headers["if-range"] ?? null]);
    (left.shift() ?? status(410))(request, response);
  };
  return withServer(handler, async (fileserver_url) => {
    const message = await openMessage(linked(`${fileserver_url}/f`, { payload_type: "binary", size: payload.length, metadata: { sha256, ...metadata }, ...more }), { fileserver_url, onProgress, ...options, ...settings });
    const outcome = await read(message.payload("x")).then((bytes) => ({ bytes }), ({ code }) => ({ code }));
    return { ...outcome, asked, left: left.length };
  });
}

test("a broken download is continued, however it is read and however often it breaks", async () => {
  const folder = await mkdtemp(join(tmpdir(), "natsbridge-test-"));
  try {
    const reads = {
      bytes: (found) => found.bytes(),
      save: async (found) => readFile(await found.save(`${folder}/`)),
      blob: async (found) => Buffer.from(await (await found.blob()).arrayBuffer()),
      async stream(found) {
        const pieces = [];
        for (let reader = (await found.stream()).getReader(), piece; !(piece = await reader.read()).done; ) pieces.push(piece.value);
        return Buffer.concat(pieces);
      },
    };
    for (const [name, read] of Object.entries(reads)) {
      // What answers in between says nothing of the bytes that are there.
      const { bytes, code, asked } = await readFrom([whole(TAG, 100_000), status(503), rest(100_000, { cut: 250_000 }), broken, rest(250_000)], {}, read);
      assert.ok(bytes && payload.equals(bytes), `${name} ${code}`);
      assert.deepEqual(asked, [[null, null], ...[100_000, 100_000, 250_000, 250_000].map((at) => [`bytes=${at}-`, '"v1"'])], name);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("where a server does not continue, the download begins anew", async () => {
  const cut = whole(TAG, 100_000);
  const again = [null, null];
  const range = ["bytes=100000-", '"v1"'];
  for (const [name, answers, expected] of [
    ["another file", [cut, whole({ ETag: '"v2"' })], [again, range]],
    ["another range", [cut, rest(100_000, { said: 99_999 }), whole()], [again, range, again]],
    ["a range that is not said", [cut, (_, response) => send(response, 206, TAG, payload, 0, payload.length), whole()], [again, range, again]],
    ["no such range", [cut, status(416), whole()], [again, range, again]],
    ["a weak tag", [whole({ ETag: 'W/"v1"' }, 100_000), whole()], [again, again]],
    ["no tag", [whole({}, 100_000), whole()], [again, again]],
    ["nothing came", [whole(TAG, 0), whole()], [again, again]],
    ["no length", [untilClose(payload.subarray(0, 9)), whole()], [again, again]],
  ]) {
    const { bytes, code, asked } = await readFrom(answers);
    assert.ok(bytes && payload.equals(bytes), `${name}: ${code}`);
    assert.deepEqual(asked, expected, name);
  }
});

test("a page that may not ask for a range is not told so, and begins anew", { skip: !globalThis.fetch && "no fetch" }, async () => {
  choosePlatform(browserPlatform);
  try {
    const range = ["bytes=100000-", '"v1"'];
    for (const [second, ...third] of [[rest(100_000)], [broken, whole()]]) {
      const { bytes, code, asked } = await readFrom([whole(TAG, 100_000), second, ...third]);
      assert.ok(bytes && payload.equals(bytes), code);
      assert.deepEqual(asked, [[null, null], range, ...third.map(() => [null, null])]);
    }
  } finally {
    choosePlatform(nodePlatform);
  }
});

test("the digest is of all bytes, and what was damaged is read once more, from its beginning", async () => {
  const bad = Buffer.from(payload);
  bad[200_000] ^= 1;
  const mended = await readFrom([whole(TAG, 100_000), rest(100_000, { bytes: bad }), whole()]);
  assert.ok(payload.equals(mended.bytes));
  assert.deepEqual(mended.asked[2], [null, null]);
  const given = await readFrom([whole(TAG, 100_000), rest(100_000, { bytes: bad }), whole(TAG, payload.length, bad), whole()]);
  assert.deepEqual([given.code, given.left], ["digest", 1]);
});

test("a rest is bounded as a whole is, and a range that nobody asked for is refused", async () => {
  const long = Buffer.concat([payload, payload]);
  const unknown = { size: 0 };
  assert.equal((await readFrom([whole(TAG, 100_000), rest(100_000, { bytes: long })])).code, "size_mismatch");
  assert.equal((await readFrom([rest(0)])).code, "rejected");
  const { bytes } = await readFrom([whole(TAG, 100_000), rest(100_000)], {}, undefined, unknown);
  assert.ok(payload.equals(bytes));
});

test("a one-shot file is not asked for again, whether its body broke or stands still", async () => {
  const { code, asked } = await readFrom([whole(TAG, 100_000), rest(100_000)], { one_shot: true });
  assert.deepEqual([code, asked.length], ["consumed", 1]);
  // Its first bytes are there at once, and no more come.
  let calls = 0;
  const silent = async (_, { signal }) => {
    calls += 1;
    const body = (async function* () {
      yield payload.subarray(0, 9);
      const alive = setInterval(() => {}, 1_000); // as an open connection keeps a program alive
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      clearInterval(alive);
      throw new Error("aborted");
    })();
    return { status: 200, headers: { get: (name) => ({ "Content-Length": String(payload.length), ...TAG })[name] ?? null }, body };
  };
  const fileserver_url = "http://localhost:1";
  const one = linked(`${fileserver_url}/f`, { payload_type: "binary", size: payload.length, metadata: { one_shot: true } });
  const message = await openMessage(one, { fileserver_url, fetch: silent, idle_timeout: 80, ...options });
  assert.deepEqual([await codeOf(message.get("x")), calls], ["consumed", 1]);
});

test("an end that comes too early is tried again, up to the limit", async () => {
  await withServer(untilClose("he"), async (fileserver_url) => {
    const message = await openMessage(linked(`${fileserver_url}/f`, { size: 5 }), { fileserver_url, ...options });
    assert.equal(await codeOf(message.get("x")), "download_retry_exceeded");
  });
});

const { TEST_FILESERVER_URL } = process.env;
const skip = !TEST_FILESERVER_URL && "no TEST_FILESERVER_URL";

test("the file server continues what broke on the way", { skip }, async () => {
  const bytes = Buffer.concat(Array.from({ length: 20 }, () => payload));
  const server = new URL(TEST_FILESERVER_URL);
  let [connections, passed] = [0, 0];
  const proxy = createServer((client) => {
    connections += 1;
    const isCut = connections === 1;
    const upstream = connect(server.port, server.hostname);
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      one.on("error", () => {});
      one.on("close", () => other.destroy());
    }
    client.pipe(upstream);
    upstream.on("data", (chunk) => {
      passed += chunk.length;
      client.write(chunk, () => isCut && passed > 4_000_000 && client.destroy());
    });
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  try {
    const origin = `http://127.0.0.1:${proxy.address().port}`;
    const [, json] = await smartsend("lab.x", [["x", bytes, "binary"]], { fileserver_url: TEST_FILESERVER_URL });
    const { payloads } = await smartreceive(json.replace(server.origin, origin), { allowed_origins: origin, ...options });
    assert.ok(bytes.equals(payloads[0][1]));
    assert.equal(connections, 2);
    assert.ok(passed < bytes.length + 3_000_000, `${passed} bytes passed for ${bytes.length}`);
  } finally {
    proxy.close();
  }
});
