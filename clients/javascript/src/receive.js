/** Receiving: the message's payloads, each read when it is asked for, checked before it is handed out. */

import { platform } from "./platform.js";
import { NATSBridgeError, asError, fenced, ofMessage, wrongValue } from "./errors.js";
import { checkOrigins } from "./addresses.js";
import { readEnvelope } from "./envelope.js";
import { fetchLink, memorySink } from "./links.js";
import { log, received } from "./log.js";
import { deserialise } from "./payloads.js";
import { Timeout, inParallel } from "./retry.js";
import { receiveSettings } from "./settings.js";
import { digestOfSource, memorySource, sourceOf } from "./sources.js";
import { describe, parseTimestamp } from "./values.js";

/** Bytes of links for which a message gets one more second */
const BYTES_PER_SECOND = 1_000_000;

/** Reads a message and all its payloads; resolves to the envelope with `payloads` as `[dataname, data, type]` */
export async function smartreceive(message, options = {}) {
  const opened = open(message, receiveSettings(options));
  return Object.assign(opened.envelope, { payloads: await opened.triples() });
}

/** Reads a message and leaves its links where they are until they are asked for */
export async function openMessage(message, options = {}) {
  return open(message, receiveSettings(options));
}

/** The same with settings that are complete; `make` makes what is handed out */
export function open(message, settings, make = (...read) => new Opened(...read)) {
  try {
    checkOrigins(settings);
    const { envelope, payloads } = readEnvelope(message);
    const opened = make(envelope, payloads, settings);
    received(envelope, payloads);
    for (const { body, size, dataname } of payloads) {
      if (body !== null && size > 0 && size !== body.length) log("warn", "a direct payload has another size than stated", { msg_id: envelope.msg_id, dataname, size });
    }
    return opened;
  } catch (error) {
    const { envelope } = error;
    const found = asError(error, "not_json", "the message is not an envelope");
    throw envelope ? ofMessage(found, envelope) : found;
  }
}

/** A message that was read: its fields, and its payloads */
export class Opened {
  #settings;

  constructor(envelope, payloads, settings) {
    this.envelope = envelope;
    const time = new LoadingTime(settings.message_timeout);
    this.payloads = payloads.map((payload) => new Payload(payload, envelope, settings, time));
    this.#settings = settings;
  }

  /** The first payload of a name */
  payload(dataname) {
    const found = this.payloads.find((payload) => payload.dataname === dataname);
    if (found) return found;
    const names = this.payloads.slice(0, 16).map((payload) => `\`${payload.dataname.slice(0, 80)}\``).join(", ") || "none";
    throw ofMessage(new NATSBridgeError("no_such_payload", `there is no such payload; there are: ${names}`, String(dataname)), this.envelope);
  }

  /** The value of the first payload of a name */
  async get(dataname) {
    return this.payload(dataname).value();
  }

  /** All payloads' values, several links at a time */
  triples() {
    const limit = this.payloads.some(({ transport }) => transport === "link") ? this.#settings.transfers : 1;
    return inParallel(this.payloads, limit, async (payload) => [payload.dataname, await payload.value(), payload.payload_type]);
  }
}

/** The time that the links of one message may take together; it runs while one of them loads */
class LoadingTime {
  constructor(limit) {
    Object.assign(this, { limit, used: 0, loading: 0, since: 0 });
  }

  /** Runs `work` with a signal that ends when the message's time is over */
  async load(signal, size, work) {
    this.limit += Math.floor(size / BYTES_PER_SECOND) * 1000;
    if (this.loading === 0) this.since = Date.now();
    this.loading += 1;
    const left = this.limit - this.used - (Date.now() - this.since);
    const time = new Timeout(signal, Math.max(0, left), () => new NATSBridgeError("timeout", `the links of the message were not all loaded within ${Math.round(this.limit / 1000)} s`));
    try {
      return await work(time.signal);
    } finally {
      time.end();
      this.loading -= 1;
      if (this.loading === 0) this.used += Date.now() - this.since;
    }
  }
}

/** One payload: its name and type, and its bytes or value when they are asked for */
export class Payload {
  #raw;
  #envelope;
  #settings;
  #time;
  #whole = null;

  constructor(raw, envelope, settings, time) {
    this.#raw = raw;
    this.#envelope = envelope;
    this.#settings = settings;
    this.#time = time;
    this.dataname = raw.dataname;
    this.payload_type = raw.payload_type;
    this.transport = raw.transport;
    this.size = raw.body === null ? raw.size : raw.body.length;
    this.metadata = raw.metadata;
  }

  get payloadType() {
    return this.payload_type;
  }

  /** What is wrong with this payload, named */
  #fenced(what, work) {
    const { dataname } = this;
    return fenced("undecodable", what, dataname, work).catch((error) => {
      throw ofMessage(error, this.#envelope);
    });
  }

  /** The value as its type says: string, JSON value, table, rows, bytes */
  value() {
    const { payload_type } = this;
    return this.#fenced(`it is not a readable ${payload_type}`, async () => deserialise(await this.#bytes(), payload_type));
  }

  /** The serialised bytes, in memory */
  bytes() {
    return this.#fenced("it can't be read", () => this.#bytes());
  }

  async text() {
    return new TextDecoder().decode(await this.bytes());
  }

