/** Uploads and downloads against servers that fail in every way; streams, files, progress, aborts. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { file, metrics, nack, openMessage, plikUpload, smartreceive, smartsend } from "../src/node.js";
import { Md5, Sha256 } from "../src/digest.js";
import { fileName } from "../src/names.js";
import { httpRequest } from "../src/platform/node-http.js";
import { retryAfter } from "../src/retry.js";
import { Plik, codeOf, errorOf, linked, withServer } from "./common.js";

const QUICK = { base_delay: 1, max_delay: 2 };
const large = Buffer.alloc(3_000_000, "0123456789");
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const isOld = Number(process.versions.node.split(".")[0]) < 18;

async function withFolder(work) {
  const folder = await mkdtemp(join(tmpdir(), "natsbridge-test-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Sends large bytes by a Plik in memory, and gives the server, the envelope and the JSON */
async function uploaded(plik, value, options, work) {
  return withServer(plik.handler, async (fileserver_url) => {
    const [envelope, json] = await smartsend("lab.x", [["film", value, "video"]], { fileserver_url, ...QUICK, ...options });
    return work(envelope.payloads[0], json, fileserver_url);
  });
}

test("digests are those of the platform", () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 100_003]) {
    const bytes = Uint8Array.from({ length }, (_, at) => (at * 31) & 255);
    for (const [name, Own] of [["sha256", Sha256], ["md5", Md5]]) {
      const own = new Own();
      for (let at = 0; at < length; at += 37) own.update(bytes.subarray(at, at + 37));
      assert.equal(own.hex(), createHash(name).update(bytes).digest("hex"), `${name} ${length}`);
    }
  }
});

test("everything that holds bytes is sent, and read in every way", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "film.bin");
    await writeFile(path, large);
    const Blob = globalThis.Blob ?? (await import("node:buffer")).Blob;
    const inputs = {
      buffer: large, array: large.buffer.slice(large.byteOffset, large.byteOffset + large.length), view: new Uint16Array(large.buffer.slice(large.byteOffset, large.byteOffset + large.length)),
      blob: new Blob([large]), path: file(path), url: pathToFileURL(path), node: Readable.from([large.subarray(0, 5), large.subarray(5)]),
      iterable: (async function* () { for (let at = 0; at < large.length; at += 700_000) yield large.subarray(at, at + 700_000); })(),
    };
    if (globalThis.ReadableStream) inputs.web = new Blob([large]).stream();
    for (const [name, value] of Object.entries(inputs)) {
      const plik = new Plik();
      await uploaded(plik, value, {}, async (payload, json, fileserver_url) => {
        assert.deepEqual([payload.transport, payload.size, payload.metadata.sha256], ["link", large.length, sha256(large)], name);
        const film = (await openMessage(json, { fileserver_url })).payload("film");
        const [bytes, blob, stream] = [await film.bytes(), await film.blob(), await film.stream()];
        assert.ok(large.equals(bytes), name);
        assert.equal(blob.size, large.length);
        const pieces = [];
        for (let reader = stream.getReader(), piece; !(piece = await reader.read()).done; ) pieces.push(piece.value);
        assert.ok(large.equals(Buffer.concat(pieces)), name);
        assert.ok(large.equals(await readFile(await film.save(`${folder}/saved/`))));
      });
    }
    const saved = (await readdir(join(folder, "saved"))).sort();
    assert.equal(saved.length, Object.keys(inputs).length, "each has a name of its own");
    assert.ok(saved.includes("film") && saved.includes("film (2)") && !saved.some((name) => name.includes(".part")));
    assert.equal((await smartsend("lab.x", [["small", Readable.from([Buffer.from("ab"), Buffer.from("c")]), "binary"]]))[0].payloads[0].data, "YWJj");
  });
});

test("an upload handler hands on whatever it is given, and what holds no bytes is refused", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "film.bin");
    await writeFile(path, large);
    const inputs = [large, file(path), Readable.from([large.subarray(0, 5), large.subarray(5)])];
    if (globalThis.Blob) inputs.push(new Blob([large]));
    for (const value of inputs) {
      await uploaded(new Plik(), value, { fileserver_upload_handler: (given) => plikUpload(given) }, async (_, json, fileserver_url) => {
        assert.ok(large.equals((await smartreceive(json, { fileserver_url })).payloads[0][1]));
      });
    }
  });
  const plik = new Plik();
  await withServer(plik.handler, async (fileserver_url) => {
    for (const data of ["text", 7, {}, null, undefined]) assert.equal(await codeOf(plikUpload({ fileserver_url, data })), "wrong_value");
    const { url } = await plikUpload({ fileserver_url, data: Readable.from([large]) });
    assert.ok(large.equals(plik.files.get(new URL(url).pathname)));
  });
  assert.equal(plik.uploads, 1);
});

