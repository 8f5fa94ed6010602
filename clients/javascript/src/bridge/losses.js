/** What a subscription has missed: messages that were lost, repeated or overtaken, by the senders' numbers. */

import { log } from "../log.js";
import { count } from "../metrics.js";

/** Senders and subjects that are followed at once; the one seen first is forgotten first */
const MAX_SENDERS = 1_024;
/** Numbers of one sender that may still arrive late */
const MAX_MISSING = 1_024;
/** A jump that no loss explains: the numbers begin anew there */
const MAX_GAP = 1_000_000;
const MAX_EPOCH = 64;
const MAX_SUBJECT = 512;

export class Detector {
  constructor() {
    this.losses = { missing: 0, duplicates: 0, reordered: 0 };
    this.senders = new Map();
  }

  /** Takes note of a message; one without numbers says nothing */
  note({ metadata, send_to, sender_name, msg_id }) {
    const { seq, epoch } = metadata;
    if (!Number.isSafeInteger(seq) || seq < 0 || typeof epoch !== "string" || epoch.length > MAX_EPOCH || send_to.length > MAX_SUBJECT) return;
    const key = `${epoch} ${send_to}`;
    const sender = this.senders.get(key);
    const { losses } = this;
    if (sender === undefined) {
      // What was sent before the subscription is not missing.
      if (this.senders.size >= MAX_SENDERS) this.senders.delete(this.senders.keys().next().value);
      this.senders.set(key, { highest: seq, missing: new Set() });
    } else if (seq > sender.highest) {
      const gap = seq - sender.highest - 1;
      if (gap > MAX_GAP) sender.missing.clear();
      else if (gap > 0) {
        losses.missing += gap;
        count("message_gaps_total", null, gap);
        log("warn", "messages are missing before this one", { missing: gap, subject: send_to, sender_name, msg_id });
        for (let number = Math.max(sender.highest + 1, seq - MAX_MISSING); number < seq; number += 1) sender.missing.add(number);
        // Numbers are added in order, so the first ones are the oldest.
        for (const oldest of sender.missing) {
          if (sender.missing.size <= MAX_MISSING) break;
          sender.missing.delete(oldest);
        }
      }
      sender.highest = seq;
    } else if (sender.missing.delete(seq)) {
      losses.missing -= 1;
      losses.reordered += 1;
      count("messages_reordered_total");
    } else {
      losses.duplicates += 1;
      count("message_duplicates_total");
    }
  }
}
