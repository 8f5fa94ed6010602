/** What a payload of bytes may be given as: buffers, Blobs, files by path, streams; read as often as an upload is tried. */

import { platform } from "./platform.js";
import { NATSBridgeError, checkAbort, wrongValue } from "./errors.js";
import { chunksOf } from "./platform/fetch.js";
import { describe, viewOf } from "./values.js";

const CHUNK = 256 * 1024;
/** Streams up to this size stay in memory */
const IN_MEMORY = 1024 * 1024;

/** A file by its path; where there are files */
export class FilePath {
  constructor(path) {
    if (typeof path !== "string" && !(path instanceof URL)) throw wrongValue(`a path is a string or a file: URL, not ${describe(path)}`);
    this.path = path;
  }
}

/** Names a file whose bytes are to be sent: `["film", file("run7.mp4"), "video"]` */
export const file = (path) => new FilePath(path);

/** Bytes in memory */
export const memorySource = (bytes) => ({
  size: bytes.length,
  bytes,
  *chunks() {
    for (let at = 0; at < bytes.length; at += CHUNK) yield bytes.subarray(at, at + CHUNK);
  },
});

const isBlob = (value) => typeof value?.arrayBuffer === "function" && typeof value.slice === "function" && typeof value.size === "number";

/** A Blob, read piece by piece */
export function blobSource(blob) {
  return {
    size: blob.size,
    blob,
    async *chunks() {
      for (let at = 0; at < blob.size; at += CHUNK) yield new Uint8Array(await blob.slice(at, at + CHUNK).arrayBuffer());
    },
  };
}

/** The pieces of a stream of bytes; null for anything else */
function piecesOf(value) {
  if (typeof value?.getReader === "function") return chunksOf(value);
  if (typeof value?.[Symbol.asyncIterator] === "function") return value;
  return null;
}

/** The source of a value, or null for one that holds no bytes */
export async function sourceOf(value, signal = null) {
  const view = viewOf(value);
  if (view !== null) return memorySource(view);
  if (isBlob(value)) return blobSource(value);
  if (value instanceof FilePath || (value instanceof URL && value.protocol === "file:")) {
    const found = await platform.fileSource(value instanceof URL ? value : value.path);
    return found.once ? gathered(found.once, signal) : found;
  }
  const pieces = typeof value === "object" && value !== null ? piecesOf(value) : null;
  return pieces && gathered(pieces, signal);
}

/** Reads a stream to its end: what is large lies on disk, so that its size is known and an upload can be repeated */
async function gathered(pieces, signal) {
  const small = [];
  let size = 0;
  let sink = null;
  try {
    for await (const piece of pieces) {
      checkAbort(signal);
      const bytes = viewOf(piece);
      if (bytes === null) throw wrongValue(`the stream yields ${describe(piece)}, not bytes`);
      size += bytes.length;
      if (sink === null && size <= IN_MEMORY) {
        small.push(bytes.slice()); // some streams use their buffer again
        continue;
      }
      if (sink === null) {
        sink = await platform.spool();
        for (const kept of small) await sink.write(kept);
      }
      await sink.write(platform.isBrowser ? bytes.slice() : bytes);
    }
    if (sink !== null) return await sink.finish();
  } catch (error) {
    await sink?.discard();
    if (error instanceof NATSBridgeError) throw error;
    throw new NATSBridgeError("handler", `the stream failed: ${error?.message ?? error}`, null, error);
  }
  return memorySource(joined(small, size));
}

/** Pieces as one */
export function joined(pieces, size) {
  if (pieces.length === 1) return viewOf(pieces[0]);
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** All bytes of a source */
export async function bytesOfSource(source) {
  if (source.bytes) return source.bytes;
  const pieces = [];
  for await (const piece of source.chunks()) pieces.push(piece);
  return joined(pieces, source.size);
}

/** The SHA-256 of a source, without holding it */
export async function digestOfSource(source) {
  if (source.bytes && source.bytes.length <= CHUNK) return platform.digest(source.bytes);
  const hash = platform.hasher("sha256");
  const breaths = new Breaths();
  for await (const chunk of source.chunks()) {
    hash.update(chunk);
    await breaths.take();
  }
  return hash.hex();
}

/** Lets other events have their turn */
const breath = () => new Promise(typeof setImmediate === "function" ? setImmediate : later);

/** A page's timers wait for some milliseconds, its messages do not */
function later(resolve) {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    resolve();
  };
  port2.postMessage(null);
}

/** Lets others have their turn where work has gone on for some milliseconds */
export class Breaths {
  constructor() {
    this.last = Date.now();
  }

  async take() {
    if (Date.now() - this.last < 8) return;
    await breath();
    this.last = Date.now();
  }
}