test("files that can't be read and streams that fail are the library's error", async () => {
  for (const [value, code] of [[file("/no/such/file"), "local_file"], [file("/"), "local_file"], [Readable.from([7]), "wrong_value"], [Readable.from(["text"]), "wrong_value"]]) {
    const error = await errorOf(smartsend("lab.x", [["x", value, "binary"]]));
    assert.deepEqual([error.code, error.dataname], [code, "x"]);
    // The caller is told the path; whoever gets a NACK of it is not.
    assert.equal(error.message.includes("/no/such/file"), value.path === "/no/such/file", error.message);
    const { json } = await nack({ msg_id: "m", reply_to: "lab.reply" }, error);
    assert.ok(!json.includes("/no/such"), json);
  }
  const broken = (async function* () { yield Buffer.from("a"); throw new Error("torn"); })();
  assert.equal(await codeOf(smartsend("lab.x", [["x", broken, "binary"]])), "handler");
});

test("uploads are repeated when the connection breaks, and the broken one is deleted", async () => {
  for (const failure of [(request) => request.destroy(), (_, response) => response.writeHead(503).end("busy"), (_, response) => response.writeHead(404).end()]) {
    const plik = new Plik();
    let left = 2;
    plik.onFile = (request, response) => {
      if (left === 0) return true;
      left -= 1;
      failure(request, response);
      return false;
    };
    await uploaded(plik, large, {}, async (payload, json, fileserver_url) => {
      assert.equal(plik.uploads, 3);
      assert.deepEqual(plik.deleted, ["/upload/u1", "/upload/u2"]);
      assert.ok(large.equals((await smartreceive(json, { fileserver_url })).payloads[0][1]));
    });
  }
});

test("a connection whose server answered before it had all bytes is not used again", async () => {
  const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
  await withServer((_, response) => response.end("early"), async (base) => {
    const ask = async (more) => {
      const response = await httpRequest({ url: new URL(base), headers: {}, ...more });
      for await (const _ of response.chunks()); // eslint-disable-line no-unused-vars
      return response.status;
    };
    const chunks = async function* () {
      yield large;
      await pause();
      yield large;
    };
    assert.equal(await ask({ method: "POST", body: { length: 2 * large.length, chunks } }), 200);
    await pause();
    const abort = new AbortController();
    setTimeout(() => abort.abort(new Error("it became the rest of the last one's body")), 20_000).unref();
    assert.equal(await ask({ signal: abort.signal }), 200);
  });
});

test("an upload ends in time: silence, a total, the caller's abort", async () => {
  const silent = () => {
    const plik = new Plik();
    plik.onFile = () => false;
    return plik;
  };
  const options = { max_retries: 0, ...QUICK };
  for (const [more, code] of [[{ idle_timeout: 100 }, "timeout"], [{ upload_timeout: 100, max_retries: 5 }, "timeout"]]) {
    assert.equal(await codeOf(uploaded(silent(), large, { ...options, ...more }, () => {})), code);
  }
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 50);
  assert.equal(await codeOf(uploaded(silent(), large, { signal: abort.signal }, () => {})), "aborted");
  assert.equal(await codeOf(smartsend("lab.x", [["x", "y", "text"]], { signal: abort.signal })), "aborted");
});

test("what the server refuses for good is not tried again", async () => {
  for (const [status, code] of [[401, "refused"], [413, "too_large"], [507, "full"], [400, "rejected"]]) {
    const plik = new Plik();
    plik.onFile = (_, response) => (response.writeHead(status).end("no: secret"), false);
    const error = await errorOf(uploaded(plik, large, {}, () => {}));
    assert.deepEqual([error.code, plik.uploads, error.dataname], [code, 1, "film"]);
    assert.ok(!error.message.includes("secret"), error.message);
  }
  const plik = new Plik();
  plik.onConfig = { maxFileSize: 1000 };
  assert.equal(await codeOf(uploaded(plik, large, {}, () => {})), "too_large");
  assert.equal(plik.uploads, 0);
});

