/** Arrow from a stranger: every message, list and buffer is checked before apache-arrow believes it. */

import { NATSBridgeError } from "../errors.js";
import { fromUtf8, lossyUtf8 } from "../values.js";

/** Kinds of messages, which are also the numbers of the footer's lists of them */
const [SCHEMA, DICTIONARY, BATCH] = [1, 2, 3];

/**
 * Checks that the messages of a stream or file stay inside it, and become no more than is allowed when read; answers how many
 * bytes were checked. apache-arrow would read a second stream behind the first.
 */
export function checkInput(arrow, input) {
  const view = new DataView(input.buffer);
  const refuse = (reason) => new NATSBridgeError("undecodable", `it is not a readable Arrow table: ${reason}`);
  const limit = Math.min(2 ** 30, Math.max(2 ** 24, 1000 * input.length));
  let needed = 0;
  /** Checks the message here; answers its end and its kind, or null where the stream ends */
  const check = (place) => {
    if (place < 0 || place + 4 > input.length) return null;
    const modern = view.getInt32(place, true) === -1;
    const length = modern && place + 8 > input.length ? 0 : view.getInt32(modern ? place + 4 : place, true);
    const start = place + (modern ? 8 : 4);
    if (length === 0) return null;
    if (length < 0 || start + length > input.length) throw refuse("a message that is longer than the input");
    const metadata = input.subarray(start, start + length);
    const kind = checkMessage(metadata);
    const message = arrow.Message.decode(metadata);
    const bodyAt = start + length;
    const end = bodyAt + message.bodyLength;
    if (message.bodyLength < 0 || end > input.length) throw refuse("a body that is longer than the input");
    const batch = message.isRecordBatch() ? message.header() : message.isDictionaryBatch() ? message.header().data : null;
    if (batch === null) return { end, kind };
    const rows = Number(batch.length);
    if (rows < 0) throw refuse("a batch with fewer than no rows");
    if (rows > Math.max(2 ** 24, 8 * input.length)) throw new NATSBridgeError("too_large", "the Arrow table has more rows than bytes");
    for (const count of batch.variadicBufferCounts ?? []) if (!(count >= 0 && count <= batch.buffers.length)) throw refuse("more buffers than it has");
    for (const { length, nullCount } of batch.nodes) if (nullCount < 0 || nullCount > length) throw refuse("a column with more nulls than values");
    for (const { offset, length: size } of batch.buffers) {
      if (offset < 0 || size < 0 || offset + size > message.bodyLength) throw refuse("a buffer outside its body");
      if (batch.compression == null || size === 0) continue;
      const becomes = size >= 8 ? Number(view.getBigInt64(bodyAt + offset, true)) : -2;
      if (becomes < -1) throw refuse("a compressed buffer without its length");
      needed += Math.max(becomes, 0);
    }
    if (needed > limit) throw new NATSBridgeError("too_large", `the Arrow table needs ${needed} bytes when read, the limit is ${limit}`);
    return { end, kind };
  };

  const mark = (at) => lossyUtf8(input.subarray(at, at + 6)) === "ARROW1";
  if (mark(0)) {
    const end = input.length - 10;
    const length = end >= 8 && mark(end + 4) ? view.getInt32(end, true) : -1;
    if (length <= 0 || length > end - 8) throw refuse("a file without its end");
    for (const { place, kind } of footerBlocks(input.subarray(end - length, end))) {
      // apache-arrow never ends where a block holds another message than it should.
      if (check(place)?.kind !== kind) throw refuse("a block that holds something else");
    }
    return input.length;
  }
  const first = check(0);
  if (first?.kind !== SCHEMA) throw refuse("it begins without a schema");
  let { end } = first;
  for (let message; (message = check(end)) !== null; ) {
    if (message.kind === SCHEMA) throw refuse("a second schema");
    end = message.end;
  }
  return end;
}

/**
 * Reads flatbuffers, checking every list, because apache-arrow believes their lengths: one that leaves the buffer would be
 * read as millions of zeros. Numbers are those of fields in Arrow's Message.fbs, Schema.fbs and File.fbs.
 */
