/** Types of `natsbridge/testing`: a broker and a file store in memory. */

import type { DownloadLink, NatsConnection, Stored, Upload } from "./index.cjs";

/** A broker in memory; `connect()` makes what a NATS client's `connect` resolves to */
export class MemoryBroker {
  constructor(options?: { max_payload?: number });
  max_payload: number;
  /** Which messages get lost; none by default */
  loses: (subject: string, data: Uint8Array) => boolean;
  connect(): NatsConnection;
}

/** A file store in memory: pass `upload` and `download` as the two handlers */
export class MemoryStore {
  /** What is stored, by URL */
  readonly files: Map<string, { bytes: Uint8Array; one_shot: boolean }>;
  /** How many uploads and downloads fail from now on */
  failing: number;
  readonly upload: (upload: Upload) => Promise<Stored>;
  readonly download: (link: DownloadLink) => Promise<Uint8Array>;
}
