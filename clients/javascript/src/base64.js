/** Base64: strictly first, then without padding, in the URL-safe alphabet, with white space. */

import { platform } from "./platform.js";
import { NATSBridgeError } from "./errors.js";

/** The bytes of base64 in any form that receivers take */
export function fromBase64(text, dataname) {
  const bytes = strictBase64(text);
  if (bytes !== null) return bytes;
  const plain = text.replace(/[ \t\r\n]/g, "").replace(/-/g, "+").replace(/_/g, "/");
  const core = plain.replace(/=+$/, "");
  const missing = (4 - (core.length % 4)) % 4;
  if (missing !== 3 && plain.length - core.length <= missing) {
    const found = strictBase64(core + "=".repeat(missing));
    if (found !== null) return found;
  }
  throw new NATSBridgeError("base64", "its data is not base64", dataname);
}

/** The bytes of text that is base64 as senders write it, else null: it is what the bytes become again */
export function strictBase64(text) {
  if (text.length % 4 !== 0) return null;
  let bytes;
  try {
    bytes = platform.fromBase64(text);
  } catch {
    return null;
  }
  return platform.toBase64(bytes) === text ? bytes : null;
}