class Flatbuffer {
  constructor(bytes) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength); // throws where something lies outside
    this.left = bytes.length;
    this.root = this.follow(0);
  }

  follow(place) {
    return place + this.view.getInt32(place, true);
  }

  /** Where a table has a field, 0 if it has none */
  place(table, field) {
    const vtable = table - this.view.getInt32(table, true);
    if (4 + 2 * field >= this.view.getInt16(vtable, true)) return 0;
    const offset = this.view.getInt16(vtable + 4 + 2 * field, true);
    return offset && table + offset;
  }

  table(table, field) {
    const place = this.place(table, field);
    if (!place) throw new RangeError("a message without what it is about");
    return this.follow(place);
  }

  byte(table, field) {
    const place = this.place(table, field);
    return place && this.view.getUint8(place);
  }

  short(table, field, absent) {
    const place = this.place(table, field);
    return place ? this.view.getInt16(place, true) : absent;
  }

  int(table, field, absent) {
    const place = this.place(table, field);
    return place ? this.view.getInt32(place, true) : absent;
  }

  checkText(table, field) {
    const bytes = this.list(table, field, 1);
    if (bytes.length > 0) fromUtf8(new Uint8Array(this.view.buffer, this.view.byteOffset + bytes[0], bytes.length));
  }

  /** The places of a list's items */
  list(table, field, width) {
    const place = this.place(table, field);
    if (!place) return [];
    const start = this.follow(place);
    const count = this.view.getInt32(start, true);
    this.left -= count;
    if (count < 0 || count * width > this.view.byteLength - start - 4 || this.left < 0) throw new RangeError("a list that leaves its message");
    return Array.from({ length: count }, (_, index) => start + 4 + index * width);
  }

  checkSchema(schema) {
    const order = this.place(schema, 0);
    if (order && this.view.getInt16(order, true) !== 0) throw new RangeError("its numbers are big-endian, which no receiver has to read");
    for (const field of this.list(schema, 1, 4)) this.checkField(this.follow(field), 0);
    this.list(schema, 2, 4);
    this.list(schema, 3, 8);
  }

  checkField(field, depth) {
    if (depth > 64) throw new RangeError("a type that nests deeper than 64 levels");
    this.checkText(field, 0);
    const children = this.list(field, 5, 4);
    this.checkType(this.byte(field, 2), this.table(field, 3), children.length);
    for (const child of children) this.checkField(this.follow(child), depth + 1);
    this.list(field, 6, 4);
  }

  /** What apache-arrow takes for another type, or for none; numbers are those of `Type` in Schema.fbs */
  checkType(kind, type, children) {
    const [decimal, time, interval, list, union, fixedList, map, largeList] = [7, 9, 11, 12, 14, 16, 17, 21];
    const holds = (is, what) => {
      if (!is) throw new RangeError(`a column of ${what}`);
    };
    holds(kind !== 0, "no type");
    if (kind === union) this.list(type, 1, 4);
    if (kind === decimal) holds(this.int(type, 0, 0) >= 1 && this.int(type, 0, 0) <= 76, "decimals of an unknown length");
    if (kind === time) holds([32, 32, 64, 64][this.short(type, 0, 1)] === this.int(type, 1, 32), "times of an unknown unit");
    if (kind === interval) holds([0, 1, 2].includes(this.short(type, 0, 0)), "intervals of an unknown unit");
    if ([list, fixedList, map, largeList].includes(kind)) holds(children === 1, "lists that are not of one type");
  }

  checkBatch(batch) {
    if (this.place(batch, 3) && this.byte(this.table(batch, 3), 0) > 1) throw new RangeError("an unknown compression");
    for (const [field, width] of [[1, 16], [2, 16], [4, 8]]) this.list(batch, field, width);
  }
}

/** Checks a message's lists; answers its kind */
function checkMessage(bytes) {
  const message = new Flatbuffer(bytes);
  message.list(message.root, 4, 4);
  const kind = message.byte(message.root, 1);
  const header = message.table(message.root, 2);
  if (kind === SCHEMA) message.checkSchema(header);
  else if (kind === DICTIONARY) message.checkBatch(message.table(header, 1));
  else if (kind === BATCH) message.checkBatch(header);
  else throw new RangeError("a message that is no table's");
  return kind;
}

