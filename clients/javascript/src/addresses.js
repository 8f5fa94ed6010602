/** Where a link may lead: origins, and the addresses that no link may lead to (specification, section 8). */

import { shown, wrongValue } from "./errors.js";

/** Networks that no link may lead to; testdata/addresses.json has the same */
export const FORBIDDEN_NETWORKS = [
  "0.0.0.0/8", "100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.192/32", "224.0.0.0/4", "240.0.0.0/4",
  "::/128", "64:ff9b:1::/48", "fd00:42::42/128", "fd00:a9fe:a9fe::1/128", "fd00:c1::a9fe:a9fe/128", "fd00:ec2::/32",
  "fd20:ce::254/128", "fe80::/10", "fec0::/10", "ff00::/8",
];
/** Where an IPv6 address holds one of version 4: network, first bit, whether all bits are inverted */
export const EMBEDDING_NETWORKS = [
  ["::/96", 96, false], ["::ffff:0:0/96", 96, false], ["::ffff:0:0:0/96", 96, false], ["64:ff9b::/96", 96, false],
  ["2002::/16", 16, false], ["2001::/32", 96, true],
];

/** The code of the error that a connection to a forbidden address is */
export const FORBIDDEN = "NATSBRIDGE_FORBIDDEN";

const zoned = /^[^/?#]*[/\\]+[^/?#]*\[[^\]/?#]*%/;

/** An http or https URL, or null */
export function webUrl(text) {
  try {
    const url = new URL(text);
    // An address with a zone is none of the URL standard's, but Node 16 takes it and loses the zone.
    return ["http:", "https:"].includes(url.protocol) && !zoned.test(text) ? url : null;
  } catch {
    return null;
  }
}

/** Scheme, host and port, the same for every spelling of loopback; null for what is no http or https URL, or has user info */
export function originOf(text) {
  const url = webUrl(text);
  return url === null || url.username || url.password ? null : plainOrigin(url);
}

/** The origin of a URL that may have user info */
export function plainOrigin(url) {
  const host = url.hostname.replace(/\.$/, "");
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return `${url.protocol}//${["127.0.0.1", "[::1]"].includes(host) ? "localhost" : host}:${port}`;
}

/** A file server's URL without user info, and the headers that its user info makes */
export function serverOf(text) {
  const url = webUrl(text);
  if (url === null) throw wrongValue(`\`fileserver_url\` is not an http or https URL such as http://localhost:8080: ${shown(String(text).replace(/\/\/.*@/, "//"))}`);
  const headers = {};
  if (url.username || url.password) {
    const login = [url.username, url.password].map(decodeURIComponent).join(":");
    headers.Authorization = `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(login)))}`;
    url.username = "";
    url.password = "";
  }
  url.search = "";
  url.hash = "";
  return { base: url.href.replace(/\/+$/, ""), origin: plainOrigin(url), protocol: url.protocol, headers };
}

/** The file server that was found sound last */
let checked;

/** Refuses options that name no origins; what was found sound is not looked at for each message again */
export function checkOrigins({ allowed_origins, fileserver_url }) {
  if (allowed_origins === undefined && fileserver_url === checked) return;
  originsOf(allowed_origins, fileserver_url);
  if (allowed_origins === undefined) checked = fileserver_url;
}

/** The origins that links may lead to; null where only the list of forbidden addresses decides */
export function originsOf(allowed, fileserverUrl) {
  if ((allowed ?? null) === null) {
    if ((fileserverUrl ?? "") === "") return null;
    const url = webUrl(fileserverUrl);
    if (url !== null && (url.username || url.password)) return [plainOrigin(url)];
    allowed = [fileserverUrl];
  }
  const list = typeof allowed === "string" ? [allowed] : allowed;
  const odd = Array.isArray(list) ? list.find((origin) => originOf(origin) === null) : list;
  if (odd === undefined) return [...list];
  throw wrongValue(`\`allowed_origins\` and \`fileserver_url\` are origins such as https://files.example.com, not ${shown(odd)}`);
}

/** An address as its bits in text, or null for a name */
function bitsOf(host) {
  const plain = host.replace(/^\[|\]$/g, "").split("%")[0];
  const bits = (numbers, width) => numbers.map((number) => number.toString(2).padStart(width, "0")).join("");
  if (/^\d+\.\d+\.\d+\.\d+$/.test(plain)) return bits(plain.split(".").map(Number), 8);
  return plain.includes(":") ? bits(groupsOf(plain), 16) : null;
}

function within(bits, network) {
  const [address, length] = network.split("/");
  const start = bitsOf(address);
  return bits.length === start.length && bits.startsWith(start.slice(0, Number(length)));
}

/** Whether no link may lead to this address; `new URL` has already made odd spellings plain, and a name is none of them */
export function isForbidden(host, bits = bitsOf(host)) {
  if (bits === null) return false;
  if (FORBIDDEN_NETWORKS.some((network) => within(bits, network))) return true;
  if (bits.length === 32 || BigInt(`0b${bits}`) === 1n) return false;
  return EMBEDDING_NETWORKS.some(([network, bit, inverted]) => {
    const inner = [...bits.slice(bit, bit + 32)].map((digit) => (inverted ? String(1 - digit) : digit)).join("");
    return within(bits, network) && isForbidden(host, inner);
  });
}

/** The eight numbers of an IPv6 address */
function groupsOf(address) {
  const dotted = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => `${((a << 8) | +b).toString(16)}:${((c << 8) | +d).toString(16)}`);
  const [head, tail] = dotted.split("::").map((half) => (half ? half.split(":").map((group) => parseInt(group, 16)) : []));
  return tail ? [...head, ...Array(8 - head.length - tail.length).fill(0), ...tail] : head;
}
