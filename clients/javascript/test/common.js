/** What the tests share: an error that has to be the library's, servers on the loopback address, and the test data. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";

import { NATSBridgeError } from "../src/node.js";

export const TESTDATA = new URL("../../../testdata/", import.meta.url);

export const testdata = async (path) => JSON.parse(await readFile(new URL(path, TESTDATA)));

/** The error of a promise, which has to be the library's own */
export async function errorOf(promise) {
  const error = await promise.then(
    () => assert.fail("it was taken"),
    (reason) => reason,
  );
  assert.ok(error instanceof NATSBridgeError, error?.stack ?? String(error));
  return error;
}

export const codeOf = async (promise) => (await errorOf(promise)).code;

/** Runs `work` with the URL of a server that answers as `handler` says */
export async function withServer(handler, work) {
  const server = createServer(handler);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await work(`http://127.0.0.1:${server.address().port}`, server);
  } finally {
    server.close();
    server.closeAllConnections?.();
  }
}

/** The whole body of a request */
export async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** A message with one link */
export const linked = (url, payload = {}) =>
  JSON.stringify({ payloads: [{ dataname: "x", payload_type: "text", transport: "link", data: url, ...payload }] });

/** Plik's API in memory, which may be told to fail; `uploads` counts what was begun */
export class Plik {
  constructor() {
    Object.assign(this, { files: new Map(), uploads: 0, deleted: [], asked: [], onFile: null, onConfig: null, created: {}, kept: {} });
    this.handler = (request, response) => this.answer(request, response).catch(() => response.destroy());
  }

  async answer(request, response) {
    const { method, url } = request;
    this.asked.push(`${method} ${url}`);
    const json = (value) => response.end(JSON.stringify(value));
    if (url === "/config") return this.onConfig ? json(this.onConfig) : response.writeHead(404).end();
    if (url === "/upload") {
      this.uploads += 1;
      this.wish = JSON.parse(await bodyOf(request));
      return json({ id: `u${this.uploads}`, uploadToken: "secret", oneShot: this.wish.oneShot, ttl: this.wish.ttl, ...this.created });
    }
    if (method === "DELETE") {
      this.deleted.push(url);
      return response.end("ok");
    }
    if (method === "POST") {
      if (this.onFile && (await this.onFile(request, response)) === false) return null;
      const body = await bodyOf(request);
      const start = body.indexOf("\r\n\r\n") + 4;
      const mark = body.subarray(0, body.indexOf("\r\n"));
      const bytes = body.subarray(start, body.length - mark.length - 6);
      const upload = url.split("/").pop();
      const id = `f-${upload}`;
      this.files.set(`/file/${upload}/${id}/payload.bin`, bytes);
      const { createHash } = await import("node:crypto");
      return json({ id, fileName: "payload.bin", fileSize: bytes.length, fileMd5: createHash("md5").update(bytes).digest("hex"), status: "uploaded", ...this.kept });
    }
    const found = this.files.get(url);
    return found ? response.end(found) : response.writeHead(404).end("gone");
  }
}
