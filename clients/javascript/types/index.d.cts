/** Types of the package `natsbridge`, written by hand. */

// ------------------------------------------------------------------------------------------------------- payloads

/** A type whose payload is bytes */
export type BytesType = "image" | "audio" | "video" | "binary";
/** The eight payload types */
export type PayloadType = "text" | "dictionary" | "arrowtable" | "jsontable" | BytesType;

/** What `dictionary` takes: JSON, with `bigint` for integers beyond 2^53, and what has `toJSON` such as `Date` */
export type JsonInput =
  | string | number | boolean | bigint | null | undefined | { toJSON(key?: string): unknown }
  | readonly JsonInput[] | { readonly [key: string]: JsonInput };
/** What `dictionary` gives: integers beyond 2^53 are `bigint` */
export type JsonValue = string | number | boolean | bigint | null | JsonValue[] | { [key: string]: JsonValue };

/** A row of a table */
export type Row = { readonly [column: string]: unknown };
/** A table, record batch or anything else of the package apache-arrow; give it as type parameter for more */
export interface ArrowTable {
  readonly numRows: number;
  readonly schema: { readonly fields: readonly unknown[] };
}

/** Bytes in memory */
export type Bytes = ArrayBufferView | ArrayBufferLike;
/** The part of a web stream that is used; a `ReadableStream` is one */
export interface ByteStream {
  getReader(): { read(): Promise<{ done: boolean; value?: unknown }>; cancel(reason?: unknown): Promise<unknown> };
}
/** The part of a Blob that is used; a `File` is one */
export interface BlobLike {
  readonly size: number;
  slice(start?: number, end?: number): BlobLike;
  arrayBuffer(): Promise<ArrayBuffer>;
}
/** A file by its path; `file()` makes one */
export class FilePath {
  private constructor();
  readonly path: string | URL;
}
/** What a payload of bytes may be given as: buffers, Blob and File, a file by path or `file:` URL, web and Node streams */
export type BytesInput = Bytes | BlobLike | FilePath | URL | ByteStream | AsyncIterable<Uint8Array>;

/** A payload to send: name, value, type; the compiler checks that they suit each other */
export type Part =
  | readonly [dataname: string, data: string, type: "text"]
  | readonly [dataname: string, data: JsonInput | object, type: "dictionary"]
  | readonly [dataname: string, data: ArrowTable | readonly Row[] | readonly object[], type: "arrowtable"]
  | readonly [dataname: string, data: readonly Row[] | readonly object[] | ArrowTable, type: "jsontable"]
  | readonly [dataname: string, data: BytesInput, type: BytesType];

/** A payload that was received: name, value, type */
export type ReceivedPart =
  | [dataname: string, data: string, type: "text"]
  | [dataname: string, data: JsonValue, type: "dictionary"]
  | [dataname: string, data: ArrowTable, type: "arrowtable"]
  | [dataname: string, data: { [column: string]: JsonValue }[], type: "jsontable"]
  | [dataname: string, data: Uint8Array, type: BytesType];

// ------------------------------------------------------------------------------------------------------- envelopes

export type Metadata = { [key: string]: JsonValue };

/** The fields of a message */
export interface Header {
  correlation_id: string;
  msg_id: string;
  /** ISO 8601 */
  timestamp: string;
  /** The NATS subject */
  send_to: string;
  /** `ACK`, `NACK`, `updateStatus`, `shutdown`, `chat` or another sender's own word */
  msg_purpose: string;
  sender_name: string;
  sender_id: string;
  receiver_name: string;
  receiver_id: string;
  reply_to: string;
  reply_to_msg_id: string;
  broker_url: string;
  metadata: Metadata;
}

/** A payload as it stands in an envelope */
export interface WirePayload {
  id: string;
  dataname: string;
  payload_type: PayloadType;
  transport: "direct" | "link";
  encoding: "base64" | "none";
  size: number;
  /** Base64, or the URL of a link */
  data: string;
  metadata: Metadata;
}

/** A message as it is sent */
export interface Envelope extends Header {
  payloads: WirePayload[];
}

/** What smartreceive resolves to */
export interface Received extends Header {
  payloads: ReceivedPart[];
}

// ---------------------------------------------------------------------------------------------------------- errors