/** Where a file's dictionaries and batches are */
function footerBlocks(bytes) {
  const footer = new Flatbuffer(bytes);
  footer.checkSchema(footer.table(footer.root, 1));
  footer.list(footer.root, 4, 4);
  return [DICTIONARY, BATCH].flatMap((kind) => footer.list(footer.root, kind, 24)
    .map((block) => ({ place: Number(footer.view.getBigInt64(block, true)), kind })));
}

/** Checks that the buffers of an array hold what its length says */
export function checkData(arrow, data, length) {
  const short = () => new NATSBridgeError("undecodable", `an Arrow column of type ${data.type} is shorter than it says`);
  const { Type } = arrow;
  const { typeId } = data.type;
  if (data.length < length || data.stride < 0 || data.type.listSize < 0) throw short();
  if (typeId === Type.Decimal && (![32, 64, 128, 256].includes(data.type.bitWidth) || Math.abs(data.type.scale) > 1000)) throw short();
  if (data.nullCount > 0 && typeId !== Type.Null && typeId !== Type.Union && data.nullBitmap.length < Math.ceil(length / 8)) throw short();
  if ([Type.Int, Type.Float, Type.Decimal, Type.Date, Type.Time, Type.Timestamp, Type.Interval, Type.Duration, Type.FixedSizeBinary, Type.Dictionary].includes(typeId)) {
    if (data.values.length < length * (data.stride || 1)) throw short();
  }
  const lists = [Type.List, Type.LargeList, Type.FixedSizeList, Type.Map];
  if (lists.includes(typeId) && (data.type.children.length !== 1 || data.children.length !== 1)) throw short();
  if (typeId === Type.Map && (data.type.children[0].type.children?.length !== 2 || data.children[0].nullCount > 0)) throw short();
  if (typeId === Type.Bool && data.values.length < Math.ceil(length / 8)) throw short();
  if (typeId === Type.Utf8View || typeId === Type.BinaryView) {
    if (data.values.length < length * 16) throw short();
    const views = new DataView(data.values.buffer, data.values.byteOffset);
    for (let at = 0; at < length * 16; at += 16) {
      const [size, buffer, offset] = [0, 8, 12].map((field) => views.getInt32(at + field, true));
      const outside = () => offset < 0 || offset + size > (data.variadicBuffers[buffer]?.length ?? -1)
        || [0, 1, 2, 3].some((byte) => data.values[at + 4 + byte] !== data.variadicBuffers[buffer][offset + byte]);
      if (data.getValid(at / 16) && (size < 0 || (size > 12 && outside()))) throw short();
    }
  }
  if (typeId === Type.Struct) for (const child of data.children) checkData(arrow, child, length);
  if (typeId === Type.FixedSizeList) checkData(arrow, data.children[0], length * data.type.listSize);
  if (typeId === Type.Dictionary) {
    const known = data.dictionary?.length ?? 0;
    for (let i = 0; i < length; i += 1) if (data.getValid(i) && !(data.values[i] >= 0 && data.values[i] < known)) throw short();
    for (const chunk of data.dictionary?.data ?? []) checkData(arrow, chunk, chunk.length);
  }
  if ([Type.Utf8, Type.LargeUtf8, Type.Binary, Type.LargeBinary, Type.List, Type.LargeList, Type.Map].includes(typeId) && length > 0) {
    const ends = data.valueOffsets;
    if (ends.length < length + 1 || ends[0] < 0) throw short();
    for (let i = 0; i < length; i += 1) if (ends[i + 1] < ends[i]) throw short();
    const last = Number(ends[length]);
    if (data.children.length > 0) checkData(arrow, data.children[0], last);
    else if (data.values.length < last) throw short();
    else if (typeId === Type.Utf8 || typeId === Type.LargeUtf8) fromUtf8(data.values.subarray(Number(ends[0]), last));
  }
}
