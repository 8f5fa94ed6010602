/** What the conformance adapters of Node and the browser share (docs/peers.md); whoever runs it brings NATS and the lines. */

import { NATSBridgeError, discard, fetchWithBackoff, parseTimestamp, smartreceive, smartsend } from "../../../clients/javascript/src/index.js";
import { arrowLibrary } from "../../../clients/javascript/src/arrow/library.js";
import { readEnvelope } from "../../../clients/javascript/src/envelope.js";
import { JsonReader, writeValue } from "../../../clients/javascript/src/json.js";
import { platform } from "../../../clients/javascript/src/platform.js";
import { joined } from "../../../clients/javascript/src/sources.js";
import { BYTES_TYPES } from "../../../clients/javascript/src/values.js";
import { tableOf, valueOf } from "./tables.mjs";

const sha256 = (bytes) => platform.digest(bytes);
const LONGEST = 4096;

/** A line of JSON, in which integers are exact */
export const readLine = (line) => new JsonReader(line, 1000).document().value;
export const writeLine = (answer) => writeValue(answer, -1000);

/** Runs vectors and obeys orders; `blob(sha256)` resolves to the bytes of that name */
export class Conformance {
  constructor(blob) {
    this.blob = blob;
  }

  /** The bytes of `base64`, `blob`, `repeat` or `text` */
  async bytesOf(value) {
    if (value.base64 !== undefined) return platform.fromBase64(value.base64);
    if (value.blob !== undefined) return this.blob(value.blob);
    if (value.repeat !== undefined) return new Uint8Array(value.repeat.count).fill(value.repeat.byte);
    return platform.encode(value.text);
  }

  /** What smartsend is given for a part */
  async dataOf({ type, value }) {
    if (value.table !== undefined) return tableOf(value.table);
    if (value.json !== undefined) return value.json;
    if (value.text !== undefined) return value.text;
    const body = await this.bytesOf(value);
    if (BYTES_TYPES.includes(type)) return body;
    if (type === "arrowtable") return (await arrowLibrary()).tableFromIPC(body);
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(body);
    return type === "text" ? text : readLine(text);
  }

  async partsOf(given) {
    return Promise.all(given.map(async (part) => [part.name, await this.dataOf(part), part.type]));
  }

  async valueOf(data, type) {
    if (type === "text") return { text: data };
    if (type === "arrowtable") return { table: await valueOf(data) };
    if (!BYTES_TYPES.includes(type)) return { json: data };
    return data.length <= LONGEST ? { base64: platform.toBase64(data) } : { sha256: await sha256(data), size: data.length };
  }

  /** The answer to one vector */
  async vector(vector) {
    try {
      const kinds = { receive: "receiveVector", send: "sendVector", damaged: "damagedVector" };
      return { name: vector.name, ...(await this[kinds[vector.kind]](vector)) };
    } catch (error) {
      if (!(error instanceof NATSBridgeError)) return { name: vector.name, error: `crashed: ${error.stack}` };
      const lacking = error.code === "unsupported" && (vector.kind === "receive" || error.reason.startsWith("arrowtable needs"));
      return { name: vector.name, ...(lacking ? { skip: error.reason } : failed(error)) };
    }
  }

  /** A message that may be anything: what is asked is that nothing but the library's error comes of it */
  async damagedVector(vector) {
    const links = vector.links ?? {};
    const fileserver_download_handler = async (link) =>
      Object.prototype.hasOwnProperty.call(links, link.url) ? this.bytesOf(links[link.url]) : fetchWithBackoff(link);
    const received = await smartreceive(await this.messageOf(vector), { fileserver_download_handler, max_retries: 0, ...vector.given });
    return { read: received.payloads.length };
  }

  async messageOf(vector) {
    if (vector.envelope !== undefined) return writeLine(vector.envelope);
    if (vector.envelope_base64 !== undefined) return platform.fromBase64(vector.envelope_base64);
    const pieces = await Promise.all(vector.envelope_pieces.map((piece) => (typeof piece === "string" ? platform.encode(piece) : this.bytesOf(piece))));
    return joined(pieces, pieces.reduce((size, piece) => size + piece.length, 0));
  }

  async receiveVector(vector) {
    const message = await this.messageOf(vector);
    const links = vector.links ?? {};
    const fileserver_download_handler = async ({ url, dataname }) => {
      if (links[url] === undefined) throw new NATSBridgeError("not_found", "the vector has no such link", dataname);
      return this.bytesOf(links[url]);
    };
    const { payloads, ...fields } = await smartreceive(message, { fileserver_download_handler, ...vector.given });
    const raw = readEnvelope(message).payloads;
    const parts = payloads.map(async ([name, data, type], index) => ({ name, type, transport: raw[index].transport, value: await this.valueOf(data, type) }));
    return { expect: { subject: fields.send_to, parts: await Promise.all(parts), fields } };
  }

