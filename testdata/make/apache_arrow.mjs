// Arrow tables that the npm package apache-arrow writes: node make/apache_arrow.mjs, with NATSBRIDGE_MODULES naming the
// folder of the package. What must be read is what the package was given, stated here as text beside it.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = process.env.NATSBRIDGE_MODULES ?? join(root, "node_modules");
const arrow = createRequire(join(modules, "here.js"))("apache-arrow");
const NAME = "apache-arrow";
const VERSION = JSON.parse(readFileSync(join(root, "producers.json"), "utf8"))[NAME].version;
const found = JSON.parse(readFileSync(join(modules, NAME, "package.json"), "utf8")).version;
if (found !== VERSION) throw new Error(`apache-arrow ${found} is here, producers.json says ${VERSION}`);

const LARGEST_INLINE = 1024;
const URL = "http://files.test/file/u1/f1/payload.bin";
const uuid = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

const folder = join(root, "receive", "valid");
mkdirSync(folder, { recursive: true });
for (const file of readdirSync(folder)) {
  if (JSON.parse(readFileSync(join(folder, file), "utf8")).producer.name === NAME) rmSync(join(folder, file));
}

let written = 0;
function valid(name, comment, table, columns, { format = "stream", flags = [] } = {}) {
  const bytes = Buffer.from(arrow.tableToIPC(table, format));
  const large = bytes.length > LARGEST_INLINE;
  const path = join(folder, `arrowtable_js_${name}${large ? "_link" : ""}.json`);
  if (existsSync(path)) throw new Error(`${path} is another producer's`);
  const payload = {
    id: uuid(101), dataname: "value", payload_type: "arrowtable", transport: large ? "link" : "direct",
    encoding: large ? "none" : "base64", size: bytes.length, data: large ? URL : bytes.toString("base64"),
    metadata: large ? { sha256: sha256(bytes) } : {},
  };
  if (large) writeFileSync(join(root, "blobs", sha256(bytes)), bytes);
  const value = { table: { columns: columns.map(([name, type, values]) => ({ name, type, values })) } };
  const nonAscii = JSON.stringify(columns).match(/[^\x00-\x7f]/) ? ["NonAscii"] : [];
  const all = [...new Set(["Arrow", ...flags, ...(large ? ["Large", "Link"] : []), ...nonAscii])].sort();
  const vector = {
    schema: "vector-v1", comment, producer: { name: NAME, version: VERSION, how: "captured" }, result: "valid", flags: all,
    envelope: {
      correlation_id: uuid(1), msg_id: uuid(2), timestamp: "2026-05-13T08:15:30.123Z", send_to: "lab.results",
      msg_purpose: "chat", sender_name: "NATSBridge", sender_id: uuid(3), receiver_name: "", receiver_id: "", reply_to: "",
      reply_to_msg_id: "", broker_url: "nats://localhost:4222", metadata: {}, payloads: [payload],
    },
    ...(large ? { links: { [URL]: { blob: sha256(bytes), size: bytes.length } } } : {}),
    expect: { subject: "lab.results", parts: [{ name: "value", type: "arrowtable", transport: payload.transport, value }] },
  };
  writeFileSync(path, JSON.stringify(vector, null, 2) + "\n");
  written += 1;
}

const T = arrow;
const one = (name, type, given, kind, values, flags = []) =>
  valid(`type_${name}`, `A column of type ${kind}, written by apache-arrow.`, new T.Table({ c: T.vectorFromArray(given, type) }), [["c", kind, values]], { flags });

