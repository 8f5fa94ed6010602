/** Arrow tables as testdata/README.md writes them: a type by name, each value a string or null. */

import { arrowLibrary, withTypes } from "../../../clients/javascript/src/arrow/library.js";
import { decimalText, shortest, stored } from "../../../clients/javascript/src/arrow/plain.js";
import { hex } from "../../../clients/javascript/src/digest.js";
import { JsonReader, writeValue as writeJson } from "../../../clients/javascript/src/json.js";

const UNITS = ["s", "ms", "us", "ns"];
const utf8 = new TextEncoder();

/** An Arrow table of `{columns: [{name, type, values}]}` */
export async function tableOf({ columns }) {
  const arrow = await arrowLibrary();
  const types = columns.map((column) => typeOf(arrow, column.type));
  const fields = columns.map((column, index) => new arrow.Field(column.name, types[index], true));
  const length = columns[0]?.values.length ?? 0;
  const children = columns.map(({ values }, index) => {
    const nested = isNested(arrow, types[index]);
    const items = values.map((value) => (nested && value !== null ? new JsonReader(value, 200).document().value : value));
    return dataOf(arrow, types[index], items);
  });
  const schema = new arrow.Schema(fields);
  const data = arrow.makeData({ type: new arrow.Struct(fields), length, nullCount: 0, children });
  return withTypes(new arrow.Table([new arrow.RecordBatch(schema, data)]));
}

/** The reverse of `tableOf` */
export async function valueOf(table) {
  const arrow = await arrowLibrary();
  const columns = table.schema.fields.map((field, column) => {
    const values = [];
    for (const batch of table.batches) {
      const data = batch.data.children[column];
      for (let row = 0; row < batch.numRows; row += 1) values.push(text(arrow, data, row));
    }
    return { name: field.name, type: nameOf(arrow, field.type), values };
  });
  return { columns };
}

function isNested(arrow, type) {
  const { Type } = arrow;
  return [Type.List, Type.LargeList, Type.FixedSizeList, Type.Struct, Type.Map].includes(type.dictionary?.typeId ?? type.typeId);
}