  async sendVector({ given }) {
    const ids = [...(given.ids ?? [])];
    const urls = [...(given.uploads ?? [])];
    const options = { ...given.options, ...given.limits };
    const [envelope, json] = await smartsend(given.subject, await this.partsOf(given.parts), {
      ...options,
      fileserver_upload_handler: async () => urls.shift(),
      new_id: () => ids.shift(),
      now: () => parseTimestamp(given.timestamp),
    });
    return { expect: { envelope: readLine(json), transports: envelope.payloads.map(({ transport }) => transport) } };
  }
}

const failed = (error) => (error.dataname === null ? { error: error.code } : { error: error.code, dataname: error.dataname });

/** One program in the matrix: obeys the runner's orders, and answers the other programs' messages */
export class Live extends Conformance {
  constructor(blob, say, broker, inbox, options) {
    super(blob);
    Object.assign(this, { say, broker, inbox, files: options.files });
    this.options = {
      broker_url: options.nats, fileserver_url: options.files, sender_name: options.name, max_message_size: broker.info.max_payload,
    };
  }

  async publish(subject, parts, options) {
    const [envelope, json] = await smartsend(subject, parts, { ...this.options, ...options });
    try {
      this.broker.publish(subject, platform.encode(json));
      await this.broker.flush();
    } catch (error) {
      await discard(envelope);
      throw error;
    }
    return envelope;
  }

  /** A message and its parts as the runner wants to see them */
  async read(message) {
    const fetched = new Map();
    const fileserver_download_handler = async (link) => {
      const body = await fetchWithBackoff(link);
      fetched.set(link.url, body);
      return body;
    };
    const received = await smartreceive(message.data, { fileserver_download_handler, allowed_origins: [this.files] });
    const raw = readEnvelope(message.data).payloads;
    const parts = await Promise.all(
      received.payloads.map(async ([name, data, type], index) => {
        const { transport, body: inside, data: url } = raw[index];
        const body = inside ?? fetched.get(url);
        return { name, type, transport, size: body.length, sha256: await sha256(body), value: await this.valueOf(data, type) };
      }),
    );
    return { received, parts };
  }

  async arrived(message) {
    let shown;
    try {
      const { received, parts } = await this.read(message);
      if (received.reply_to && received.msg_purpose === "chat") await this.answer(received);
      shown = { msg_id: received.msg_id, subject: received.send_to, parts };
    } catch (error) {
      let msg_id = null;
      try {
        msg_id = JSON.parse(new TextDecoder().decode(message.data)).msg_id ?? null;
      } catch {
        // What is not JSON has no msg_id.
      }
      shown = { msg_id, ...(error instanceof NATSBridgeError ? failed(error) : { error: `crashed: ${error.stack}` }) };
    }
    this.say({ received: shown });
  }

  async answer({ payloads, correlation_id, msg_id, reply_to }) {
    const flow = { correlation_id, reply_to_msg_id: msg_id };
    if (payloads[0]?.[0] === "ask-ack") await this.publish(reply_to, [], { ...flow, msg_purpose: "ACK" });
    else await this.publish(reply_to, payloads, flow);
  }

  async send({ to, parts, options }) {
    const { msg_id, payloads } = await this.publish(to, await this.partsOf(parts), options);
    return { msg_id, transports: payloads.map(({ transport }) => transport) };
  }

  async request({ to, parts, options }) {
    const reply_to = this.inbox();
    const messages = this.broker.subscribe(reply_to);
    const late = setTimeout(() => messages.unsubscribe(), 10_000);
    try {
      const sent = await this.publish(to, await this.partsOf(parts), { ...options, reply_to });
      for await (const message of messages) {
        const { received, parts: answered } = await this.read(message);
        const { msg_purpose: purpose, reply_to_msg_id, correlation_id } = received;
        if (reply_to_msg_id === sent.msg_id) return { answer: { purpose, reply_to_msg_id, correlation_id, parts: answered } };
      }
      throw new NATSBridgeError("timeout", "no answer within 10 s");
    } finally {
      clearTimeout(late);
      messages.unsubscribe();
    }
  }

  async obey(order) {
    let result;
    try {
      result = await (order.do === "send" ? this.send(order) : this.request(order));
    } catch (error) {
      result = error instanceof NATSBridgeError ? failed(error) : { error: `crashed: ${error.stack}` };
    }
    this.say({ done: order.id, ...result });
  }

  /** Listens on the program's subject */
  async listen(name) {
    this.broker.subscribe(`conform.${name}`, { callback: (error, message) => error ?? this.arrived(message) });
    await this.broker.flush();
    this.say({ ready: true });
  }
}