/** Words of the specification's section 9, and those of this side's own */
export type ErrorCode =
  | "not_json" | "missing_field" | "wrong_type" | "unknown_payload_type" | "unknown_transport" | "unknown_encoding" | "base64"
  | "undecodable" | "digest" | "digest_missing" | "size_mismatch" | "too_large" | "too_deep" | "unsupported" | "unconvertible"
  | "wrong_value" | "links_not_allowed" | "blocked_origin" | "not_found" | "expired" | "consumed" | "refused" | "untrusted"
  | "rejected" | "unreachable" | "timeout" | "download_retry_exceeded" | "handler" | "full" | "local_file" | "aborted"
  | "configuration" | "no_such_payload" | "nacked" | "unacknowledged" | "unhandled" | "no_reply_subject" | "reply_refused"
  | "broker" | "broker_closed" | "broker_connection_lost" | "broker_no_responders";

/** What went wrong; the only error that the package lets out */
export class NATSBridgeError extends Error {
  constructor(code: ErrorCode, reason: string, dataname?: string | null, cause?: unknown);
  readonly code: ErrorCode;
  /** The payload at fault, or `#` and its position where it has no name */
  readonly dataname: string | null;
  /** The message without the payload's name */
  readonly reason: string;
  /** The message at fault, as far as it is known */
  readonly msgId: string | null;
  readonly correlationId: string | null;
  readonly msg_id: string | null;
  readonly correlation_id: string | null;
  /** Whether the same call may succeed later */
  readonly retryable: boolean;
  readonly cause?: unknown;
  /** Of `nacked` and `unacknowledged`: what the receiver said */
  readonly refusal?: { receiver: string; code: string; reason: string; retryable: boolean } | null;
}

// --------------------------------------------------------------------------------------------------------- options

type Camel<S extends string> = S extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S;
/** Options under the contract's keywords or in camelCase */
export type Options<T> = T & { [K in keyof T as Camel<K & string>]?: T[K] };

/** How far a transfer is */
export interface Progress {
  dataname: string | null;
  operation: "upload" | "download";
  /** Bytes so far */
  done: number;
  /** Bytes in all, or null where nobody knows */
  total: number | null;
}

interface TransferKeywords {
  /** Default: `FILESERVER_URL`, else `http://localhost:8080`; `""` for none */
  fileserver_url?: string;
  /** The file server's token; default: `FILESERVER_TOKEN` */
  fileserver_token?: string;
  /** Retries of a failed transfer; default 5 */
  max_retries?: number;
  /** Pause before the first retry, in milliseconds; default 100. Each further pause is twice as long */
  base_delay?: number;
  /** The longest pause, in milliseconds; default 5,000 */
  max_delay?: number;
  /** How long a server may be silent, in milliseconds; default 30,000 */
  idle_timeout?: number;
  /** Links that are transferred at a time; default 4 */
  transfers?: number;
  /** Another `fetch`, such as node-fetch's or undici's; Node has its own client, a browser its own `fetch` */
  fetch?: ((url: string, init?: any) => Promise<any>) | null;
  /** Ends what runs, with the error `aborted` */
  signal?: AbortSignal | null;
  /** Called as bytes pass */
  on_progress?: ((progress: Progress) => void) | null;
}

