/** Node, Deno and Bun: files, node:crypto, node:http. */

import * as nodeCrypto from "node:crypto";
import { constants as fsConstants, promises as fs } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";

import { NATSBridgeError, shownText, wrongValue } from "../errors.js";
import { fileName } from "../names.js";
import { httpRequest } from "./node-http.js";
import { fetchRequest } from "./fetch.js";

const CHUNK = 256 * 1024;

export const nodePlatform = {
  isBrowser: false,
  /** A Plik up to 1.3.8 redirects other agents to a web page when it fails */
  headers: { "User-Agent": "plik_client/natsbridge-js" },
  get env() {
    return process.env;
  },
  request: (asked) => (asked.fetch && !asked.guarded ? fetchRequest(asked.fetch, asked, streamBody) : httpRequest(asked)),
  hasher(name) {
    const hash = nodeCrypto.createHash(name);
    return { update: (bytes) => void hash.update(bytes), hex: () => hash.digest("hex") };
  },
  digest: async (bytes) => nodeCrypto.createHash("sha256").update(bytes).digest("hex"),
  uuid: () => nodeCrypto.randomUUID(),
  random: (count) => new Uint8Array(nodeCrypto.randomBytes(count)),
  toBase64: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64"),
  fromBase64(text) {
    const bytes = Buffer.from(text, "base64");
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  },
  byteLength: (text) => Buffer.byteLength(text),
  encode(text) {
    const bytes = Buffer.from(text, "utf8");
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  },
  fileSource,
  spool,
  saver,
  blobClass: async () => globalThis.Blob ?? (await import("node:buffer")).Blob,
  streamClass: async () => globalThis.ReadableStream ?? (await import("node:stream/web")).ReadableStream,
  async importArrow() {
    // Names in variables: a bundler does not look for packages that are optional.
    const [arrow, zstd] = ["apache-arrow", "fzstd"];
    return {
      arrow: await import(/* webpackIgnore: true */ /* @vite-ignore */ arrow),
      zstd: await import(/* webpackIgnore: true */ /* @vite-ignore */ zstd).catch(() => null),
    };
  },
};

const streamBody = (body) => ({ body: Readable.from(body.chunks()), duplex: "half" });

/** What the system said of a path, without what it was asked */
const localFile = (what, error) => new NATSBridgeError("local_file", `${what}: ${error.code === undefined ? error.message : error.message.split(",")[0]}`, null, error);

/** The bytes of a file, read as often as they are asked for */
async function fileSource(given) {
  const path = given instanceof URL ? fileURLToPath(given) : given;
  if (typeof path !== "string") throw wrongValue("a path is a string");
  let stat;
  try {
    stat = await fs.stat(path);
  } catch (error) {
    throw unread(path, error);
  }
  if (stat.isDirectory()) throw new NATSBridgeError("local_file", `${shownPath(path)} is a folder, not a file`);
  // A pipe or a device has no size, and can be read once.
  if (!stat.isFile()) return { once: readFile(await openToRead(path)) };
  return { size: stat.size, chunks: () => openAndRead(path, stat.size) };
}

const shownPath = (path) => `\`${shownText(path, 300)}\``;
const unread = (path, error) => localFile(`${shownPath(path)} can't be read`, error);

const openToRead = (path) => fs.open(path, "r").catch((error) => {
  throw unread(path, error);
});

async function* openAndRead(path, size) {
  const handle = await openToRead(path);
  let total = 0;
  for await (const chunk of readFile(handle)) {
    total += chunk.length;
    if (total > size) break;
    yield chunk;
  }
  if (total !== size) throw new NATSBridgeError("local_file", "the file changed while it was read");
}

/** The bytes of an open file from its beginning; closes it. Buffers are not used again, as their reader may keep them */
async function* readFile(handle) {
  try {
    for (;;) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafeSlow(CHUNK), 0, CHUNK, null);
      if (bytesRead === 0) return;
      yield new Uint8Array(buffer.buffer, buffer.byteOffset, bytesRead);
    }
  } finally {
    await handle.close().catch(() => {});
  }
}

