/** Bundles the page and serves it on 127.0.0.1: `node serve.mjs [PORT]`, 8000 unless given. */

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";

if (process.env.PEER_MODULES) await import("../../../testdata/peers/javascript/modules.mjs");
const { build } = await import("esbuild");

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

/** Starts the server; resolves to it once it listens */
export async function serve(port) {
  const { outputFiles } = await build({
    entryPoints: [here("page.mjs")],
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    nodePaths: process.env.PEER_MODULES ? [join(process.env.PEER_MODULES, "node_modules")] : [],
    logLevel: "warning",
  });
  const files = {
    "/": ["text/html", await readFile(here("index.html"))],
    "/style.css": ["text/css", await readFile(here("style.css"))],
    "/page.js": ["text/javascript", outputFiles[0].contents],
  };
  const server = createServer((request, response) => {
    const [type, body] = files[new URL(request.url, "http://page").pathname] ?? [];
    if (type) response.writeHead(200, { "Content-Type": `${type}; charset=utf-8` }).end(body);
    else response.writeHead(404).end();
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const server = await serve(Number(argv[2] ?? 8000));
  console.log(`http://127.0.0.1:${server.address().port}/`);
}