test("a server that stored other bytes is not believed", async () => {
  for (const answer of [{ fileMd5: "0".repeat(32) }, { fileSize: large.length - 1 }, { status: "uploading" }]) {
    const plik = new Plik();
    plik.kept = answer;
    assert.equal(await codeOf(uploaded(plik, large, { max_retries: 1 }, () => {})), "digest");
    assert.deepEqual([plik.uploads, plik.deleted.length], [2, 2]);
  }
});

test("the server's own rules: shorter lives, download domains, forced one-shot links", async () => {
  const plik = new Plik();
  plik.onConfig = { maxTTL: 3600 };
  plik.created = { downloadDomain: "files.example.com/" };
  await uploaded(plik, large, {}, (payload) => {
    assert.equal(plik.wish.ttl, 3600);
    assert.match(payload.data, /^http:\/\/files\.example\.com\/file\/u1\//);
    assert.ok(Math.abs(Date.parse(payload.metadata.expires_at) - Date.now() - 3_600_000) < 60_000);
  });
  const forced = new Plik();
  forced.created = { oneShot: true };
  assert.equal(await codeOf(uploaded(forced, large, { awaits_ack: true }, () => {})), "rejected");
  assert.deepEqual(forced.deleted, ["/upload/u1"]);
  const id = "7a512910-bf40-4c64-a088-d2975d3d09ed";
  await uploaded(forced, large, { receiver_id: id }, (payload) => assert.equal(payload.metadata.one_shot, true));
});

test("user name and password of the server's URL go with uploads and downloads, to that origin alone", async () => {
  const plik = new Plik();
  const seen = [];
  const handler = (request, response) => {
    seen.push(request.headers.authorization);
    return plik.handler(request, response);
  };
  await withServer(handler, async (base) => {
    const fileserver_url = base.replace("//", "//bob:s%40cret@");
    const [envelope, json] = await smartsend("lab.x", [["x", large, "binary"]], { fileserver_url });
    assert.ok(!json.includes("bob") && envelope.payloads[0].transport === "link");
    assert.ok(large.equals((await smartreceive(json, { fileserver_url })).payloads[0][1]));
    assert.deepEqual([...new Set(seen)], [`Basic ${Buffer.from("bob:s@cret").toString("base64")}`]);
    await smartreceive(json, { allowed_origins: base });
    assert.equal(seen[seen.length - 1], undefined);
  });
});

test("responses mean what the specification says", async () => {
  const past = new Date(Date.now() - 60_000).toISOString();
  const cases = [
    [404, "", {}, "not_found"], [410, "", {}, "not_found"], [404, "", { one_shot: true }, "consumed"], [404, "", { expires_at: past }, "expired"], [403, "link expired", {}, "expired"],
    [401, "", {}, "refused"], [407, "", {}, "refused"], [400, "", {}, "rejected"], [400, "", { expires_at: past }, "expired"], [302, "", {}, "blocked_origin"], [418, "", {}, "rejected"],
    [501, "", {}, "rejected"], [507, "", {}, "rejected"], [500, "", {}, "download_retry_exceeded"], [429, "", {}, "download_retry_exceeded"], [409, "", {}, "rejected"],
  ];
  for (const [status, text, metadata, code] of cases) {
    await withServer((_, response) => response.writeHead(status, status === 302 ? { Location: "http://x/" } : {}).end(text), async (fileserver_url) => {
      const error = await errorOf(smartreceive(linked(`${fileserver_url}/f`, { metadata }), { fileserver_url, max_retries: 1, ...QUICK }));
      assert.deepEqual([error.code, error.dataname], [code, "x"], `${status} ${text}`);
    });
  }
});

test("a presigned link that is over has expired", async () => {
  await withServer((_, response) => response.writeHead(403).end("no"), async (base) => {
    for (const [query, code] of [["X-Amz-Date=20200101T000000Z&X-Amz-Expires=60", "expired"], ["X-Amz-Date=20990101T000000Z&X-Amz-Expires=60", "refused"], ["sig=x&se=2020-01-01T00:00:00Z", "expired"]]) {
      assert.equal(await codeOf(smartreceive(linked(`${base}/f%2Fg?${query}`), { fileserver_url: base })), code, query);
    }
  });
});

test("exactly the URL that was checked is asked for, without a wish for encodings", async () => {
  await withServer((request, response) => response.end(`${request.url} ${request.headers["accept-encoding"]}`), async (base) => {
    assert.equal((await smartreceive(linked(`${base}/a%2Fb/c?x=%2F`), { fileserver_url: base })).payloads[0][1], "/a%2Fb/c?x=%2F identity");
  });
  await withServer((_, response) => response.writeHead(200, { "Content-Encoding": "gzip" }).end("x"), async (base) => {
    assert.equal(await codeOf(smartreceive(linked(`${base}/f`), { fileserver_url: base })), "rejected");
  });
});

test("downloads are repeated after breaks, and Retry-After is respected up to a cap", async () => {
  let asked = 0;
  const times = [];
  const flaky = (_, response) => {
    asked += 1;
    times.push(performance.now());
    if (asked === 1) return response.destroy();
    if (asked === 2) return response.writeHead(503, { "Retry-After": "1" }).end();
    if (asked === 3) {
      response.writeHead(200, { "Content-Length": "5" }).write("he");
      return setTimeout(() => response.destroy(), 20);
    }
    return response.end("hello");
  };
  const before = metrics()['retry_attempts_total{operation="download"}'];
  await withServer(flaky, async (base) => {
    assert.equal((await smartreceive(linked(`${base}/f`, { size: 5 }), { fileserver_url: base, ...QUICK })).payloads[0][1], "hello");
  });
  // Timers count whole milliseconds.
  assert.ok(times[2] - times[1] >= 999, "the pause that the server asked for");
  assert.equal(metrics()['retry_attempts_total{operation="download"}'] - before, 3);
  asked = 0;
  await withServer((_, response) => ((asked += 1), response.writeHead(503, { "Retry-After": "1700" }).end()), async (base) => {
    assert.equal(await codeOf(smartreceive(linked(`${base}/f`), { fileserver_url: base })), "download_retry_exceeded");
    assert.equal(asked, 1, "what is asked for is longer than anybody waits");
  });
  const now = Date.UTC(1994, 10, 6, 8, 49, 37);
  for (const [value, pause] of [["7", 7000], ["Sun, 06 Nov 1994 08:49:47 GMT", 10_000], ["Sun, 06 Nov 1994 08:00:00 GMT", 0], ["", null], ["-1", null], ["soon", null], ["1.5", null]]) {
    assert.equal(retryAfter(value, now), pause, value);
  }
});

test("a one-shot file whose body broke is consumed", async () => {
  let asked = 0;
  const cut = (_, response) => {
    asked += 1;
    response.writeHead(200, { "Content-Length": "5" }).write("he");
    setTimeout(() => response.destroy(), 20);
  };
  await withServer(cut, async (base) => {
    assert.equal(await codeOf(smartreceive(linked(`${base}/f`, { size: 5, metadata: { one_shot: true } }), { fileserver_url: base, ...QUICK })), "consumed");
  });
  assert.equal(asked, 1);
});

test("links end in time: silence, dripping, the message's deadline, the caller's abort", async () => {
  const silent = (_, response) => void response.writeHead(200);
  const dripping = (_, response) => {
    const timer = setInterval(() => response.write("x"), 20);
    response.on("close", () => clearInterval(timer));
  };
  const cases = [
    [silent, { idle_timeout: 80, max_retries: 1, ...QUICK }, "download_retry_exceeded"], [dripping, { idle_timeout: 200 }, "timeout"],
    [silent, { message_timeout: 100 }, "timeout"],
  ];
  for (const [handler, options, code] of cases) {
    await withServer(handler, async (base) => assert.equal(await codeOf(smartreceive(linked(`${base}/f`), { fileserver_url: base, ...options })), code));
  }
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 50);
  await withServer(silent, async (base) => assert.equal(await codeOf(smartreceive(linked(`${base}/f`), { fileserver_url: base, signal: abort.signal })), "aborted"));
});

