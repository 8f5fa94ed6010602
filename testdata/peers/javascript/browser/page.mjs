/** Runs clients/javascript in a page for the conformance tests; driver.mjs bundles it, and passes the lines. */

import { createInbox, wsconnect } from "@nats-io/nats-core";

import "../../../../clients/javascript/src/browser.js"; // chooses the platform
import { Conformance, Live, readLine, writeLine } from "../conform.mjs";

const blob = async (sha256) => new Uint8Array(await (await fetch(`/blobs/${sha256}`)).arrayBuffer());
const say = (answer) => globalThis.sayLine(writeLine(answer));
let program;

/** Connects, where there is to be a connection */
globalThis.start = async (mode, options) => {
  if (mode === "vectors") {
    program = new Conformance(blob);
    return;
  }
  const broker = await wsconnect({ servers: options.ws, name: options.name });
  program = new Live(blob, say, broker, createInbox, { ...options, nats: options.ws });
  await program.listen(options.name);
};

globalThis.line = async (text) => {
  const order = readLine(text);
  if (order.do === undefined) say(await program.vector(order));
  else await program.obey(order);
};

globalThis.stop = () => program.broker?.drain();
