/** Sends a File of 300 MB from a headless Chromium and reads it back: `chromium-file.mjs [MB]` prints heap, memory and pauses. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { build } from "esbuild";
import { chromium } from "playwright-core";

const size = Number(process.argv[2] ?? 300) * 1_000_000;
const path = join(tmpdir(), `natsbridge-film-${process.pid}.bin`);
const film = await open(path, "wx");
await film.truncate(size);
await film.close();

const program = `
import { openMessage, smartsend } from "natsbridge";
const measured = async (work) => {
  let [heap, pause, last] = [0, 0, performance.now()];
  const timer = setInterval(() => {
    pause = Math.max(pause, performance.now() - last);
    // What is held counts, and not the garbage that waits for its collector on a busy machine.
    if (performance.memory.usedJSHeapSize > ${size / 4}) gc();
    heap = Math.max(heap, performance.memory.usedJSHeapSize);
    last = performance.now();
  }, 5);
  const result = await work();
  clearInterval(timer);
  return { ...result, heap: Math.round(heap / 1e6), pause: Math.round(pause) };
};
const fileserverUrl = location.origin;
globalThis.send = () => measured(async () => {
  const [film] = document.querySelector("input").files;
  let told = 0;
  const [envelope, json] = await smartsend("lab.x", [["film", film, "video"]], { fileserverUrl, onProgress: ({ done }) => (told = done) });
  return { json, told, sent: envelope.payloads[0].metadata.sha256 };
});
globalThis.receive = (json) => measured(async () => {
  const blob = await (await openMessage(json, { fileserverUrl })).payload("film").blob();
  return { size: blob.size };
});
globalThis.ready = true;`;
const { outputFiles } = await build({ stdin: { contents: program, resolveDir: process.cwd() }, bundle: true, write: false, format: "esm", platform: "browser" });

const kept = { sha256: null, size: 0 };
const server = createServer(async (request, response) => {
  const json = (value) => response.end(JSON.stringify(value));
  const { method, url } = request;
  if (url === "/") response.setHeader("Content-Type", "text/html").end("<!doctype html><input type=file><script type=module src=/page.js></script>");
  else if (url === "/page.js") response.setHeader("Content-Type", "text/javascript").end(outputFiles[0].contents);
  else if (url === "/upload") json({ id: "u", uploadToken: "t", ttl: 60 });
  else if (method === "POST") {
    // The form around the file has a known head and tail.
    const [sha256, md5] = [createHash("sha256"), createHash("md5")];
    let [head, left, total] = [Buffer.alloc(0), size, 0];
    for await (let chunk of request) {
      total += chunk.length;
      if (left === size) {
        head = Buffer.concat([head, chunk]);
        const start = head.indexOf("\r\n\r\n");
        if (start < 0) continue;
        chunk = head.subarray(start + 4);
      }
      const part = chunk.subarray(0, left);
      left -= part.length;
      sha256.update(part);
      md5.update(part);
    }
    Object.assign(kept, { sha256: sha256.digest("hex"), size: size - left });
    json({ id: "f", fileName: "payload.bin", fileSize: size - left, fileMd5: md5.digest("hex"), status: "uploaded" });
  } else if (url.startsWith("/file/")) {
    response.setHeader("Content-Length", size);
    const zeros = Buffer.alloc(1_000_000);
    for (let sent = 0; sent < size; sent += zeros.length) if (!response.write(zeros)) await new Promise((resolve) => response.once("drain", resolve));
    response.end();
  } else response.writeHead(404).end();
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const known = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const browser = await chromium.launch({ executablePath: known.find((name) => name && existsSync(name)), args: ["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info", "--js-flags=--expose-gc"] });
/** The most memory that a renderer had, in MB */
async function renderers() {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const most = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, "utf8"))?.[1] ?? 0) / 1024);
  return Math.round(Math.max(...most));
}
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  page.on("pageerror", (error) => console.error(error.stack));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.setInputFiles("input", path);
  await page.waitForFunction(() => globalThis.ready);
  const { json, sent, told, ...sending } = await page.evaluate(() => globalThis.send());
  assert.deepEqual([kept.size, kept.sha256, told], [size, sent, size]);
  const memory = await renderers();
  const receiving = await page.evaluate((text) => globalThis.receive(text), json);
  assert.equal(receiving.size, size);
  const megabytes = size / 1e6;
  const figures = `a File of ${megabytes} MB: JS heap ${sending.heap} MB, renderer ${memory} MB, longest pause ${sending.pause} ms; read back: JS heap ${receiving.heap} MB, renderer ${await renderers()} MB, longest pause ${receiving.pause} ms`;
  console.log(figures);
  assert.ok(Math.max(sending.heap, receiving.heap) < 0.5 * megabytes && memory < megabytes + 100, `nothing is held whole: ${figures}`);
} finally {
  await browser.close();
  server.close();
  await rm(path, { force: true });
}