one("bool", new T.Bool(), [true, null, false], "bool", ["true", null, "false"]);
one("int8", new T.Int8(), [-128, null, 127], "int8", ["-128", null, "127"]);
one("int16", new T.Int16(), [-32768, null, 32767], "int16", ["-32768", null, "32767"]);
one("int32", new T.Int32(), [-2147483648, null, 2147483647], "int32", ["-2147483648", null, "2147483647"]);
one("int64", new T.Int64(), [-(2n ** 63n), null, 2n ** 63n - 1n], "int64", ["-9223372036854775808", null, "9223372036854775807"], ["Integer64"]);
one("uint8", new T.Uint8(), [0, null, 255], "uint8", ["0", null, "255"]);
one("uint16", new T.Uint16(), [0, null, 65535], "uint16", ["0", null, "65535"]);
one("uint32", new T.Uint32(), [0, null, 4294967295], "uint32", ["0", null, "4294967295"]);
one("uint64", new T.Uint64(), [0n, null, 2n ** 64n - 1n], "uint64", ["0", null, "18446744073709551615"], ["Integer64"]);
one("float32", new T.Float32(), [1.5, null, NaN, -Infinity, -0], "float32", ["1.5", null, "NaN", "-inf", "-0.0"]);
one("float64", new T.Float64(), [0.1, null, NaN, Infinity, 5e-324], "float64", ["0.1", null, "NaN", "inf", "5e-324"]);
one("utf8", new T.Utf8(), ["a", null, "Grüße 👩\u200d🔬", ""], "utf8", ["a", null, "Grüße 👩\u200d🔬", ""]);
one("binary", new T.Binary(), [new Uint8Array([0, 255]), null, new Uint8Array()], "binary", ["00ff", null, ""]);
one("fixed_size_binary", new T.FixedSizeBinary(2), [new Uint8Array([0, 255]), null], "fixed_size_binary(2)", ["00ff", null]);
one("date32", new T.DateDay(), [new Date("2026-05-13T00:00:00Z"), null], "date32", ["20586", null]);
one("date64", new T.DateMillisecond(), [new Date("2026-05-13T00:00:00Z"), null], "date64", ["1778630400000", null]);
one("time32_s", new T.TimeSecond(), [86399, null], "time32[s]", ["86399", null]);
one("time32_ms", new T.TimeMillisecond(), [86399999, null], "time32[ms]", ["86399999", null]);
one("time64_us", new T.TimeMicrosecond(), [86399999999n, null], "time64[us]", ["86399999999", null]);
one("time64_ns", new T.TimeNanosecond(), [86399999999999n, null], "time64[ns]", ["86399999999999", null]);
one("timestamp_ms", new T.TimestampMillisecond(), [1778660130123, null], "timestamp[ms]", ["1778660130123", null]);
one("timestamp_utc", new T.TimestampMillisecond("UTC"), [1778660130123, null], "timestamp[ms, UTC]", ["1778660130123", null]);
one("list", new T.List(new T.Field("item", new T.Int32(), true)), [[1, 2], null, []], "list<int32>", ["[1,2]", null, "[]"]);
one("fixed_size_list", new T.FixedSizeList(2, new T.Field("item", new T.Int16(), true)), [[1, 2], [3, 4]], "fixed_size_list<int16, 2>", ["[1,2]", "[3,4]"]);
one("struct", new T.Struct([new T.Field("x", new T.Int32(), true), new T.Field("y", new T.Utf8(), true)]), [{ x: 1, y: "a" }, { x: 2, y: "b" }],
  "struct<x: int32, y: utf8>", ['{"x":1,"y":"a"}', '{"x":2,"y":"b"}']);
one("dictionary", new T.Dictionary(new T.Utf8(), new T.Int32()), ["r", null, "g", "r"], "dictionary<int32, utf8>", ["r", null, "g", "r"]);

const columns = () => ({
  n: T.vectorFromArray([1n, null, 2n ** 63n - 1n], new T.Int64()),
  größe: T.vectorFromArray(["a", "ß", null], new T.Utf8()),
});
const shown = [["n", "int64", ["1", null, "9223372036854775807"]], ["größe", "utf8", ["a", "ß", null]]];
valid("two_columns", "Columns keep their names and order.", new T.Table(columns()), shown, { flags: ["Integer64"] });
valid("file", "The file format, by apache-arrow, which writes the schema into the footer alone.", new T.Table(columns()), shown, { format: "file", flags: ["Integer64", "Tolerance"] });
const many = Array.from({ length: 1000 }, (_, n) => n);
valid("rows", "1,000 rows, as plain JavaScript numbers and words.",
  new T.Table({ n: T.vectorFromArray(many, new T.Float64()), s: T.vectorFromArray(many.map((n) => `row ${n % 7}`), new T.Utf8()) }),
  [["n", "float64", many.map((n) => `${n}.0`)], ["s", "utf8", many.map((n) => `row ${n % 7}`)]]);
const guessed = T.tableFromArrays({ volts: Float32Array.of(1.5, 2.5), count: Int32Array.of(1, 2), name: ["a", "b"] });
valid("guessed", "Types that the package chose: words become a dictionary.", guessed,
  [["volts", "float32", ["1.5", "2.5"]], ["count", "int32", ["1", "2"]], ["name", "dictionary<int32, utf8>", ["a", "b"]]]);
console.log(written, "vectors");
