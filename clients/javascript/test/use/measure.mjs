/** Prints what the package takes: 10 KB of bytes, a dictionary of 400 KB, a file of 200 MB by link; needs FILESERVER_URL for the last. */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";

import { file, openMessage, smartreceive, smartsend } from "natsbridge";

/** Most memory, in MB, of a process that sends or receives a large file */
const MOST_MEMORY = 120;

const [what = "all", folder = "", message = ""] = process.argv.slice(2);
const work = { codec, link, send, receive, idle };
for (const part of what === "all" ? ["codec", "link"] : [what]) await work[part]();

/** The median of rounds, in microseconds for a call; the first rounds are the compiler's */
async function perCall(calls, call) {
  const rounds = [];
  for (let round = 0; round < 9; round += 1) {
    const began = process.hrtime.bigint();
    for (let at = 0; at < calls; at += 1) await call();
    rounds.push(Number(process.hrtime.bigint() - began) / 1e3 / calls);
  }
  return rounds.slice(2).sort((a, b) => a - b)[3];
}

async function codec() {
  const bytes = Uint8Array.from({ length: 10_000 }, (_, at) => (at * 31) & 255);
  const [, binary] = await smartsend("lab.x", [["raw", bytes, "binary"]]);
  const one = await perCall(2_000, () => smartsend("lab.x", [["raw", bytes, "binary"]]));
  const two = await perCall(2_000, () => smartreceive(binary));
  const inJson = JSON.parse(binary);
  const bareOne = await perCall(2_000, () => JSON.stringify({ ...inJson, payloads: [Buffer.from(bytes.buffer).toString("base64")] }));
  const bareTwo = await perCall(2_000, () => Buffer.from(JSON.parse(binary).payloads[0].data, "base64"));
  const small = (name, own, other) => `${name} ${own.toFixed(1)} us (${(own / other).toFixed(2)} x JSON and base64)`;
  console.log(`10 KB binary: ${small("encode", one, bareOne)}, ${small("decode", two, bareTwo)}`);
  const rows = Array.from({ length: 4_000 }, (_, id) => ({ id, name: `sensor ${id}`, value: id * 0.37, ok: id % 3 === 0, tags: ["lab", "run 7"], at: "2026-01-01T00:00:00Z" }));
  const value = { rows };
  const bare = () => Buffer.from(JSON.stringify(value)).toString("base64");
  const text = bare();
  const [, dictionary] = await smartsend("lab.x", [["d", value, "dictionary"]], { links: false });
  const [encode, bareEncode] = [await perCall(5, () => smartsend("lab.x", [["d", value, "dictionary"]], { links: false })), await perCall(5, bare)];
  const [decode, bareDecode] = [await perCall(5, () => smartreceive(dictionary)), await perCall(5, () => JSON.parse(Buffer.from(text, "base64").toString()))];
  const told = (name, own, other) => `${name} ${(own / 1e3).toFixed(2)} ms (${(own / other).toFixed(2)} x JSON and base64)`;
  console.log(`dictionary of ${Math.round((text.length * 3) / 4e3)} KB: ${told("encode", encode, bareEncode)}, ${told("decode", decode, bareDecode)}`);
}

/** Each side in a process of its own, so that its memory and its loop are its own as well */
async function link() {
  if (!process.env.FILESERVER_URL) return console.log("a file of 200 MB by link: skipped, no FILESERVER_URL");
  const folder = await mkdtemp(join(tmpdir(), "natsbridge-measure-"));
  try {
    const handle = await open(join(folder, "film"), "w");
    const piece = Buffer.alloc(1_000_000, "0123456789abcdef");
    for (let at = 0; at < 200; at += 1) {
      piece.writeUInt32LE(at);
      await handle.write(piece);
    }
    await handle.close();
    const run = (...args) => execFileSync(process.execPath, [fileURLToPath(import.meta.url), ...args], { encoding: "utf8", maxBuffer: 1e9 });
    process.stdout.write(run("idle") + run("send", folder, join(folder, "message")) + run("receive", folder, join(folder, "message")));
    const digest = async (name) => {
      const hash = createHash("sha256");
      for await (const chunk of createReadStream(join(folder, name))) hash.update(chunk);
      return hash.digest("hex");
    };
    if ((await digest("film")) !== (await digest("saved"))) throw new Error("another film was saved");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Runs `task` and says how long it took, how long the loop stood still, and the most memory */
async function watched(name, task) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  await new Promise((resolve) => setTimeout(resolve, 50));
  delay.enable();
  const began = Date.now();
  await task();
  const took = Date.now() - began;
  delay.disable();
  const held = (nanoseconds) => `${(nanoseconds / 1e6 - 1).toFixed(1)} ms`;
  const memory = Math.round(process.resourceUsage().maxRSS / 1000);
  console.log(`${name}: ${took} ms, loop held ${held(delay.max)} at most (99.9 %: ${held(delay.percentile(99.9))}), peak memory ${memory} MB`);
  if (memory >= MOST_MEMORY) throw new Error(`that is not below ${MOST_MEMORY} MB`);
}

/** What the system's own pauses are here */
function idle() {
  return watched("nothing for a second", () => new Promise((resolve) => setTimeout(resolve, 1_000)));
}

function send() {
  return watched("200 MB from a path", async () => writeFile(message, (await smartsend("lab.x", [["film", file(join(folder, "film")), "video"]]))[1]));
}

async function receive() {
  const opened = await openMessage(await readFile(message));
  await watched("200 MB to a path", () => opened.payload("film").save(join(folder, "saved")));
}