test("a size is a limit and has to match, a digest too; nothing is left of what failed", async () => {
  await withFolder(async (folder) => {
    await withServer((_, response) => response.end("hello"), async (base) => {
      const good = { size: 5, metadata: { sha256: sha256("hello") } };
      for (const [payload, options, code] of [
        [{ size: 4 }, {}, "size_mismatch"], [{ size: 6 }, {}, "size_mismatch"], [{ metadata: { sha256: sha256("x") } }, {}, "digest"], [{ metadata: { sha256: "x" } }, {}, "digest"],
        [{}, { max_payload_size: 4 }, "too_large"], [{ size: 2 ** 60 }, {}, "too_large"], [{}, { strict: true }, "digest_missing"],
      ]) {
        const message = await openMessage(linked(`${base}/f`, payload), { fileserver_url: base, ...options });
        for (const read of ["bytes", "stream", "blob", "value"]) assert.equal(await codeOf(message.payload("x")[read]()), code, read);
        assert.equal(await codeOf(message.payload("x").save(`${folder}/`)), code);
      }
      assert.deepEqual(await readdir(folder), []);
      const message = await openMessage(linked(`${base}/f`, good), { fileserver_url: base, strict: true });
      assert.equal(String(await readFile(await message.payload("x").save(join(folder, "named")))), "hello");
    });
  });
});