/** `a, b<c, d>` as [`a`, `b<c, d>`] */
function split(list) {
  const parts = [""];
  let depth = 0;
  for (const letter of list) {
    if ("<([".includes(letter)) depth += 1;
    if (">)]".includes(letter)) depth -= 1;
    if (letter === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += letter;
  }
  return parts.map((part) => part.trim()).filter(Boolean);
}

function typeOf(arrow, name) {
  const simple = {
    null: () => new arrow.Null(), bool: () => new arrow.Bool(), float16: () => new arrow.Float16(), float32: () => new arrow.Float32(),
    float64: () => new arrow.Float64(), date32: () => new arrow.DateDay(), date64: () => new arrow.DateMillisecond(),
    utf8: () => new arrow.Utf8(), large_utf8: () => new arrow.LargeUtf8(), utf8_view: () => new arrow.Utf8View(),
    binary: () => new arrow.Binary(), large_binary: () => new arrow.LargeBinary(), binary_view: () => new arrow.BinaryView(),
    "interval[year_month]": () => new arrow.IntervalYearMonth(), "interval[day_time]": () => new arrow.IntervalDayTime(),
    "interval[month_day_nano]": () => new arrow.IntervalMonthDayNano(),
  };
  if (simple[name]) return simple[name]();
  const [, word, bits, open, inside] = /^([a-z_]+?)(\d*)(?:([[(<])(.*)[\])>])?$/.exec(name) ?? [];
  const parts = split(inside ?? "");
  const field = (part, called) => new arrow.Field(called, typeOf(arrow, part), true);
  switch (`${word}${open ?? ""}`) {
    case "int":
    case "uint":
      return new arrow.Int(word === "int", Number(bits));
    case "time[":
      return new arrow.Time(UNITS.indexOf(inside), Number(bits));
    case "timestamp[":
      return new arrow.Timestamp(UNITS.indexOf(parts[0]), parts[1] ?? null);
    case "duration[":
      return new arrow.Duration(UNITS.indexOf(inside));
    case "decimal(":
      return new arrow.Decimal(Number(parts[1]), Number(parts[0]), Number(bits));
    case "fixed_size_binary(":
      return new arrow.FixedSizeBinary(Number(inside));
    case "dictionary<":
      return new arrow.Dictionary(typeOf(arrow, parts[1]), typeOf(arrow, parts[0]));
    case "list<":
      return new arrow.List(field(parts[0], "item"));
    case "large_list<":
      return new arrow.LargeList(field(parts[0], "item"));
    case "fixed_size_list<":
      return new arrow.FixedSizeList(Number(parts[1]), field(parts[0], "item"));
    case "struct<":
      return new arrow.Struct(parts.map((part) => field(part.slice(part.indexOf(":") + 2), part.slice(0, part.indexOf(":")))));
    case "map<": {
      const entries = new arrow.Struct([new arrow.Field("key", typeOf(arrow, parts[0]), false), field(parts[1], "value")]);
      return new arrow.Map_(new arrow.Field("entries", entries, false));
    }
    default:
      throw new Error(`apache-arrow has no type ${name}`);
  }
}

function nameOf(arrow, type) {
  const { Type } = arrow;
  const inner = () => nameOf(arrow, type.children[0].type);
  const words = {
    [Type.Null]: "null", [Type.Bool]: "bool", [Type.Utf8]: "utf8", [Type.LargeUtf8]: "large_utf8", [Type.Utf8View]: "utf8_view",
    [Type.Binary]: "binary", [Type.LargeBinary]: "large_binary", [Type.BinaryView]: "binary_view",
  };
  switch (type.typeId) {
    case Type.Int:
      return `${type.isSigned ? "" : "u"}int${type.bitWidth}`;
    case Type.Float:
      return `float${16 << type.precision}`;
    case Type.Decimal:
      return `decimal${type.bitWidth}(${type.precision},${type.scale})`;
    case Type.Date:
      return type.unit === arrow.DateUnit.DAY ? "date32" : "date64";
    case Type.Time:
      return `time${type.bitWidth}[${UNITS[type.unit]}]`;
    case Type.Timestamp:
      return `timestamp[${UNITS[type.unit]}${type.timezone ? `, ${type.timezone}` : ""}]`;
    case Type.Duration:
      return `duration[${UNITS[type.unit]}]`;
    case Type.Interval:
      return `interval[${["year_month", "day_time", "month_day_nano"][type.unit]}]`;
    case Type.FixedSizeBinary:
      return `fixed_size_binary(${type.byteWidth})`;
    case Type.Dictionary:
      return `dictionary<${nameOf(arrow, type.indices)}, ${nameOf(arrow, type.dictionary)}>`;
    case Type.List:
      return `list<${inner()}>`;
    case Type.LargeList:
      return `large_list<${inner()}>`;
    case Type.FixedSizeList:
      return `fixed_size_list<${inner()}, ${type.listSize}>`;
    case Type.Struct:
      return `struct<${type.children.map((field) => `${field.name}: ${nameOf(arrow, field.type)}`).join(", ")}>`;
    case Type.Map:
      return `map<${type.children[0].type.children.map((field) => nameOf(arrow, field.type)).join(", ")}>`;
    default:
      return words[type.typeId] ?? String(type);
  }
}

// ---------------------------------------------------------------------------------------------------------- reading

/** One value as a string */
function text(arrow, data, index) {
  const value = inner(arrow, data, index, false);
  if (value === null || typeof value === "string") return value;
  return typeof value === "object" ? writeJson(value) : String(value);
}

/** One value inside JSON text, where floats are numbers; or outside, where they are strings */
function inner(arrow, data, index, inside = true) {
  const { Type } = arrow;
  const type = data.type.dictionary ?? data.type;
  const value = stored(arrow, data, index);
  if (value === null) return null;
  switch (type.typeId) {
    case Type.Int:
    case Type.Bool:
      return value;
    case Type.Float: {
      if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "inf" : "-inf";
      if (Object.is(value, -0)) return "-0.0";
      const number = type.precision === arrow.Precision.DOUBLE ? value : shortest(value);
      return inside ? number : String(number);
    }
    case Type.Decimal:
      return decimalText(value, type.scale);
    case Type.Interval:
      if (type.unit !== arrow.IntervalUnit.MONTH_DAY_NANO) return value.join(",");
      return `${value[0]},${value[1]},${(BigInt(value[3]) << 32n) | BigInt(value[2] >>> 0)}`;
    case Type.Struct:
      return Object.fromEntries(value.map(([child, at], place) => [type.children[place].name, inner(arrow, child, at)]));
    case Type.Map:
      return value.map(([child, at]) => child.children.map((side) => inner(arrow, side, at)));
    default:
      if (Array.isArray(value)) return value.map(([child, at]) => inner(arrow, child, at));
      return value instanceof Uint8Array ? hex(value) : String(value);
  }
}

// ---------------------------------------------------------------------------------------------------------- writing

/** Arrow data of parsed JSON texts */
function dataOf(arrow, type, items) {
  const { Type } = arrow;
  const length = items.length;
  const nullBitmap = new Uint8Array(Math.ceil(length / 8));
  items.forEach((item, index) => {
    if (item !== null) nullBitmap[index >> 3] |= 1 << (index & 7);
  });
  const common = { type, length, nullCount: items.filter((item) => item === null).length, nullBitmap };
  const make = (parts) => arrow.makeData({ ...common, ...parts });
  const ends = (lengths, array) => lengths.reduce((made, size, index) => ((made[index + 1] = made[index] + (made instanceof BigInt64Array ? BigInt(size) : size)), made), new array(length + 1));
  switch (type.typeId) {
    case Type.Null:
      return arrow.makeData({ type, length });
    case Type.Dictionary: {
      const places = new Map();
      items.forEach((item) => item !== null && !places.has(writeJson(item)) && places.set(writeJson(item), [places.size, item]));
      const dictionary = new arrow.Vector([dataOf(arrow, type.dictionary, [...places.values()].map(([, item]) => item))]);
      const data = numbers(type.indices, items.map((item) => (item === null ? null : places.get(writeJson(item))[0])));
      return make({ data, dictionary });
    }
    case Type.Bool: {
      const data = new Uint8Array(Math.ceil(length / 8));
      items.forEach((item, index) => {
        if (item === true || item === "true") data[index >> 3] |= 1 << (index & 7);
      });
      return make({ data });
    }
    case Type.Struct:
      return make({ children: type.children.map((field) => dataOf(arrow, field.type, items.map((item) => item?.[field.name] ?? null))) });
    case Type.FixedSizeList: {
      const flat = items.flatMap((item) => item ?? Array(type.listSize).fill(null));
      return make({ child: dataOf(arrow, type.children[0].type, flat) });
    }
    case Type.List:
    case Type.LargeList:
    case Type.Map: {
      const flat = items.flatMap((item) => item ?? []);
      const entries = type.typeId === Type.Map ? flat.map(([key, value]) => ({ key, value })) : flat;
      const valueOffsets = ends(items.map((item) => item?.length ?? 0), type.typeId === Type.LargeList ? BigInt64Array : Int32Array);
      return make({ valueOffsets, child: dataOf(arrow, type.children[0].type, entries) });
    }
    case Type.Utf8View:
    case Type.BinaryView: {
      const builder = arrow.makeBuilder({ type, nullValues: [null] });
      for (const item of items) builder.append(item === null || type.typeId === Type.Utf8View ? item : unhex(item));
      return builder.finish().flush();
    }
    case Type.Utf8:
    case Type.LargeUtf8:
    case Type.Binary:
    case Type.LargeBinary:
    case Type.FixedSizeBinary: {
      const isText = type.typeId === Type.Utf8 || type.typeId === Type.LargeUtf8;
      const bodies = items.map((item) => (item === null ? new Uint8Array(type.byteWidth ?? 0) : isText ? utf8.encode(item) : unhex(item)));
      const data = new Uint8Array(bodies.reduce((sum, body) => sum + body.length, 0));
      bodies.reduce((at, body) => (data.set(body, at), at + body.length), 0);
      if (type.typeId === Type.FixedSizeBinary) return make({ data });
      const large = type.typeId === Type.LargeUtf8 || type.typeId === Type.LargeBinary;
      return make({ data, valueOffsets: ends(bodies.map((body) => body.length), large ? BigInt64Array : Int32Array) });
    }
    case Type.Decimal: {
      const words = type.bitWidth / 32;
      const data = new Uint32Array(length * words);
      items.forEach((item, index) => {
        let unscaled = BigInt.asUintN(type.bitWidth, BigInt((item ?? "0").replace(".", "")));
        for (let word = 0; word < words; word += 1, unscaled >>= 32n) data[index * words + word] = Number(unscaled & 0xffffffffn);
      });
      return make({ data });
    }
    case Type.Interval: {
      const data = new Int32Array(length * (type.unit === arrow.IntervalUnit.MONTH_DAY_NANO ? 4 : type.unit + 1));
      items.forEach((item, index) => {
        const [first = 0n, second = 0n, nanos = 0n] = (item ?? "").split(",").filter(Boolean).map(BigInt);
        const parts = [first, second, BigInt.asIntN(32, nanos), nanos >> 32n].map(Number);
        data.set(parts.slice(0, data.length / length), index * (data.length / length));
      });
      return make({ data });
    }
    default:
      return make({ data: numbers(type, items) });
  }
}

/** The typed array of numbers, times and dates */
function numbers(type, items) {
  const data = new type.ArrayType(items.length);
  items.forEach((item, index) => {
    if (item === null) return;
    const special = { NaN: NaN, inf: Infinity, "-inf": -Infinity }[item];
    if (data instanceof BigInt64Array || data instanceof BigUint64Array) data[index] = BigInt(item);
    else if (data instanceof Uint16Array && type.precision === 0) data[index] = half(special ?? Number(item));
    else data[index] = special ?? Number(item);
  });
  return data;
}

/** The bits of a 16-bit float */
function half(value) {
  const bits = new Uint32Array(new Float32Array([value]).buffer)[0];
  const sign = (bits >>> 16) & 0x8000;
  const size = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | Math.round(size / 2 ** -24);
  const exponent = Math.floor(Math.log2(size));
  return sign | (((exponent + 15) << 10) + Math.round((size / 2 ** exponent - 1) * 1024));
}

const unhex = (digits) => Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