  /** The bytes as a Blob */
  blob(type = "application/octet-stream") {
    return this.#fenced("it can't be read", async () => {
      const Blob = await platform.blobClass();
      if (platform.isBrowser && this.#isLink()) return (await this.#spooled()).blob.slice(0, undefined, type);
      return new Blob([await this.#bytes()], { type });
    });
  }

  /** The bytes as a web stream; nothing of it comes before size and digest were checked */
  stream() {
    return this.#fenced("it can't be read", async () => {
      const source = this.#isLink() && !this.#whole ? await this.#spooled() : memorySource(await this.#bytes());
      const ReadableStream = await platform.streamClass();
      const chunks = source.chunks()[source.bytes ? Symbol.iterator : Symbol.asyncIterator]();
      const end = async () => {
        await chunks.return?.();
        await source.release?.();
      };
      const next = async () => chunks.next();
      return new ReadableStream({
        async pull(controller) {
          const { done, value } = await next().catch((error) => end().then(() => Promise.reject(error)));
          if (!done) return controller.enqueue(value);
          await end();
          return controller.close();
        },
        cancel: end,
      }, { highWaterMark: 1 });
    });
  }

  /** Writes the bytes to a file, or under a safe name into a folder; a page offers them as a download. Resolves to the path */
  save(path) {
    return this.#fenced("it can't be saved", async () => this.#into(await platform.saver(path, this.dataname, this.payload_type)));
  }

  #isLink() {
    return this.#raw.body === null;
  }

  /** The digest in the metadata, or null */
  #stated() {
    const stated = this.metadata.sha256 ?? null;
    if (stated === null) return null;
    if (typeof stated === "string" && /^[0-9a-fA-F]{64}$/.test(stated)) return stated.toLowerCase();
    throw new NATSBridgeError("digest", "its sha256 is no digest");
  }

  #bytes() {
    this.#whole ??= this.#read().catch((error) => {
      this.#whole = null;
      throw error;
    });
    return this.#whole;
  }

  async #read() {
    if (this.#isLink()) return this.#into(memorySink(), this.#settings.max_memory_size);
    await this.#checkDirect();
    return this.#raw.body;
  }

  async #checkDirect() {
    const { strict, max_payload_size } = this.#settings;
    const { body, size } = this.#raw;
    const stated = this.#stated();
    if (body.length > max_payload_size) throw new NATSBridgeError("too_large", `it is larger than this receiver takes, ${max_payload_size} bytes`);
    if (strict && size && size !== body.length) throw new NATSBridgeError("size_mismatch", `it has ${body.length} bytes instead of ${size}`);
    if (stated !== null && (await digestOfSource(memorySource(body))) !== stated) throw new NATSBridgeError("digest", "it holds other bytes than were sent");
  }

  #spooled() {
    return platform.spool().then((sink) => this.#into(sink));
  }

  /** The whole payload in a sink, checked; what is not whole leaves nothing */
  async #into(sink, most = Infinity) {
    try {
      if (this.#isLink()) await this.#download(sink, Math.min(most, this.#settings.max_payload_size));
      else {
        await this.#checkDirect();
        for (const chunk of memorySource(this.#raw.body).chunks()) await sink.write(chunk);
      }
    } catch (error) {
      await sink.discard();
      throw error;
    }
    return sink.finish();
  }

  async #download(sink, limit) {
    const { strict, max_payload_size, signal, fileserver_download_handler, ...settings } = this.#settings;
    const { size, data: url, metadata } = this.#raw;
    const { dataname } = this;
    const sha256 = this.#stated();
    const tooLarge = () => new NATSBridgeError("too_large", `it is larger than this receiver takes, ${limit} bytes`);
    if (size > limit) throw tooLarge();
    if (strict && sha256 === null) throw new NATSBridgeError("digest_missing", "it is a link without sha256");
    const expires_at = typeof metadata.expires_at === "string" ? parseTimestamp(metadata.expires_at) : null;
    const link = { ...settings, url, dataname, size, limit: size || limit, one_shot: metadata.one_shot === true, expires_at };
    await this.#time.load(signal, size, async (until) => {
      if (fileserver_download_handler === null) return fetchLink({ ...link, sha256, signal: until }, sink);
      return this.#handled({ ...link, signal: until }, { sink, sha256, tooLarge, limit });
    });
  }

  /** What the caller's own handler answers, checked as a download is */
  async #handled(link, { sink, sha256, tooLarge, limit }) {
    const source = await fenced("handler", "the download failed", link.dataname, async () => {
      const answer = await this.#settings.fileserver_download_handler(link);
      const found = await sourceOf(answer);
      if (found === null) throw new TypeError(`a download handler resolves to bytes, not to ${describe(answer)}`);
      return found;
    });
    try {
      if (link.size && source.size !== link.size) throw new NATSBridgeError("size_mismatch", `the link holds ${source.size} bytes instead of ${link.size}`);
      if (source.size > limit) throw tooLarge();
      if (sha256 !== null && (await digestOfSource(source)) !== sha256) throw new NATSBridgeError("digest", "it holds other bytes than were sent");
      for await (const chunk of source.chunks()) await sink.write(chunk);
    } finally {
      await source.release?.();
    }
  }
}

/** Refuses what is no message of this library */
export function checkOpened(message) {
  if (typeof message?.envelope?.msg_id === "string" || typeof message?.msg_id === "string") return message.envelope ?? message;
  throw wrongValue(`it is not a received message but ${describe(message)}`);
}