/** What an upload handler is given */
export interface Upload {
  fileserver_url: string;
  dataname: string;
  size: number;
  one_shot: boolean;
  /** Seconds */
  ttl: number;
  token: string;
  signal: AbortSignal | null;
  on_progress: ((progress: Progress) => void) | null;
  /** The bytes where they are in memory, a Blob where they are one, else null: a file or a long stream */
  data: Uint8Array | BlobLike | null;
  /** The bytes piece by piece, as often as it is called */
  stream(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  bytes(): Promise<Uint8Array>;
}
/** What an upload handler resolves to; a string is the URL */
export type Stored = string | { url: string; expires_at?: string; one_shot?: boolean; delete?: () => Promise<unknown> };

/** What a download handler is given */
export interface DownloadLink {
  url: string;
  dataname: string;
  /** Bytes, 0 where nobody knows */
  size: number;
  /** The most bytes that are taken */
  limit: number;
  one_shot: boolean;
  expires_at: Date | null;
  signal: AbortSignal | null;
  allowed_origins?: string | readonly string[];
  fileserver_url: string;
  max_retries: number;
  base_delay: number;
  max_delay: number;
}

interface SendKeywords extends TransferKeywords {
  /** Default: `NATS_URL`, else `nats://localhost:4222`; user name, password and token are left out */
  broker_url?: string;
  fileserver_upload_handler?: ((upload: Upload) => Promise<Stored>) | null;
  /** From how many bytes on a payload is a link; default: `SIZE_THRESHOLD`, else 500,000 */
  size_threshold?: number;
  /** What the broker takes; default 1,048,576. A Bridge takes the server's */
  max_message_size?: number;
  /** The kind of receiver that has to read it; default `desktop` */
  receiver?: "desktop" | "browser" | "micropython";
  /** Whether there may be links; default true */
  links?: boolean;
  /** Whether tables are sent as `jsontable` to receivers that read no Arrow; default false */
  convert_tables?: boolean;
  /** Whether direct payloads get a digest; default false */
  digest_direct?: boolean;
  correlation_id?: string;
  msg_purpose?: string;
  sender_name?: string;
  sender_id?: string;
  receiver_name?: string;
  receiver_id?: string;
  reply_to?: string;
  reply_to_msg_id?: string;
  msg_id?: string;
  metadata?: { readonly [key: string]: JsonInput };
  /** Say so when you repeat the message until it is acknowledged: its links are not one-shot */
  awaits_ack?: boolean;
  /** Default: true for a message that names its receiver and awaits no answer. True in any other case is an error */
  one_shot?: boolean;
  /** How long links live, in seconds; default a day */
  ttl?: number;
  /** How long one upload may take, retries included, in milliseconds; default 600,000 */
  upload_timeout?: number;
  /** Makes identifiers; for tests */
  new_id?: () => string;
  /** The time; for tests */
  now?: () => Date;
}

interface ReceiveKeywords extends TransferKeywords {
  fileserver_download_handler?: ((link: DownloadLink) => Promise<BytesInput>) | null;
  /** Origins that links may lead to; default: the file server's. An empty array allows nothing */
  allowed_origins?: string | readonly string[];
  /** Refuses more; see the specification */
  strict?: boolean;
  /** The most bytes of one payload; default 10,000,000,000 */
  max_payload_size?: number;
  /** The most bytes of one payload in memory; default 1 GiB */
  max_memory_size?: number;
  /** What the links of one message may take together, in milliseconds, beside a second for each megabyte; default 60,000 */
  message_timeout?: number;
}

interface BridgeKeywords extends SendKeywords, ReceiveKeywords {
  /** Where replies are awaited; default: the connection's, else `_INBOX` */
  inbox_prefix?: string;
  /** Subjects and filters that replies may be sent to; default: all but the server's own (`$…`) */
  reply_subjects?: readonly string[];
  /** Messages that a subscription remembers as handled; default 10,000 */
  remembered?: number;
}

interface DeliverKeywords extends SendKeywords {
  /** Receivers that have to acknowledge; default 1 */
  acks?: number;
  /** When to give up, in milliseconds; default 30,000 */
  timeout?: number;
  /** Pause before the first repeat, in milliseconds; default 500 */
  first_pause?: number;
  /** The longest pause between repeats, in milliseconds; default 5,000 */
  longest_pause?: number;
}

interface RequestKeywords extends SendKeywords {
  /** How long to wait for the reply, in milliseconds; default 5,000 */
  timeout?: number;
}

export type SendOptions = Options<SendKeywords>;
export type ReceiveOptions = Options<ReceiveKeywords>;
export type BridgeOptions = Options<BridgeKeywords>;
export type DeliverOptions = Options<DeliverKeywords>;
export type RequestOptions = Options<RequestKeywords>;

// ------------------------------------------------------------------------------------------------------- functions

/** Makes a message of payloads; large ones are uploaded. Resolves to the envelope and the JSON to publish on `subject` */
export function smartsend(subject: string, data: Iterable<Part>, options?: SendOptions): Promise<[envelope: Envelope, json: string]>;
/** Deletes what was uploaded for a message that could not be published */
export function discard(envelope: Envelope): Promise<void>;
/** Reads a message and all its payloads */
export function smartreceive(message: string | Bytes, options?: ReceiveOptions): Promise<Received>;
/** Reads a message and leaves its payloads where they are until they are asked for */
export function openMessage(message: string | Bytes, options?: ReceiveOptions): Promise<OpenedMessage>;
/** Names a file whose bytes are to be sent: `["film", file("run7.mp4"), "video"]` */
export function file(path: string | URL): FilePath;
/** The default download handler */
export function fetchWithBackoff(link: ReceiveOptions & Partial<DownloadLink> & { url: string; sha256?: string | null }): Promise<Uint8Array>;
/** The default upload handler */
export function plikUpload(upload: Options<TransferKeywords> & Partial<Upload> & { fileserver_url: string; upload_timeout?: number }): Promise<{ url: string; expires_at?: string; one_shot: boolean; sha256: string; delete(): Promise<void> }>;
/** An ISO 8601 time with any offset, `Z` or none; null for anything else */
export function parseTimestamp(text: string): Date | null;
/** Gives the package apache-arrow, and fzstd for ZSTD bodies, where it can't find them: in a bundle, or in a page */
export function useArrow(arrow: object, fzstd?: object | null): void;

/** A log record: `level`, `text`, and for messages the seven fields */
export interface LogRecord {
  level: "debug" | "warn";
  text: string;
  correlation_id?: string;
  msg_id?: string;
  timestamp?: string;
  sender_name?: string;
  receiver_name?: string;
  payload_type?: string;
  transport?: string;
  [field: string]: unknown;
}
/** Sets what log records are given to: a function, an object with the methods of `console`, or null for none */
export function setLogger(logger: ((record: LogRecord) => void) | { debug(...data: unknown[]): void; warn(...data: unknown[]): void } | null): void;
/** Counters, and durations in seconds, by their names in docs/operations */
export function metrics(): { [name: string]: number | { count: number; sum: number } };
/** The same as Prometheus' text */
export function metricsText(): string;
export function resetMetrics(): void;

/** A message that was read; its payloads are loaded when they are asked for */
export interface OpenedMessage {
  readonly envelope: Header;
  readonly payloads: readonly Payload[];
  /** The first payload of a name; the error `no_such_payload` names those that there are */
  payload(dataname: string): Payload;
  /** The value of the first payload of a name */
  get<T = any>(dataname: string): Promise<T>;
  /** All values */
  triples(): Promise<ReceivedPart[]>;
}

/** One payload of a message */
export interface Payload {
  readonly dataname: string;
  readonly payload_type: PayloadType;
  readonly payloadType: PayloadType;
  readonly transport: "direct" | "link";
  /** Bytes; 0 for a link of unknown size */
  readonly size: number;
  readonly metadata: Metadata;
  /** What its type says: a string, a JSON value, a table, rows, bytes */
  value<T = any>(): Promise<T>;
  bytes(): Promise<Uint8Array>;
  text(): Promise<string>;
  blob(type?: string): Promise<Blob>;
  /** A stream that begins when size and digest are checked; large ones lie on disk meanwhile */
  stream(): Promise<ReadableStream<Uint8Array>>;
  /** Into a file, or under a safe name into a folder (a path that ends with `/` or is one); a page offers a download */
  save(path?: string | URL): Promise<string>;
}

/** Why a message was not handled, for its sender */
export type Problem = Error | string | { code?: string; reason: string; retryable?: boolean };

type AnswerOptions = SendOptions & { /** The NATS reply subject, for a message without `reply_to` */ reply?: string };
type Answer = { subject: string; json: string; envelope: Envelope };
type Answerable = OpenedMessage | Header | Received;
/** The JSON of an ACK, and its subject, for a connection of your own */
export function ack(message: Answerable, options?: AnswerOptions): Promise<Answer>;
/** The JSON of a NACK, and its subject */
export function nack(message: Answerable, problem: Problem, options?: AnswerOptions): Promise<Answer>;
/** The JSON of a reply, and its subject */
export function reply(message: Answerable, payloads: Iterable<Part>, options?: AnswerOptions): Promise<Answer>;

// ---------------------------------------------------------------------------------------------------------- Bridge

/** The part of a NATS message that is used */
export interface NatsMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly reply?: string;
}
/** The part of `NatsConnection` of `@nats-io/nats-core` that is used */
export interface NatsConnection {
  readonly info?: { readonly max_payload: number };
  publish(subject: string, payload?: any, options?: any): void;
  subscribe(subject: string, options?: any): { unsubscribe(max?: number): void; drain(): Promise<void> };
  flush(): Promise<void>;
  drain(): Promise<void>;
  isClosed(): boolean;
  isDraining(): boolean;
  /** Says `disconnect` and `reconnect`; without it, the connection counts as up */
  status?(): AsyncIterable<{ readonly type: string }>;
}

