/** File names from payloads' names: never a path, never hidden, never a device, never too long. */

import { platform } from "./platform.js";

const MAX_NAME = 200;
const EXTENSIONS = { text: ".txt", dictionary: ".json", jsontable: ".json", arrowtable: ".arrow" };

/** Stem and extension of a safe file name; a name without an extension gets the one that fits the type */
export function fileName(dataname, type) {
  const last = dataname.split(/[/\\]/).pop();
  const clean = last.replace(/[\p{C}\p{Zl}\p{Zp}\u200b-\u200f\u2060-\u2069<>:"|?*]/gu, "_").replace(/^[.\s]+|[.\s]+$/g, "");
  const dot = clean.lastIndexOf(".");
  const own = dot >= 0 && clean.length - dot >= 2 && platform.byteLength(clean.slice(dot)) <= 16;
  const extension = own ? clean.slice(dot) : EXTENSIONS[type] ?? "";
  let stem = cut(own ? clean.slice(0, dot) : clean).replace(/[.\s]+$/, "");
  if (stem === "") stem = "payload";
  else if (stem.startsWith("-")) stem = `_${stem}`; // a command would take it for an option
  else if (isDevice(stem)) stem += "_";
  return { stem, extension };
}

/** Names that are devices on Windows, with any extension */
const isDevice = (stem) => /^(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])$/i.test(stem.split(".")[0].trimEnd());

/** At most as many bytes as file systems take, ending with a whole character */
function cut(text) {
  let kept = "";
  let length = 0;
  for (const letter of text) {
    length += platform.byteLength(letter);
    if (length > MAX_NAME) break;
    kept += letter;
  }
  return kept;
}
