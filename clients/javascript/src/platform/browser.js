/** Browsers and whatever else has `fetch`: Blobs in place of files. */

import { NATSBridgeError, wrongValue } from "../errors.js";
import { Md5, Sha256, hex } from "../digest.js";
import { fileName } from "../names.js";
import { blobSource } from "../sources.js";
import { fetchRequest } from "./fetch.js";

const utf8 = new TextEncoder();
const noFiles = () => {
  throw wrongValue("there are no paths here; give a File, a Blob or a stream");
};

export const browserPlatform = {
  isBrowser: true,
  headers: {},
  env: {},
  request: (asked) => (asked.body === null || asked.body === undefined || asked.fetch || typeof XMLHttpRequest === "undefined" ? byFetch(asked) : byXhr(asked)),
  hasher: (name) => (name === "md5" ? new Md5() : new Sha256()),
  async digest(bytes) {
    // A page that did not come by https has no WebCrypto.
    const subtle = globalThis.crypto?.subtle;
    return subtle ? hex(new Uint8Array(await subtle.digest("SHA-256", bytes))) : new Sha256().update(bytes).hex();
  },
  uuid() {
    if (typeof globalThis.crypto?.randomUUID === "function") return globalThis.crypto.randomUUID();
    const bytes = browserPlatform.random(16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    return hex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  },
  random: (count) => globalThis.crypto.getRandomValues(new Uint8Array(count)),
  toBase64(bytes) {
    if (typeof bytes.toBase64 === "function") return bytes.toBase64();
    let text = "";
    for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
    return btoa(text);
  },
  fromBase64(text) {
    if (typeof Uint8Array.fromBase64 === "function") return Uint8Array.fromBase64(text, { lastChunkHandling: "loose" });
    const letters = atob(text);
    const bytes = new Uint8Array(letters.length);
    for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
    return bytes;
  },
  byteLength: (text) => utf8.encode(text).length,
  encode: (text) => utf8.encode(text),
  fileSource: noFiles,
  spool: async () => blobSink(blobSource),
  saver: async (name, dataname, type) => blobSink((blob) => download(blob, name, dataname, type)),
  blobClass: async () => globalThis.Blob,
  streamClass: async () => globalThis.ReadableStream,
  importArrow: null,
};

/** A browser's Blob is on disk where it is large, so its pieces are gathered in Blobs of some megabytes */
function blobSink(finish) {
  let [parts, pieces, waiting] = [[], [], 0];
  const pack = () => {
    if (pieces.length > 0) parts.push(new Blob(pieces));
    [pieces, waiting] = [[], 0];
  };
  return {
    async write(bytes) {
      pieces.push(bytes);
      waiting += bytes.length;
      if (waiting >= 4 * 1024 * 1024) pack();
    },
    async restart() {
      [parts, pieces, waiting] = [[], [], 0];
    },
    async discard() {
      [parts, pieces, waiting] = [[], [], 0];
    },
    async finish() {
      pack();
      return finish(new Blob(parts));
    },
  };
}

/** Offers a Blob as a download, as a click on a link does */
function download(blob, name, dataname, type) {
  if (typeof document === "undefined") throw new NATSBridgeError("unsupported", "only a page can save; use blob() or stream()");
  const { stem, extension } = fileName(typeof name === "string" && name !== "" ? name : dataname, type);
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${stem}${extension}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return link.download;
}

/** The body as one Blob: a File in it stays where it is */
function blobOf(body) {
  if (body.parts === undefined) throw new NATSBridgeError("unsupported", "this body can't be sent from here");
  return new Blob(body.parts);
}

function byFetch(asked) {
  return fetchRequest(asked.fetch ?? globalThis.fetch.bind(globalThis), asked, (body) => ({ body: blobOf(body) }));
}

/** `fetch` does not say how far an upload is; this does */
function byXhr({ method, url, headers, body, signal, onSent = () => {} }) {
  return new Promise((resolve, reject) => {
    const asked = new XMLHttpRequest();
    asked.open(method, String(url));
    asked.responseType = "arraybuffer";
    for (const [name, value] of Object.entries(headers)) asked.setRequestHeader(name, value);
    let sent = 0;
    asked.upload.onprogress = ({ loaded }) => {
      onSent(loaded - sent);
      sent = loaded;
    };
    const abort = () => asked.abort();
    const done = (settle, value) => {
      signal?.removeEventListener("abort", abort);
      settle(value);
    };
    asked.onerror = () => done(reject, new TypeError("the request failed"));
    asked.onabort = () => done(reject, signal?.reason ?? new Error("aborted"));
    asked.onload = () => {
      const bytes = new Uint8Array(asked.response ?? new ArrayBuffer(0));
      done(resolve, { status: asked.status, header: (name) => asked.getResponseHeader(name), chunks: () => [bytes], cancel: () => {} });
    };
    if (signal?.aborted) {
      reject(signal.reason ?? new Error("aborted"));
      return;
    }
    signal?.addEventListener("abort", abort, { once: true });
    asked.send(blobOf(body));
  });
}
