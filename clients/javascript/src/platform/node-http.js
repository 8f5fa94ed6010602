/** Requests of Node's own client: no redirects, no decoding, and an address that was checked is the one connected to. */

import { lookup as dnsLookup } from "node:dns";
import { request as plainRequest } from "node:http";
import { request as secureRequest } from "node:https";

import { FORBIDDEN, isForbidden } from "../addresses.js";

/** Finds a host's addresses without those that no link may lead to */
function guardedLookup(host, options, done) {
  dnsLookup(host, { ...options, all: true }, (error, found) => {
    if (error) return done(error);
    const safe = found.filter(({ address }) => !isForbidden(address));
    if (safe.length === 0) return done(Object.assign(new Error("it leads to an address that no link may lead to"), { code: FORBIDDEN }));
    return options.all ? done(null, safe) : done(null, safe[0].address, safe[0].family);
  });
}

/** Sends a request; resolves to `{status, header, chunks, cancel}` once the head of the response is there */
export function httpRequest({ method = "GET", url, headers, body = null, signal, guarded, onSent = () => {} }) {
  return new Promise((resolve, reject) => {
    const send = url.protocol === "https:" ? secureRequest : plainRequest;
    const all = { ...headers };
    if (body !== null) all["Content-Length"] = String(body.length);
    const options = { method, headers: all, ...(guarded ? { lookup: guardedLookup, agent: false } : {}) };
    let asked;
    try {
      asked = send(url, options);
    } catch (error) {
      reject(error);
      return;
    }
    let answered = false;
    const abort = () => asked.destroy(signal.reason ?? new Error("aborted"));
    if (signal) {
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
    }
    const done = () => signal?.removeEventListener("abort", abort);
    asked.on("error", (error) => {
      done();
      reject(error);
    });
    asked.on("response", (response) => {
      answered = true;
      response.on("close", done);
      response.on("error", () => {}); // whoever reads it sees it
      // A server that answers early still waits for the rest: it would take the next request for that.
      response.on("end", () => asked.writableEnded || asked.destroy());
      resolve({
        status: response.statusCode,
        header: (name) => {
          const value = response.headers[name.toLowerCase()];
          return value === undefined ? null : String(value);
        },
        chunks: () => response,
        cancel: () => void response.destroy(),
      });
    });
    if (body === null) asked.end();
    else sendBody(asked, body, () => answered, onSent).catch((error) => asked.destroy(error));
  });
}

/** Writes a body piece by piece, no faster than it leaves */
async function sendBody(asked, body, isAnswered, onSent) {
  // One listener each for the whole body: a pair for each chunk would pile up.
  let wake = () => {};
  for (const event of ["drain", "close", "error", "response"]) asked.on(event, () => wake());
  for await (const chunk of body.chunks()) {
    if (asked.destroyed || isAnswered()) return;
    const room = asked.write(chunk);
    onSent(chunk.length);
    if (!room && !asked.destroyed && !isAnswered()) await new Promise((resolve) => (wake = resolve));
  }
  asked.end();
}
