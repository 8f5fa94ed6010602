/** The stated rule for JavaScript's values: which are kept, which become what JSON.stringify writes, which are refused. */

import { platform } from "./platform.js";
import { NATSBridgeError, shown, wrongValue } from "./errors.js";

const MAX_SUBJECT = 2_000;

export const BYTES_TYPES = ["image", "audio", "video", "binary"];
export const PAYLOAD_TYPES = ["text", "dictionary", "arrowtable", "jsontable", ...BYTES_TYPES];
export const MAX_DEPTH = 127;

/** The name of a value's kind, for errors */
export function describe(value) {
  if (value === null) return "null";
  if (typeof value?.then === "function") return "Promise; await it first";
  const name = value?.constructor?.name;
  return typeof name === "string" && name !== "" ? name : typeof value;
}

const surrogate = /[\ud800-\udfff]/;
const lone = /\p{Surrogate}/u;

/** Whether text has half of a surrogate pair, which UTF-8 can't say */
export const hasLoneSurrogate = (text) => surrogate.test(text) && lone.test(text);

/** `Object` for a plain object or an instance of a class, else the word for what it is: `Map`, `RegExp`, `Promise` */
export const kindOfObject = (value) => Object.prototype.toString.call(value).slice(8, -1);

/** Whether an object is made of its own members only, also where it comes from another page or context */
export function isPlain(value) {
  const parent = Object.getPrototypeOf(value);
  return parent === Object.prototype || parent === null || (kindOfObject(value) === "Object" && Object.getPrototypeOf(parent) === null);
}

export const isRow = (row) => typeof row === "object" && row !== null && !Array.isArray(row);

/** A value's own member: `constructor` and `__proto__` are none unless the caller wrote them */
export const ownMember = (object, name) => (Object.prototype.hasOwnProperty.call(object, name) ? object[name] : null);

/** The bytes of what holds bytes in a table; null for anything else */
export function bytesOf(value) {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  const holds = value instanceof Uint8Array || value instanceof Uint8ClampedArray || value instanceof DataView;
  return holds ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : null;
}

/** The bytes of any buffer or view, never as a Buffer, whose `slice` copies nothing; null for anything else */
export function viewOf(value) {
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  const tag = typeof value === "object" && value !== null ? kindOfObject(value) : "";
  return tag === "ArrayBuffer" || tag === "SharedArrayBuffer" ? new Uint8Array(value) : null;
}

/** What JSON.stringify would write: the answer of `toJSON`, the value in a box */
export function jsonForm(value, key = "") {
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Date && Number.isNaN(value.getTime())) throw wrongValue(`JSON holds no invalid Date${key === "" ? "" : ` (${shown(key)})`}`);
  if (typeof value.toJSON === "function" && !ArrayBuffer.isView(value)) return value.toJSON(String(key));
  return ["Number", "String", "Boolean", "BigInt"].includes(kindOfObject(value)) ? value.valueOf() : value;
}

/** A value as a table takes it: dates and bytes as they are, else the answer of `toJSON` where there is one */
export function tableForm(value) {
  if (typeof value !== "object" || value === null || value instanceof Date || bytesOf(value)) return value;
  return typeof value.toJSON === "function" ? value.toJSON("") : value;
}

/** Checks what every receiver reads as text */
export function checkText(name, value, dataname = null) {
  if (typeof value !== "string") throw wrongValue(`\`${name}\` is not a string but ${describe(value)}`, dataname);
  if (hasLoneSurrogate(value)) throw wrongValue(`\`${name}\` has a lone surrogate`, dataname);
}

const plainSubject = /^[\w-]+(?:\.[\w-]+)*$/;

/** Checks a subject to publish to: tokens between dots, none of them empty or a wildcard */
export function checkSubject(name, value) {
  checkText(name, value);
  if (value.length <= MAX_SUBJECT / 4 && plainSubject.test(value)) return;
  const tokens = value.split(".");
  if (tokens.some((token) => token === "" || token === "*" || token === ">") || platform.byteLength(value) > MAX_SUBJECT) {
    throw wrongValue(`\`${name}\` is no subject to publish to: ${shown(value)}; ${WORDS}`);
  }
  checkSpaces(name, value, WORDS);
}

const WORDS = "use words with dots between them, such as lab.results";

function checkSpaces(name, value, advice) {
  if (/[\p{White_Space}\p{Cc}]/u.test(value)) throw wrongValue(`\`${name}\` has white space or control characters: ${shown(value)}; ${advice}`);
}

/** Checks a subject to subscribe to: `*` stands for one word, `>` for all that follow */
export function checkFilter(name, value) {
  checkText(name, value);
  const tokens = value.split(".");
  const advice = `${WORDS}, lab.* or lab.>`;
  if (tokens.includes("") || tokens.slice(0, -1).includes(">")) throw wrongValue(`\`${name}\` is no subject to subscribe to: ${shown(value)}; ${advice}`);
  checkSpaces(name, value, advice);
}

/** Checks the name of a queue group; empty for none */
export function checkQueue(name, value) {
  checkText(name, value);
  checkSpaces(name, value, "use one word, such as workers");
}

/** An ISO 8601 time with any offset, `Z` or none (then it is UTC), to the millisecond; null for anything else */
export function parseTimestamp(text) {
  const pattern = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{0,9}))?(?:[Zz]|([+-]\d\d):?(\d\d)?)?$/;
  const [, date, time, fraction = "", hours = "+00", minutes = "00"] = pattern.exec(String(text).trim()) ?? [];
  const moment = new Date(`${date}T${time}.${fraction.padEnd(3, "0").slice(0, 3)}${hours}:${minutes}`);
  return Number.isNaN(moment.getTime()) ? null : moment;
}

/** UTF-8 that is valid, as text */
export const fromUtf8 = (bytes) => strict.decode(bytes);
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The beginning of a server's answer, as text; damaged bytes are replaced */
export const lossyUtf8 = (bytes) => new TextDecoder().decode(bytes);

/** A number of the options; NaN and other kinds are refused by name */
export function checkNumber(name, value, least = 0) {
  if (typeof value === "number" && value >= least) return;
  throw wrongValue(`\`${name}\` is a number of at least ${least}, not ${typeof value === "number" ? value : describe(value)}`);
}

export function checkFunction(name, value) {
  if (typeof value !== "function") throw wrongValue(`\`${name}\` is not a function but ${describe(value)}`);
}

export function checkBoolean(name, value) {
  if (typeof value !== "boolean") throw wrongValue(`\`${name}\` is true or false, not ${describe(value)}`);
}

/** Refuses a payload type that does not exist */
export function checkType(type) {
  if (PAYLOAD_TYPES.includes(type)) return;
  const known = `${PAYLOAD_TYPES.slice(0, -1).join(", ")} or ${PAYLOAD_TYPES[PAYLOAD_TYPES.length - 1]}`;
  throw new NATSBridgeError("unknown_payload_type", `unknown payload_type ${shown(typeof type === "string" ? type : describe(type))}; it is ${known}`);
}
