// Times the JavaScript package: bench.mjs MODULE FOLDER prints the seconds of a smartsend and of a smartreceive of FOLDER/binary.json.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , module, folder] = process.argv;
const { smartsend, smartreceive } = await import(pathToFileURL(module));
const CALLS = 2000;

async function perCall(call) {
  const samples = [];
  for (let round = 0; round < 7; round++) {
    const began = process.hrtime.bigint();
    for (let n = 0; n < CALLS; n++) await call();
    samples.push(Number(process.hrtime.bigint() - began) / 1e9 / CALLS);
  }
  // The first rounds are slower, while the engine compiles: the median leaves them out.
  return samples.sort((a, b) => a - b)[3];
}

const json = readFileSync(`${folder}/binary.json`);
const data = [["payload", new Uint8Array(randomBytes(10_000)), "binary"]];
const sending = await perCall(() => smartsend("chat.room", data));
const receiving = await perCall(() => smartreceive(json));
console.log(JSON.stringify({ binary: [sending, receiving] }));
