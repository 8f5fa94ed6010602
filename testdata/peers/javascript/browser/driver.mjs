/**
 * Runs clients/javascript in a real page for the conformance tests: `driver.mjs vectors` and `driver.mjs live` (docs/peers.md).
 *
 * The page is served on 127.0.0.1, shown by a headless Chromium, and talks to NATS by its websocket listener.
 */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { FLAGS, browserPath } from "./chromium.mjs";

await import("../modules.mjs");
const { build } = await import("esbuild");
const { chromium } = await import("playwright-core");

/** The page's program in one file */
async function bundle() {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("page.mjs", import.meta.url))],
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    nodePaths: process.env.PEER_MODULES ? [join(process.env.PEER_MODULES, "node_modules")] : [],
    logLevel: "warning",
  });
  return outputFiles[0].contents;
}

/** Serves the page, its program and the blobs */
async function serve(program) {
  const page = "<!doctype html><meta charset=utf-8><title>NATSBridge</title><script type=module src=/page.js></script>";
  const server = createServer(async (request, response) => {
    const blob = /^\/blobs\/([0-9a-f]{64})$/.exec(request.url)?.[1];
    if (blob) {
      const body = await readFile(new URL(`../../../blobs/${blob}`, import.meta.url)).catch(() => null);
      response.writeHead(body ? 200 : 404).end(body);
    } else if (request.url === "/page.js") response.writeHead(200, { "Content-Type": "text/javascript" }).end(program);
    else response.writeHead(request.url === "/" ? 200 : 404, { "Content-Type": "text/html" }).end(request.url === "/" ? page : "");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

async function run(mode, options) {
  const server = await serve(await bundle());
  const profile = await mkdtemp(join(tmpdir(), "natsbridge-browser-"));
  const context = await chromium.launchPersistentContext(profile, { executablePath: browserPath(), headless: true, args: FLAGS });
  try {
    const page = await context.newPage();
    page.on("pageerror", (error) => process.stderr.write(`${error.stack}\n`));
    await page.exposeFunction("sayLine", (line) => void process.stdout.write(`${line}\n`));
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.waitForFunction(() => globalThis.start);
    await page.evaluate(([mode, options]) => globalThis.start(mode, options), [mode, options]);
    for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
      if (/^\s*\{\s*"do"\s*:\s*"quit"/.test(line)) break;
      await page.evaluate((text) => globalThis.line(text), line);
    }
    await page.evaluate(() => globalThis.stop());
  } finally {
    await context.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    server.close();
  }
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === "vectors" || mode === "live") {
  const string = { type: "string" };
  await run(mode, parseArgs({ args: rest, options: { nats: string, ws: string, files: string, name: string } }).values);
  process.exit();
} else {
  process.stderr.write("usage: driver.mjs vectors | live --nats URL --ws URL --files URL --name NAME\n");
  process.exitCode = 2;
}