/** Messages with typed payloads over a NATS connection */
export class Bridge {
  constructor(connection: NatsConnection, options?: BridgeOptions);
  readonly connection: NatsConnection;
  readonly senderId: string;
  /** Publishes a message; while the connection is down, it waits until it is back, or until `signal` aborts */
  send(subject: string, payloads: Iterable<Part>, options?: SendOptions): Promise<Envelope>;
  /** Publishes a message and waits for its reply; a NACK is the error `nacked` */
  request(subject: string, payloads: Iterable<Part>, options?: RequestOptions): Promise<Message>;
  /** Repeats a message until it is acknowledged */
  deliver(subject: string, payloads: Iterable<Part>, options?: DeliverOptions): Promise<{ envelope: Envelope; acks: Header[]; repeats: number }>;
  /** Messages in order of arrival, as an async iterator */
  subscribe(subject: string, options?: SubscribeOptions): Subscription;
  /** Answers each message with what the handler resolves to: payloads, or nothing for an ACK; an error makes a NACK */
  serve(subject: string, handler: (message: Message) => Promise<Iterable<Part> & { length: number } | void> | (Iterable<Part> & { length: number }) | void, options?: ServeOptions): Service;
  /** Refuses a message that could not be read; with what `onError` was given */
  nack(error: NATSBridgeError, raw: NatsMessage): Promise<void>;
  flush(): Promise<void>;
  /** Ends in order: what has arrived is handled, what was sent is flushed, the connection is drained */
  drain(): Promise<void>;
}

