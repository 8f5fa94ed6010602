/** Runs clients/javascript in Node for the conformance tests: `adapter.mjs vectors` and `adapter.mjs live` (docs/peers.md). */

import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

import "../../../clients/javascript/src/node.js"; // chooses the platform
import { Conformance, Live, readLine, writeLine } from "./conform.mjs";

await import("./modules.mjs");

const blob = async (sha256) => new Uint8Array(await readFile(new URL(`../../blobs/${sha256}`, import.meta.url)));
const say = (answer) => process.stdout.write(`${writeLine(answer)}\n`);
const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });

async function live(options) {
  const { connect } = await import("@nats-io/transport-node");
  const { createInbox } = await import("@nats-io/nats-core");
  const broker = await connect({ servers: options.nats, name: options.name });
  const program = new Live(blob, say, broker, createInbox, options);
  await program.listen(options.name);
  for await (const line of lines) {
    const order = readLine(line);
    if (order.do === "quit") break;
    await program.obey(order);
  }
  lines.close();
  await broker.drain();
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === "vectors") {
  const conformance = new Conformance(blob);
  for await (const line of lines) say(await conformance.vector(readLine(line)));
} else if (mode === "live") {
  const string = { type: "string" };
  await live(parseArgs({ args: rest, options: { nats: string, ws: string, files: string, name: string } }).values);
} else {
  process.stderr.write("usage: adapter.mjs vectors | live --nats URL --files URL --name NAME\n");
  process.exitCode = 2;
}
