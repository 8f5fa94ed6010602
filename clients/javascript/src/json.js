/** JSON both ways: the platform's own parser and writer wherever they are exact, else a strict one that says where. */

import { NATSBridgeError, shown, wrongValue } from "./errors.js";
import { MAX_DEPTH, describe, hasLoneSurrogate, jsonForm, kindOfObject } from "./values.js";

/** An exponent that may be beyond a double */
const longExponent = /\d[eE][-+]?\d{3}/;
const surrogateEscape = /\\u[dD][89a-fA-F]/;
/** Digits that a double holds in any integer */
const EXACT_DIGITS = 15;
/** Digits with which a number without a long exponent may be beyond a double, or become 0 */
const MANY_DIGITS = 200;

const isDigit = (code) => code >= 48 && code <= 57;

/** Whether text that may be JSON has an integer of 16 or more digits, or a number of very many */
function hasLongNumber(text) {
  // A run of 16 digits covers a multiple of 16, so the others need no look.
  for (let at = EXACT_DIGITS; at < text.length; at += EXACT_DIGITS + 1) {
    if (!isDigit(text.charCodeAt(at))) continue;
    let [start, end] = [at, at + 1];
    while (isDigit(text.charCodeAt(start - 1))) start -= 1;
    while (isDigit(text.charCodeAt(end))) end += 1;
    if (end - start > EXACT_DIGITS) {
      if (end - start >= MANY_DIGITS) return true;
      const isFraction = text[start - 1] === "." || ".eE".includes(text[end] ?? ",");
      if (!isFraction) return true;
      at = end;
    }
  }
  return false;
}

/** Whether the platform's parser reads this text without changing a number or taking what no reader should */
function isPlatformSafe(text) {
  return !hasLongNumber(text) && !longExponent.test(text) && !(text.includes("\\u") && surrogateEscape.test(text));
}

/** The value of strict JSON text; integers that a double can't hold are BigInt */
export function readJson(text) {
  if (isPlatformSafe(text)) {
    let value;
    try {
      value = JSON.parse(text);
    } catch {
      return new JsonReader(text, MAX_DEPTH).document().value; // it says where
    }
    if (!isDeeper(value, MAX_DEPTH) && !hasLoneSurrogate(text)) return value;
  }
  return new JsonReader(text, MAX_DEPTH).document().value;
}

/** Whether a value nests deeper than a number of levels */
export function isDeeper(value, levels) {
  if (typeof value !== "object" || value === null) return false;
  if (levels === 0) return true;
  if (Array.isArray(value)) {
    for (let at = 0; at < value.length; at += 1) {
      const item = value[at];
      if (typeof item === "object" && item !== null && isDeeper(item, levels - 1)) return true;
    }
    return false;
  }
  for (const key in value) {
    const item = value[key];
    if (typeof item === "object" && item !== null && isDeeper(item, levels - 1)) return true;
  }
  return false;
}

/** Strict JSON, read letter by letter: repeated keys and the text of members named `data` are noted */
export class JsonReader {
  constructor(text, maxDepth) {
    Object.assign(this, { text, maxDepth, at: 0, twice: new WeakMap(), rawData: new WeakMap() });
  }

  document() {
    const value = this.value(0);
    this.space();
    if (this.at < this.text.length) this.fail("text after the end");
    return { value, twice: this.twice, rawData: this.rawData };
  }

  place(at = this.at) {
    const before = this.text.slice(0, at).split("\n");
    return `line ${before.length}, column ${before[before.length - 1].length + 1}`;
  }

  fail(message, at = this.at) {
    throw new SyntaxError(`${message} at ${this.place(at)}`);
  }