test("names are safe on every system", () => {
  const name = (dataname, type = "binary") => Object.values(fileName(dataname, type)).join("");
  for (const [dataname, expected] of [
    ["run7.mp4", "run7.mp4"], ["../../x", "x"], ["/etc/passwd", "passwd"], ["C:\\Windows\\system32\\x.dll", "x.dll"], ["..", "payload"], ["", "payload"], ["a/", "payload"], [".bashrc", "bashrc"],
    ["-rf", "_-rf"], ["nul", "nul_"], ["COM1.txt", "COM1_.txt"], ["con .tar.gz", "con .tar_.gz"], ["com¹.txt", "com¹_.txt"], ["com10.txt", "com10.txt"], ["CONIN$", "CONIN$_"], ["a\0b\nc", "a_b_c"],
    ["a:b|c?", "a_b_c_"], ["gpj\u202e.exe", "gpj_.exe"], ["  spaced . ", "spaced"], ["سلام.png", "سلام.png"],
  ]) assert.equal(name(dataname), expected);
  assert.ok(Buffer.byteLength(name("é".repeat(5_000))) <= 255 && name(`${"x".repeat(5_000)}.png`).endsWith(".png"));
  assert.equal(name("note", "text"), "note.txt");
});

test("progress is told, several links go at a time, and an own fetch is used", async () => {
  const plik = new Plik();
  let most = 0;
  let isCounting = true;
  const waiting = [];
  const handler = (request, response) => {
    if (!isCounting || request.method !== "GET" || request.url === "/config") return plik.handler(request, response);
    waiting.push(() => plik.handler(request, response));
    most = Math.max(most, waiting.length);
    // Three wait for one another; a fourth would come meanwhile.
    if (waiting.length === 3) setTimeout(() => waiting.splice(0).forEach((answer) => answer()), 50);
    return null;
  };
  const told = { upload: [], download: [] };
  const on_progress = ({ operation, dataname, done, total }) => told[operation].push([dataname, done, total]);
  await withServer(handler, async (fileserver_url) => {
    const parts = Array.from({ length: 6 }, (_, at) => [`f${at}`, large.subarray(at), "binary"]);
    const [, json] = await smartsend("lab.x", parts, { fileserver_url, onProgress: on_progress });
    const { payloads } = await smartreceive(json, { fileserver_url, on_progress, transfers: 3 });
    payloads.forEach(([name, bytes], at) => assert.ok(name === `f${at}` && large.subarray(at).equals(bytes)));
    for (const operation of ["upload", "download"]) assert.ok(told[operation].some(([name, done, total]) => name === "f5" && done === total && total === large.length - 5), operation);
    assert.equal(most, 3);
    isCounting = false;
    // node-fetch is for Node from 12 on; undici 6 asks for 18.
    const fetches = [globalThis.fetch, (await import("node-fetch").catch(() => ({}))).default];
    if (!isOld) fetches.push((await import("undici").catch(() => ({}))).fetch);
    for (const fetch of fetches.filter(Boolean)) {
      let calls = 0;
      const counted = (...given) => ((calls += 1), fetch(...given));
      const [, other] = await smartsend("lab.x", [["x", large, "binary"]], { fileserver_url, fetch: counted });
      assert.ok(large.equals((await smartreceive(other, { fileserver_url, fetch: counted })).payloads[0][1]));
      assert.ok(calls >= 3, "an upload, its file, the download");
    }
  });
});
