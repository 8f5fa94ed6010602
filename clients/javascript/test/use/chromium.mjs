/** Runs a bundle in a headless Chromium: `chromium.mjs BUNDLE`; prints what the program prints. */

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

import { chromium } from "playwright-core";

const known = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const executablePath = known.find((path) => path && existsSync(path));
const program = await readFile(process.argv[2]);
const server = createServer((request, response) => {
  if (request.url === "/page.js") response.writeHead(200, { "Content-Type": "text/javascript" }).end(program);
  else response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>x</title><script type=module src=/page.js></script>");
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error.stack));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => globalThis.outcome, null, { timeout: 30_000 });
  console.log(await page.evaluate(() => globalThis.outcome));
} finally {
  await browser.close();
  server.close();
}
