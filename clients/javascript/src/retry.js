/** Retries: how many, after which pause, until when; and time-outs for silence and slowness. */

import { NATSBridgeError, aborted } from "./errors.js";
import { count } from "./metrics.js";

const MAX_RETRY_AFTER = 30_000;
/** Bytes a second, over one idle time-out */
const MIN_RATE = 1_000;
/** A timer of more milliseconds fires at once */
const MAX_TIMER = 2 ** 31 - 1;

const unref = (timer) => timer?.unref?.();

/** Waits; an abort ends it with the library's error */
export function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(reasonOf(signal));
      return;
    }
    const stop = () => {
      clearTimeout(timer);
      reject(reasonOf(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Waits until what `listen` is given is called, or until a time; resolves to whether it was called. An abort is an error */
export function waitFor(listen, until, signal) {
  return new Promise((resolve, reject) => {
    const settle = (how) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
      how();
    };
    const stop = () => settle(() => reject(reasonOf(signal)));
    const timer = until === Infinity ? null : setTimeout(() => settle(() => resolve(false)), Math.min(Math.max(0, until - Date.now()), MAX_TIMER));
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
    else listen(() => settle(() => resolve(true)));
  });
}

/** Why a signal is aborted, as the library's error */
export const reasonOf = (signal) => (signal.reason instanceof NATSBridgeError ? signal.reason : aborted(signal));

/** `Retry-After` in milliseconds: seconds, or an HTTP date; null for anything else */
export function retryAfter(value, now = Date.now()) {
  const text = (value ?? "").trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  if (!/^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/.test(text)) return null;
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : Math.max(0, at - now);
}

/** Random pauses that double; `Retry-After` makes one longer, never shorter */
export class Retries {
  constructor({ max_retries, base_delay, max_delay, signal, deadline = Infinity }, operation) {
    Object.assign(this, { left: max_retries, delay: Math.min(base_delay, max_delay), max: max_delay, signal, deadline, operation });
  }

  /** Waits before the next try; false when there is none */
  async pause(asked = null) {
    if (this.left <= 0 || (asked !== null && asked > MAX_RETRY_AFTER)) return false;
    this.left -= 1;
    const pause = Math.max(asked ?? 0, this.delay * (0.5 + Math.random() / 2));
    this.delay = Math.min(this.delay * 2, this.max);
    if (Date.now() + pause > this.deadline) return false;
    await sleep(pause, this.signal);
    count("retry_attempts_total", { operation: this.operation });
    return true;
  }
}

/** A signal that follows the caller's, and that time aborts with an error */
export class Timeout {
  constructor(parent, milliseconds, error) {
    this.controller = new AbortController();
    this.parent = parent;
    this.forward = () => this.abort(reasonOf(parent));
    if (parent?.aborted) this.forward();
    else parent?.addEventListener("abort", this.forward, { once: true });
    this.timer = Number.isFinite(milliseconds) ? setTimeout(() => this.abort(error()), Math.min(milliseconds, MAX_TIMER)) : null;
    unref(this.timer);
  }

  get signal() {
    return this.controller.signal;
  }

  abort(error) {
    if (this.signal.aborted) return;
    this.controller.abort(error);
    // Node 16.20 and old browsers do not keep the reason.
    if (this.signal.reason !== error) Object.defineProperty(this.signal, "reason", { value: error, configurable: true });
  }

  end() {
    clearTimeout(this.timer);
    this.parent?.removeEventListener("abort", this.forward);
  }
}

/** Aborts one request when nothing moves, or too little */
export class Watch extends Timeout {
  constructor(parent, idle) {
    super(parent, Infinity);
    Object.assign(this, { last: Date.now(), since: null, bytes: 0, isSlow: false });
    const late = (why) => this.abort(new NATSBridgeError("timeout", why));
    this.timer = setInterval(() => {
      const now = Date.now();
      if (now - this.last >= idle) late(`the server was silent for ${Math.round(idle / 1000)} s`);
      else if (this.since !== null && now - this.since >= idle) {
        this.isSlow = this.bytes < (MIN_RATE * idle) / 1000;
        if (this.isSlow) late(`only ${this.bytes} bytes came in ${Math.round(idle / 1000)} s`);
        Object.assign(this, { since: now, bytes: 0 });
      }
    }, Math.max(10, idle / 4));
    // A request keeps a program alive; its watch does not.
    unref(this.timer);
  }

  /** Something moved; `isBody` where a minimum rate is asked of it */
  touch(bytes = 0, isBody = false) {
    this.last = Date.now();
    if (!isBody) return;
    this.since ??= this.last;
    this.bytes += bytes;
  }

  end() {
    clearInterval(this.timer);
    super.end();
  }
}

/** Runs tasks in order of their beginning, at most `limit` at a time; the first failure ends the others' beginning */
export async function inParallel(items, limit, work) {
  const results = new Array(items.length);
  let next = 0;
  let failed = false;
  const worker = async () => {
    while (next < items.length && !failed) {
      const at = next;
      next += 1;
      try {
        results[at] = await work(items[at], at);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  if (limit === 1 || items.length === 1) {
    await worker();
    return results;
  }
  const outcomes = await Promise.allSettled(Array.from({ length: Math.min(limit, items.length) }, worker));
  const refused = outcomes.find(({ status }) => status === "rejected");
  if (refused) throw refused.reason;
  return results;
}
