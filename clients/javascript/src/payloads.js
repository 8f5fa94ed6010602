/** A payload's value to bytes and back, for each of the eight types. */

import { platform } from "./platform.js";
import { NATSBridgeError, shownText, wrongValue } from "./errors.js";
import { readJson, writeJson } from "./json.js";
import { BYTES_TYPES, describe, fromUtf8, hasLoneSurrogate, isRow, jsonForm } from "./values.js";
import { arrowBytes, arrowLibrary, arrowTable, asTable } from "./arrow/library.js";
import { rowsOfTable } from "./arrow/plain.js";
import { memorySource, sourceOf } from "./sources.js";

/** What a payload of a type may be, for errors */
const TAKEN = {
  text: "a string",
  jsontable: "an array of objects, one for each row",
  arrowtable: "an Arrow table, or an array of objects, one for each row",
  bytes: "bytes: a Uint8Array or other buffer, a Blob, file(path) or a stream",
};

/** The source of a value's bytes */
export async function serialise(value, type, signal) {
  const wrong = (found = `was given ${describe(value)}`) => wrongValue(`a payload of type ${type} holds ${TAKEN[type] ?? TAKEN.bytes}, but ${found}`);
  if (BYTES_TYPES.includes(type)) {
    const source = await sourceOf(value, signal);
    if (source === null) throw wrong();
    return source;
  }
  if (type === "text") {
    if (typeof value !== "string") throw wrong();
    if (hasLoneSurrogate(value)) throw wrongValue("the text has a lone surrogate");
    return memorySource(platform.encode(value));
  }
  if (type === "arrowtable") return memorySource(await arrowBytes(value, wrong));
  let json = value;
  if (type === "jsontable") {
    if (Array.isArray(value)) json = Array.from(value, jsonForm);
    else {
      if (typeof value?.schema !== "object") throw wrong();
      const arrow = await arrowLibrary();
      json = rowsOfTable(arrow, asTable(arrow, value, wrong));
    }
    const odd = json.findIndex((row) => !isRow(row));
    if (odd >= 0) throw wrong(`row ${odd} is ${describe(json[odd])}`);
  }
  return memorySource(platform.encode(writeJson(json)));
}

/** The value of bytes */
export async function deserialise(body, type) {
  if (BYTES_TYPES.includes(type)) return body;
  if (type === "arrowtable") return arrowTable(body);
  try {
    const text = fromUtf8(body);
    if (type === "text") return text;
    const value = readJson(text);
    if (type === "dictionary" || (Array.isArray(value) && value.every(isRow))) return value;
  } catch (error) {
    throw new NATSBridgeError("undecodable", `it is not ${type === "text" ? "UTF-8" : "JSON"}: ${shownText(error.message, 200)}`, null, error);
  }
  throw new NATSBridgeError("undecodable", "a jsontable is an array of objects, one for each row");
}
