/** The messages that were handled: a bounded memory, so that a repeat is acknowledged and not handled twice. */

const MAX_ID = 64;

export class Window {
  constructor(limit) {
    this.limit = limit;
    this.handled = new Set(); // the one that was not heard of for longest comes first
    this.handling = new Set();
  }

  key({ sender_id, msg_id }) {
    // A stranger's long text must not fill the memory.
    return msg_id === "" || sender_id.length > MAX_ID || msg_id.length > MAX_ID ? null : `${sender_id} ${msg_id}`;
  }

  /** `new`, `handling` or `handled`; a new one is being handled from now on */
  begin(key) {
    if (key === null) return "new";
    if (this.handled.has(key)) {
      this.finish(key);
      return "handled";
    }
    if (this.handling.has(key)) return "handling";
    this.handling.add(key);
    return "new";
  }

  /** It was handled: repeats are acknowledged from now on */
  finish(key) {
    if (key === null) return;
    this.handling.delete(key);
    this.handled.delete(key);
    this.handled.add(key);
    if (this.handled.size > this.limit) this.handled.delete(this.handled.values().next().value);
  }

  /** It was not: a repeat gets its chance */
  forget(key) {
    this.handling.delete(key);
  }
}
