/** The one error of the library, and what makes strangers' text harmless before it is part of one. */

const BRAND = Symbol.for("natsbridge.error");
/** Errors after which the same call may succeed */
const TEMPORARY = new Set([
  "unreachable", "timeout", "download_retry_exceeded", "handler", "local_file", "unacknowledged", "broker_closed", "broker_connection_lost",
  "broker_no_responders", "full",
]);

/** What went wrong: `code` is a word of the specification's section 9, `dataname` the payload at fault or null */
export class NATSBridgeError extends Error {
  constructor(code, reason, dataname = null, cause = undefined) {
    super(dataname === null ? reason : `payload ${shown(dataname)}: ${reason}`);
    this.name = "NATSBridgeError";
    Object.assign(this, { code, dataname, reason, msgId: null, correlationId: null, retryable: TEMPORARY.has(code) });
    Object.defineProperty(this, BRAND, { value: true });
    if (cause !== undefined) Object.defineProperty(this, "cause", { value: cause, configurable: true, writable: true });
  }

  get msg_id() {
    return this.msgId;
  }

  get correlation_id() {
    return this.correlationId;
  }

  /** Also true for an error of a second copy of this package: CommonJS and ES modules in one program */
  static [Symbol.hasInstance](value) {
    if (this !== NATSBridgeError) return Function.prototype[Symbol.hasInstance].call(this, value);
    return typeof value === "object" && value !== null && value[BRAND] === true;
  }
}

export const isError = (error) => error instanceof NATSBridgeError;

/** The library's error for what was thrown: one of its own gets the payload's name, any other becomes `code` */
export function asError(error, code, what, dataname = null) {
  if (!isError(error)) return new NATSBridgeError(code, `${what}: ${messageOf(error)}`, dataname, error);
  if (dataname === null || error.dataname !== null) return error;
  const named = new NATSBridgeError(error.code, error.reason, dataname, error.cause ?? error);
  return Object.assign(named, { msgId: error.msgId, correlationId: error.correlationId, retryable: error.retryable });
}

function messageOf(error) {
  try {
    return shownText(error?.message ?? String(error), 300);
  } catch {
    return "an error without text";
  }
}

/** Runs `work` and lets no error out but the library's own, with the payload's name */
export async function fenced(code, what, dataname, work) {
  try {
    return await work();
  } catch (error) {
    throw asError(error, code, what, dataname);
  }
}

/** Says of which message an error is */
export function ofMessage(error, { msg_id, correlation_id }) {
  if (isError(error) && error.msgId === null) Object.assign(error, { msgId: msg_id || null, correlationId: correlation_id || null });
  return error;
}

export const wrongValue = (reason, dataname = null) => new NATSBridgeError("wrong_value", reason, dataname);

/** Throws the caller's abort as the library's error */
export function checkAbort(signal) {
  if (signal?.aborted) throw aborted(signal);
}

export const aborted = (signal) => new NATSBridgeError("aborted", "the caller aborted it", null, signal?.reason);

const escaped = (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`;

/** Strangers' text: control characters, line separators and what turns the direction of text are escaped */
export const shownText = (text, limit = 80) => String(text).slice(0, limit).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, escaped);

/** Strangers' text in quotes, at most 80 characters */
export const shown = (text) => `\`${shownText(text)}\``;

/** A URL without user name, password, token and query */
export const redacted = (url) => String(url).split(/[?#]/)[0].replace(/^([A-Za-z][A-Za-z0-9+.-]*:\/\/)?.*@/, "$1");