  /** What a sticky pattern finds here */
  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.at += found.length;
    return found;
  }

  space() {
    for (let code; (code = this.text.charCodeAt(this.at)) === 32 || code === 10 || code === 13 || code === 9; ) this.at += 1;
  }

  value(depth) {
    this.space();
    const letter = this.text[this.at];
    if (letter === '"') return this.string();
    if (letter === "{" || letter === "[") {
      if (depth >= this.maxDepth) this.fail(`nested deeper than ${this.maxDepth} levels`);
      this.at += 1;
      return letter === "{" ? this.object(depth + 1) : this.array(depth + 1);
    }
    const start = this.at;
    const word = this.match(/true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y);
    if (word === "") this.fail("no JSON value");
    if (word === "true" || word === "false") return word === "true";
    if (word === "null") return null;
    const number = Number(word);
    if (!Number.isSafeInteger(number) && /^-?[0-9]+$/.test(word)) return this.integer(word, start);
    const lost = number === 0 && /[1-9]/.test(word.split(/[eE]/)[0]);
    if (!Number.isFinite(number) || lost) this.fail("a number that a double can't hold", start);
    return number;
  }

  integer(word, start) {
    // BigInt takes a time that grows faster than the text.
    if (word.length > 10_000) this.fail("an integer of more than 10,000 digits", start);
    return BigInt(word);
  }

  array(depth) {
    const items = [];
    this.space();
    if (this.text[this.at] === "]") this.at += 1;
    else {
      do items.push(this.value(depth));
      while (this.comma("]"));
    }
    return items;
  }

  object(depth) {
    const object = {};
    this.space();
    if (this.text[this.at] === "}") {
      this.at += 1;
      return object;
    }
    do {
      this.space();
      const place = this.at;
      if (this.text[this.at] !== '"') this.fail("no key");
      const key = this.string();
      this.space();
      if (this.text[this.at] !== ":") this.fail("no colon");
      this.at += 1;
      this.space();
      const start = this.at;
      const value = this.value(depth);
      if (Object.prototype.hasOwnProperty.call(object, key)) this.repeated(object, key, place);
      if (key === "data" && typeof value !== "string") this.rawData.set(object, this.text.slice(start, this.at));
      if (key === "__proto__") Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
      else object[key] = value;
    } while (this.comma("}"));
    return object;
  }

  /** Notes where a key first stands again; nobody reads more of them */
  repeated(object, key, place) {
    const known = this.twice.get(object) ?? new Map();
    if (!known.has(key) && known.size < 100) known.set(key, place);
    this.twice.set(object, known);
  }

  comma(end) {
    this.space();
    const letter = this.text[this.at];
    if (letter !== "," && letter !== end) this.fail(`no comma and no \`${end}\``);
    this.at += 1;
    return letter === ",";
  }

  string() {
    const start = this.at;
    this.at += 1;
    for (;;) {
      this.match(/[^"\\\u0000-\u001f]*/y);
      const letter = this.text[this.at];
      if (letter === "\\") this.at += 2;
      else if (letter === '"') break;
      else this.fail(letter === undefined ? "a string without end" : "a control character in a string");
    }
    this.at += 1;
    let value;
    try {
      value = JSON.parse(this.text.slice(start, this.at));
    } catch {
      this.fail("an escape that JSON has not", start);
    }
    if (hasLoneSurrogate(value)) this.fail("a lone surrogate", start);
    return value;
  }
}

/** JSON without white space; BigInt is an integer, holes are null, and what JSON can't hold is refused */
export function writeJson(value) {
  if (isSimple(value, MAX_DEPTH)) {
    const text = JSON.stringify(value);
    if (!text.includes("\\ud")) return text; // JSON.stringify escapes lone surrogates so
  }
  return writeValue(value);
}

/** Whether JSON.stringify writes a value as `writeValue` does */
function isSimple(value, levels) {
  return isLeaf(value) || (typeof value === "object" && areSimple(value, levels));
}

const isLeaf = (value) => {
  const kind = typeof value;
  return kind === "string" || kind === "boolean" || value === null || (kind === "number" && value - value === 0 && !Object.is(value, -0));
};

/** The same of all that an object or array holds; leaves are looked at here, as a call for each would double the time */
function areSimple(value, levels) {
  if (levels === 0) return false;
  if (Array.isArray(value)) {
    for (let at = 0; at < value.length; at += 1) {
      const item = value[at];
      if (!isLeaf(item) && (typeof item !== "object" || !areSimple(item, levels - 1))) return false;
    }
    return value.toJSON === undefined;
  }
  const parent = Object.getPrototypeOf(value);
  // A member named toJSON is a function, which is no leaf.
  if ((parent !== Object.prototype && parent !== null) || Object.getOwnPropertySymbols(value).length > 0) return false;
  for (const key in value) {
    const item = value[key];
    if (!isLeaf(item) && (typeof item !== "object" || !areSimple(item, levels - 1))) return false;
  }
  return true;
}

/** What to use in place of a value that JSON has not */
const INSTEAD = {
  undefined: "; use null", NaN: "; use null", Infinity: "; use null", "-Infinity": "; use null",
  Map: "; use Object.fromEntries(map)", Set: "; use [...set]", ArrayBuffer: "; send bytes as a payload of type binary",
};

/** JSON piece by piece, with an error that names the member; `depth` below 0 is for the conformance adapter */
export function writeValue(given, depth = 0, key = "") {
  const value = jsonForm(given, key);
  const named = key === "" ? "" : ` (${shown(key)})`;
  const wrong = (what) => wrongValue(`JSON holds no ${what}${INSTEAD[what] ?? ""}${named}`);
  switch (typeof value) {
    case "string":
      if (hasLoneSurrogate(value)) throw wrong("lone surrogate");
      return JSON.stringify(value);
    case "number":
      if (!Number.isFinite(value)) throw wrong(String(value));
      return Object.is(value, -0) ? "-0.0" : String(value);
    case "bigint":
      if (depth >= 0 && (value < -(2n ** 63n) || value >= 2n ** 64n)) throw wrong("integer beyond 64 bits; send it as text");
      return String(value);
    case "boolean":
      return String(value);
    case "object":
      break;
    default:
      throw wrong(typeof value);
  }
  if (value === null) return "null";
  if (depth >= MAX_DEPTH) throw new NATSBridgeError("too_deep", `JSON nests deeper than ${MAX_DEPTH} levels; does it refer to itself?${named}`);
  if (Array.isArray(value)) return `[${Array.from(value, (item, at) => writeValue(item ?? null, depth + 1, at)).join(",")}]`;
  if (ArrayBuffer.isView(value)) throw wrong(`${describe(value)}; send bytes as a payload of type binary`);
  if (kindOfObject(value) !== "Object") throw wrong(describe(value));
  const symbol = Object.getOwnPropertySymbols(value).find((name) => Object.prototype.propertyIsEnumerable.call(value, name));
  if (symbol !== undefined) throw wrong(`key that is a symbol: ${String(symbol)}`);
  const members = [];
  for (const name of Object.keys(value)) {
    if (value[name] !== undefined) members.push(`${writeValue(name)}:${writeValue(value[name], depth + 1, name)}`);
  }
  return `{${members.join(",")}}`;
}
