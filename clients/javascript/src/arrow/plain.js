/** Arrow to JSON, as the specification says: decimals and times as text, bytes as hexadecimal. */

import { NATSBridgeError, shown } from "../errors.js";
import { hex } from "../digest.js";

/** Rows that may be made of a table whose columns hold less than a bit for each */
const MAX_EMPTY_ROWS = 2 ** 20;

/** The rows of an Arrow table */
export function rowsOfTable(arrow, table) {
  const names = table.schema.fields.map((field) => field.name);
  // Rows of nulls take no bytes: some hundred of them may say that they are millions.
  const bytes = table.batches.reduce((sum, batch) => sum + batch.data.byteLength, 0);
  if (table.numRows > Math.max(MAX_EMPTY_ROWS, 8 * bytes)) throw new NATSBridgeError("too_large", `a table of ${table.numRows} rows that hold nothing is not made into rows`);
  if (new Set(names).size < names.length) throw new NATSBridgeError("unconvertible", "two columns have the same name");
  return table.batches.flatMap((batch) =>
    Array.from({ length: batch.numRows }, (_, row) =>
      Object.fromEntries(names.map((name, column) => [name, plainIn(arrow, batch.data.children[column], row, table.schema.fields[column])])),
    ),
  );
}

/**
 * One value as it is stored: null, boolean, number, BigInt (64-bit integers, decimals, and whatever counts time in 64 bits),
 * string or bytes; of nested types an array of `[data, index]` places. Dictionaries are looked up.
 */
export function stored(arrow, data, index) {
  const { Type } = arrow;
  const { type } = data;
  if (type.typeId === Type.Null || !data.getValid(index)) return null;
  const places = (child, from, to) => Array.from({ length: to - from }, (_, i) => [child, from + i]);
  switch (type.typeId) {
    case Type.Dictionary: {
      let at = Number(data.values[index]);
      const chunk = data.dictionary.data.find(({ length }) => at < length || ((at -= length), false));
      return stored(arrow, chunk, at);
    }
    case Type.Bool:
      return ((data.values[(data.offset + index) >> 3] >> ((data.offset + index) & 7)) & 1) === 1;
    case Type.Float:
      return type.precision === arrow.Precision.HALF ? arrow.util.uint16ToFloat64(data.values[index]) : data.values[index];
    case Type.Decimal: {
      let unscaled = 0n;
      const words = type.bitWidth / 32;
      for (let word = words - 1; word >= 0; word -= 1) unscaled = (unscaled << 32n) | BigInt(data.values[index * words + word] >>> 0);
      return BigInt.asIntN(type.bitWidth, unscaled);
    }
    case Type.Interval:
      return Array.from(data.values.subarray(index * data.stride, (index + 1) * data.stride));
    case Type.List:
    case Type.LargeList:
    case Type.Map:
      return places(data.children[0], Number(data.valueOffsets[index]), Number(data.valueOffsets[index + 1]));
    case Type.FixedSizeList:
      return places(data.children[0], index * type.listSize, (index + 1) * type.listSize);
    case Type.Struct:
      return data.children.map((child) => [child, index]);
    case Type.Union: {
      const child = data.children[type.typeIdToChildIndex[data.typeIds[index]]];
      return stored(arrow, child, type.mode === arrow.UnionMode.Dense ? data.valueOffsets[index] : index);
    }
    case Type.Int:
    case Type.Date:
    case Type.Time:
    case Type.Timestamp:
    case Type.Duration:
      return data.values[index];
    default:
      return new arrow.Vector([data]).get(index);
  }
}

/** The value of a column, whose name its errors bear */
function plainIn(arrow, data, row, field) {
  try {
    return plain(arrow, data, row, field);
  } catch (error) {
    if (error instanceof NATSBridgeError) throw new NATSBridgeError(error.code, `column ${shown(field.name)}: ${error.reason}`, null, error);
    throw error;
  }
}