export interface SubscribeOptions {
  /** A queue group: each message reaches one of its members */
  queue?: string;
  /** Called with messages that can't be read; they are logged, counted and refused in any case */
  onError?: ((error: NATSBridgeError, raw: NatsMessage) => void) | null;
}
export interface ServeOptions extends SubscribeOptions {
  /** Handlers that run at once; default 16 */
  concurrency?: number;
  /** How long messages that have arrived are still handled after a stop, in milliseconds; default 10,000 */
  grace?: number;
}

/** What the senders' numbers say of a subscription */
export interface Losses {
  missing: number;
  duplicates: number;
  reordered: number;
}

export interface Subscription extends AsyncIterable<Message> {
  readonly subject: string;
  readonly queue: string;
  readonly losses: Losses;
  /** Messages that wait to be read */
  readonly waiting: number;
  /** Messages that were thrown away because too many waited */
  readonly dropped: number;
  /** The next message; null at the end */
  take(): Promise<Message | null>;
  /** Ends at once; returns how many messages had arrived and are not handed out */
  unsubscribe(): number;
  /** Unsubscribes at the server; what has arrived is still handed out */
  drain(): Promise<void>;
}

export interface Service {
  readonly losses: Losses;
  /** Resolves when it has ended */
  readonly ended: Promise<void>;
  /** Handles what has arrived, and ends; the error `unhandled` says how many were not */
  stop(): Promise<void>;
}

/** A message that arrived */
export interface Message extends OpenedMessage {
  readonly subject: string;
  readonly msgId: string;
  readonly correlationId: string;
  readonly senderName: string;
  readonly senderId: string;
  readonly purpose: string;
  readonly timestamp: string;
  readonly metadata: Metadata;
  /** Whether the sender awaits an answer */
  readonly wantsAnswer: boolean;
  /** Says that it was handled; repeats of it are acknowledged and not handed out again */
  ack(): Promise<void>;
  /** Says why it was not handled */
  nack(problem: Problem): Promise<void>;
  /** Sends payloads back; counts as handled */
  reply(payloads: Iterable<Part>, options?: SendOptions): Promise<Envelope>;
}