/** Writes pieces to an open file; `restart` begins anew */
function writer(handle) {
  let at = 0;
  return {
    get size() {
      return at;
    },
    async write(bytes) {
      for (let done = 0; done < bytes.length; ) {
        let written;
        try {
          ({ bytesWritten: written } = await handle.write(bytes, done, bytes.length - done, at));
        } catch (error) {
          throw localFile("the file can't be written", error);
        }
        done += written;
        at += written;
      }
    },
    async restart() {
      at = 0;
      await handle.truncate(0);
    },
  };
}

/** A file in the system's temporary folder that has no name, for what is too large for memory */
async function spool() {
  const path = join(tmpdir(), `natsbridge-${nodeCrypto.randomBytes(12).toString("hex")}`);
  let handle;
  try {
    handle = await fs.open(path, "wx+", 0o600);
  } catch (error) {
    throw localFile("the temporary file can't be made", error);
  }
  // Where an open file can't lose its name, it loses it when it is closed.
  let named = false;
  await fs.unlink(path).catch(() => (named = true));
  const close = async () => {
    await handle.close().catch(() => {});
    if (named) await fs.unlink(path).catch(() => {});
  };
  const sink = writer(handle);
  return {
    write: sink.write,
    restart: sink.restart,
    discard: close,
    finish: () => ({
      size: sink.size,
      release: close,
      async *chunks() {
        for (let at = 0; at < sink.size; ) {
          const wanted = Math.min(CHUNK, sink.size - at);
          const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafeSlow(wanted), 0, wanted, at);
          if (bytesRead === 0) throw new NATSBridgeError("local_file", "the temporary file lost its end");
          at += bytesRead;
          yield new Uint8Array(buffer.buffer, buffer.byteOffset, bytesRead);
        }
      },
    }),
  };
}

/** A file that has its name when it is whole: in a folder the payload's own name made safe, else the path as given */
async function saver(path, dataname, type) {
  if (path instanceof URL) path = fileURLToPath(path);
  if (typeof path !== "string" || path === "") throw wrongValue("`save` is given the path of a file or folder");
  const isFolder = /[/\\]$/.test(path) || (await fs.stat(path).then((stat) => stat.isDirectory(), () => false));
  const folder = isFolder ? path : dirname(path);
  const part = join(folder, `.natsbridge-${nodeCrypto.randomBytes(8).toString("hex")}.part`);
  let handle;
  try {
    if (isFolder) await fs.mkdir(folder, { recursive: true });
    handle = await fs.open(part, "wx");
  } catch (error) {
    throw localFile(`can't write into the folder ${shownPath(folder)}`, error);
  }
  const sink = writer(handle);
  const discard = async () => {
    await handle.close().catch(() => {});
    await fs.unlink(part).catch(() => {});
  };
  return {
    write: sink.write,
    restart: sink.restart,
    discard,
    async finish() {
      try {
        await handle.datasync();
        await handle.close();
        if (!isFolder) {
          await fs.rename(part, path);
          return path;
        }
        return await place(part, folder, dataname, type);
      } catch (error) {
        await discard();
        throw localFile("the file can't be saved", error);
      }
    },
  };
}

/** Gives a whole file a name that nothing has: `film.mp4`, `film (2).mp4` and so on */
async function place(part, folder, dataname, type) {
  const { stem, extension } = fileName(dataname, type);
  for (let number = 1; number <= 40; number += 1) {
    const suffix = number === 1 ? "" : ` (${number <= 20 ? number : nodeCrypto.randomBytes(8).toString("hex")})`;
    const path = join(folder, `${stem}${suffix}${extension}`);
    try {
      await fs.link(part, path);
      await fs.unlink(part);
      return path;
    } catch (error) {
      if (error.code === "EEXIST") continue;
      if (!["EPERM", "ENOTSUP", "ENOSYS", "EOPNOTSUPP", "EMLINK"].includes(error.code)) throw error;
      // A file system without links: the name is taken first, so that nothing is overwritten.
      const taken = await fs.open(path, fsConstants.O_CREAT | fsConstants.O_EXCL | fsConstants.O_WRONLY).then((file) => file.close().then(() => true), () => false);
      if (!taken) continue;
      await fs.rename(part, path);
      return path;
    }
  }
  throw new NATSBridgeError("local_file", "no free name was found for it; clear the folder");
}