/** A value as JSON: decimals and times as text, NaN and infinities as null, bytes as hexadecimal */
function plain(arrow, data, index, field = null) {
  const { Type } = arrow;
  const type = data.type.typeId === Type.Dictionary ? data.type.dictionary : data.type;
  const value = stored(arrow, data, index);
  if (value === null) return null;
  const scale = 10n ** BigInt((type.unit ?? 0) * 3);
  switch (type.typeId) {
    case Type.Int:
      return typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;
    case Type.Float:
      if (!Number.isFinite(value)) return null;
      return type.precision === arrow.Precision.DOUBLE ? value : shortest(value);
    case Type.Decimal:
      return decimalText(value, type.scale);
    case Type.Date:
      return dayText(type.unit === arrow.DateUnit.DAY ? BigInt(value) : floor(BigInt(value), 86_400_000n));
    case Type.Time:
      if (BigInt(value) < 0n || BigInt(value) > 86_400n * scale) throw new NATSBridgeError("unconvertible", "a time outside the day");
      return clockText(BigInt(value), scale);
    case Type.Timestamp:
      {
        const day = floor(value, 86_400n * scale);
        return `${dayText(day)}T${clockText(value - day * 86_400n * scale, scale)}${type.timezone ? "Z" : ""}`;
      }
    case Type.Duration:
      return `P${secondsText(value, scale)}`;
    case Type.Interval:
      if (type.unit === arrow.IntervalUnit.YEAR_MONTH) return `P${value[0]}M`;
      if (type.unit === arrow.IntervalUnit.DAY_TIME) return `P${value[0]}D${secondsText(BigInt(value[1]), 1000n)}`;
      return `P${value[0]}M${value[1]}D${secondsText((BigInt(value[3]) << 32n) | BigInt(value[2] >>> 0), 1_000_000_000n)}`;
    case Type.Struct: {
      const names = type.children.map(({ name }) => name);
      if (new Set(names).size < names.length) throw new NATSBridgeError("unconvertible", "two fields of a struct have the same name");
      return Object.fromEntries(value.map(([child, at], place) => [names[place], plain(arrow, child, at, type.children[place])]));
    }
    case Type.Map: {
      const entries = value.map(([child, at]) => child.children.map((side) => plain(arrow, side, at)));
      const texts = [Type.Utf8, Type.LargeUtf8, Type.Utf8View].includes(type.children[0].type.children[0].type.typeId);
      if (texts && new Set(entries.map(([key]) => key)).size < entries.length) throw new NATSBridgeError("unconvertible", "a key of a map stands twice");
      return texts ? Object.fromEntries(entries) : entries.map(([key, item]) => ({ key, value: item }));
    }
    case Type.Union: {
      const child = data.children[type.typeIdToChildIndex[data.typeIds[index]]];
      return plain(arrow, child, type.mode === arrow.UnionMode.Dense ? data.valueOffsets[index] : index);
    }
    default:
      if (Array.isArray(value)) return value.map(([child, at]) => plain(arrow, child, at, type.children[0]));
      if (!(value instanceof Uint8Array)) return value;
      if (field?.metadata?.get("ARROW:extension:name") !== "arrow.uuid") return hex(value);
      return hex(value).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }
}

/** The shortest decimal that reads back as this 32-bit float */
export function shortest(value) {
  for (let digits = 1; digits < 9; digits += 1) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return Number(text);
  }
  return Number(value.toPrecision(9));
}

export function decimalText(unscaled, scale) {
  if (scale <= 0) return String(unscaled * 10n ** BigInt(-scale));
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, "0");
  return `${unscaled < 0n ? "-" : ""}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

/** A day as ISO 8601, with sign and six digits for years that four digits can't say */
function dayText(days) {
  const shifted = days + 719_468n;
  const era = floor(shifted, 146_097n);
  const day = shifted - era * 146_097n;
  const year = (day - day / 1_460n + day / 36_524n - day / 146_096n) / 365n;
  const rest = day - (365n * year + year / 4n - year / 100n);
  const month = (5n * rest + 2n) / 153n;
  const whole = year + era * 400n + (month < 10n ? 0n : 1n);
  const two = (number) => String(number).padStart(2, "0");
  const size = String(whole < 0n ? -whole : whole);
  const shownYear = whole >= 0n && whole <= 9_999n ? size.padStart(4, "0") : `${whole < 0n ? "-" : "+"}${size.padStart(6, "0")}`;
  return `${shownYear}-${two(month < 10n ? month + 3n : month - 9n)}-${two(rest - (153n * month + 2n) / 5n + 1n)}`;
}

const floor = (number, by) => (number - (((number % by) + by) % by)) / by;

/** The time of day, with as many digits of a fraction as it needs: 0, 3, 6 or 9 */
function clockText(count, scale) {
  const [second, minute, hour] = [scale, 60n * scale, 3_600n * scale];
  const nanos = String((count % second) * (1_000_000_000n / scale)).padStart(9, "0");
  const digits = [0, 3, 6, 9].find((length) => !/[^0]/.test(nanos.slice(length)));
  const clock = [count / hour, (count % hour) / minute, (count % minute) / second];
  return clock.map((number) => String(number).padStart(2, "0")).join(":") + (digits ? `.${nanos.slice(0, digits)}` : "");
}

/** The time part of an ISO 8601 duration */
function secondsText(count, scale) {
  const size = count < 0n ? -count : count;
  const digits = String(size % scale).padStart(String(scale).length - 1, "0").replace(/0+$/, "");
  return `T${count < 0n ? "-" : ""}${size / scale}${digits && scale > 1n ? `.${digits}` : ""}S`;
}
