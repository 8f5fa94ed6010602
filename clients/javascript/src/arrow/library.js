/** The package apache-arrow, loaded when a table comes: tables to bytes and back. */

import { platform } from "../platform.js";
import { NATSBridgeError } from "../errors.js";
import { bytesOf, describe, isPlain, isRow, tableForm } from "../values.js";
import { checkData, checkInput } from "./check.js";
import { typeOf } from "./columns.js";
import { unpackLz4 } from "./lz4.js";

let loaded;

/** Gives the library apache-arrow, and fzstd for ZSTD bodies, where it can't find them itself */
export function useArrow(arrow, zstd = null) {
  loaded = Promise.resolve(prepared({ arrow, zstd }));
}

function prepared({ arrow, zstd }) {
  const library = arrow.tableFromIPC ? arrow : arrow.default;
  const codec = (decode) => ({ decode: (bytes) => decode(bytes, new Uint8Array(declaredLength(bytes))) });
  library.compressionRegistry?.set(library.CompressionType.LZ4_FRAME, codec(unpackLz4));
  const decompress = zstd?.decompress ?? zstd?.default?.decompress;
  if (decompress) library.compressionRegistry?.set(library.CompressionType.ZSTD, codec(decompress));
  return library;
}

/** apache-arrow, or the error `unsupported` */
export async function arrowLibrary() {
  if (loaded === undefined && platform.importArrow !== null) {
    loaded = platform.importArrow().then(prepared);
    loaded.catch(() => (loaded = undefined)); // it may be installed later
  }
  try {
    if (loaded !== undefined) return await loaded;
  } catch (error) {
    throw new NATSBridgeError("unsupported", "arrowtable needs the package apache-arrow: npm install apache-arrow, or use jsontable", null, error);
  }
  throw new NATSBridgeError("unsupported", "arrowtable needs the package apache-arrow, and can't be read in a browser; use jsontable");
}

/** What a compressed buffer becomes: the number stands in the eight bytes before it, and has been checked by then */
function declaredLength(bytes) {
  return Number(new DataView(bytes.buffer, bytes.byteOffset - 8, 8).getBigInt64(0, true));
}

/** A table or rows as an Arrow IPC stream */
export async function arrowBytes(value, wrong) {
  const arrow = await arrowLibrary();
  try {
    return arrow.tableToIPC(asTable(arrow, value, wrong), "stream");
  } catch (error) {
    if (error instanceof NATSBridgeError) throw error;
    throw new NATSBridgeError("unconvertible", `it has no Arrow form: ${error.message}`, null, error);
  }
}

/** An Arrow table of a table, a record batch or rows */
export function asTable(arrow, value, wrong) {
  if (arrow.isArrowTable(value)) return value;
  if (arrow.isArrowRecordBatch(value)) return new arrow.Table([value]);
  if (!Array.isArray(value)) throw wrong();
  const rows = Array.from(value, tableForm);
  if (!rows.every((row) => isRow(row) && !bytesOf(row))) throw wrong();
  const odd = rows.findIndex((row) => !isPlain(row));
  if (odd >= 0) throw new NATSBridgeError("unconvertible", `row ${odd} is a ${describe(rows[odd])}, not a plain object`);
  const { type, fit: fitted } = typeOf(arrow, rows, "the table");
  const fittedRows = rows.map(fitted);
  const columns = (type.children ?? []).map((field) => arrow.vectorFromArray(fittedRows.map((row) => row[field.name]), field.type));
  if (columns.length === 0) return new arrow.Table(new arrow.Schema([]));
  const data = arrow.makeData({ type, length: rows.length, nullCount: 0, children: columns.map((column) => column.data[0]) });
  return new arrow.Table([new arrow.RecordBatch(new arrow.Schema(type.children), data)]);
}

/** The table of an Arrow IPC stream or file */
export async function arrowTable(body) {
  const arrow = await arrowLibrary();
  try {
    const input = body.slice(); // aligned, and ours
    const checked = checkInput(arrow, input);
    const table = arrow.tableFromIPC(input.subarray(0, checked));
    for (const batch of table.batches) checkData(arrow, batch.data, batch.numRows);
    return withTypes(table);
  } catch (error) {
    if (error instanceof NATSBridgeError) throw error;
    const unknown = /Unrecognized type|codec not found/.test(error.message);
    throw new NATSBridgeError(unknown ? "unsupported" : "undecodable", `it is not a readable Arrow table: ${error.message}`, null, error);
  }
}

/** Gives columns that share a name their types back, which apache-arrow makes one */
export function withTypes(table) {
  const [first] = table.batches;
  for (const { schema, data } of table.batches) schema.fields.splice(0, schema.fields.length, ...data.type.children);
  if (first) table.schema.fields.splice(0, table.schema.fields.length, ...first.data.type.children);
  return table;
}
