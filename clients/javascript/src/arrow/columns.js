/** Rows to Arrow columns: the type of values, and how a value is given to its builder. */

import { NATSBridgeError } from "../errors.js";
import { bytesOf, describe, hasLoneSurrogate, isPlain, ownMember, tableForm } from "../values.js";

/** The Arrow type of values, and how a value is given to its builder */
export function typeOf(arrow, given, where) {
  const values = Array.from(given, tableForm);
  const present = values.filter((value) => (value ?? null) !== null);
  const refuse = (what) => new NATSBridgeError("unconvertible", `${where} holds ${what}`);
  const kindOf = (value) => {
    if (Array.isArray(value)) return "list";
    if (typeof value === "bigint") return "number";
    if (typeof value !== "object") return typeof value;
    if (value instanceof Date) return "date";
    if (bytesOf(value)) return "bytes";
    if (!isPlain(value)) throw refuse(`a ${describe(value)}, which no column holds`);
    return "object";
  };
  const kinds = new Set(present.map(kindOf));
  if (kinds.size > 1) throw refuse(`both ${[...kinds].join(" and ")}`);
  const nullable = (fitted) => (item) => {
    const value = tableForm(item);
    return (value ?? null) === null ? null : fitted(value);
  };
  switch ([...kinds][0]) {
    case undefined:
      return { type: new arrow.Null(), fit: () => null };
    case "boolean":
      return { type: new arrow.Bool(), fit: nullable((value) => value) };
    case "string":
      if (present.some((value) => hasLoneSurrogate(value))) throw refuse("a lone surrogate");
      return { type: new arrow.Utf8(), fit: nullable((value) => value) };
    case "date":
      if (present.some((value) => Number.isNaN(value.getTime()))) throw refuse("an invalid Date");
      return { type: new arrow.Timestamp(arrow.TimeUnit.MILLISECOND, "UTC"), fit: nullable((value) => value.getTime()) };
    case "bytes":
      return { type: new arrow.Binary(), fit: nullable(bytesOf) };
    case "number":
      return numberType(arrow, present, refuse, nullable);
    case "list": {
      const inner = typeOf(arrow, present.flatMap((list) => Array.from(list)), `${where}[]`);
      return { type: new arrow.List(new arrow.Field("item", inner.type, true)), fit: nullable((list) => Array.from(list, inner.fit)) };
    }
    case "object": {
      const names = [...new Set(present.flatMap((object) => Object.keys(object)))];
      if (names.some((name) => hasLoneSurrogate(name))) throw refuse("a name with a lone surrogate");
      if (present.some((object) => Object.getOwnPropertySymbols(object).length > 0)) throw refuse("a key that is a symbol");
      const inner = names.map((name) => typeOf(arrow, present.map((object) => ownMember(object, name)), `${where}.${name}`));
      const type = new arrow.Struct(names.map((name, index) => new arrow.Field(name, inner[index].type, true)));
      const fitted = (object) => Object.fromEntries(names.map((name, index) => [name, inner[index].fit(ownMember(object, name))]));
      return { type, fit: nullable(fitted) };
    }
    default:
      throw refuse([...kinds][0]);
  }
}

/** The type of numbers: what JSON writes as an integer is one, below 1e21 */
function numberType(arrow, present, refuse, nullable) {
  const isInteger = (value) => typeof value === "bigint" || (Number.isInteger(value) && Math.abs(value) < 1e21 && !Object.is(value, -0));
  if (!present.every(isInteger)) {
    const exact = (value) => !isInteger(value) || (value >= -(2 ** 53) && value <= 2 ** 53);
    if (!present.every(exact)) throw refuse("fractions and integers above 2^53");
    return { type: new arrow.Float64(), fit: nullable(Number) };
  }
  let [least, most] = [0n, 0n];
  for (const value of present.map(BigInt)) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  if (least >= -(2n ** 63n) && most < 2n ** 63n) return { type: new arrow.Int64(), fit: nullable(BigInt) };
  if (least >= 0n && most < 2n ** 64n) return { type: new arrow.Uint64(), fit: nullable(BigInt) };
  throw refuse("integers that fit neither int64 nor uint64");
}
