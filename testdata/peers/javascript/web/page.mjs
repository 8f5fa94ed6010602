/** A page that sends and shows messages: natsbridge.mjs, NATS by its websocket listener, and the browser's own elements. */

import { wsconnect } from "@nats-io/nats-core";

import { NATSBridgeError, discard, smartreceive, smartsend } from "../natsbridge.mjs";

const find = (id) => document.getElementById(id);

// Where the servers are stands in the page's address: ?ws=…&files=…&subject=…&name=…
const given = new URLSearchParams(location.search);
const settings = {
  ws: given.get("ws") ?? "ws://127.0.0.1:9222",
  files: given.get("files") ?? "http://127.0.0.1:8080",
  subject: given.get("subject") ?? "web.room",
  name: given.get("name") ?? "a page",
};
const me = crypto.randomUUID();

/** Rows of a simple CSV: no quotes; what reads as a number is one */
function rowsOf(csv) {
  const [head, ...lines] = csv.trim().split(/\r?\n/).map((line) => line.split(",").map((cell) => cell.trim()));
  const typed = (cell) => (cell !== "" && Number.isFinite(Number(cell)) ? Number(cell) : cell);
  return lines.map((cells) => Object.fromEntries(head.map((column, index) => [column, typed(cells[index] ?? "")])));
}

/** What the form holds, as (dataname, data, type) triples */
async function partsOf(form) {
  const parts = [];
  const bytes = async (file) => new Uint8Array(await file.arrayBuffer());
  const [image] = form.image.files;
  const [file] = form.file.files;
  if (form.text.value) parts.push(["text", form.text.value, "text"]);
  if (image) parts.push([image.name, await bytes(image), "image"]);
  if (form.table.value.trim()) parts.push(["table", rowsOf(form.table.value), "jsontable"]);
  if (file) parts.push([file.name, await bytes(file), "binary"]);
  return parts;
}

async function send(nc, form) {
  const parts = await partsOf(form);
  if (parts.length === 0) throw new Error("there is nothing to send");
  const [envelope, json] = await smartsend(settings.subject, parts, {
    broker_url: settings.ws,
    fileserver_url: settings.files,
    max_message_size: nc.info.max_payload,
    sender_name: settings.name,
    sender_id: me,
  });
  try {
    nc.publish(settings.subject, json);
    await nc.flush();
  } catch (error) {
    await discard(envelope); // nobody will read what was uploaded
    throw error;
  }
}

// -------------------------------------------------------------------------------------------------------- showing

/** An element with text or children; a stranger's words only ever become text */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function tableOf(rows) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const numeric = (column) => (rows.every((row) => typeof row[column] !== "string") ? "number" : "");
  const cell = (tag, column, value) => element(tag, { className: numeric(column) }, String(value ?? ""));
  const line = (tag, value) => element("tr", {}, ...columns.map((column) => cell(tag, column, value(column))));
  return element("table", {}, line("th", (column) => column), ...rows.map((row) => line("td", (column) => row[column])));
}

function shown([name, data, type]) {
  const url = () => URL.createObjectURL(new Blob([data]));
  switch (type) {
    case "text": return element("p", {}, data);
    case "dictionary": return element("pre", {}, JSON.stringify(data, (_, value) => (typeof value === "bigint" ? String(value) : value), 2));
    case "jsontable": return tableOf(data);
    case "image": return element("img", { src: url(), alt: name });
    case "audio": case "video": return element(type, { src: url(), controls: true });
    default: return element("a", { href: url(), download: name }, `save ${name}`);
  }
}

const size = (bytes) => (bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

function card(message, children) {
  const time = new Date(message.timestamp || Date.now()).toLocaleTimeString();
  const heading = element("header", {}, element("strong", {}, message.sender_name || "somebody"), time);
  const article = element("article", { className: message.sender_id === me ? "message mine" : "message" }, heading, ...children);
  find("none")?.remove();
  find("messages").prepend(article);
}

async function receive(data) {
  try {
    const message = await smartreceive(data, { allowed_origins: [new URL(settings.files).origin] });
    const { payloads: sent } = JSON.parse(new TextDecoder().decode(data)); // how each came, for show
    card(message, message.payloads.map((payload, index) => {
      const how = element("span", { className: sent[index].transport }, sent[index].transport);
      const about = element("h3", {}, `${payload[0]} · ${payload[2]} · ${size(sent[index].size)} · `, how);
      return element("div", { className: "payload" }, about, shown(payload));
    }));
  } catch (error) {
    if (!(error instanceof NATSBridgeError)) throw error;
    card({ sender_name: "a message that can't be read" }, [element("p", { className: "problem" }, `${error.code}: ${error.message}`)]);
  }
}

// ------------------------------------------------------------------------------------------------------ connecting

function state(word, className) {
  Object.assign(find("state"), { textContent: word, className: `state ${className}` });
}

find("me").textContent = settings.name;
find("subject").textContent = settings.subject;

const nc = await wsconnect({ servers: settings.ws, name: settings.name }).catch((error) => {
  state(`no NATS at ${settings.ws}: ${error.message}`, "off");
  throw error;
});
const subscription = nc.subscribe(settings.subject);
await nc.flush();
state("connected", "on");
(async () => {
  for await (const { type } of nc.status()) {
    if (type === "disconnect") state("connection lost, trying again …", "off");
    if (type === "reconnect") state("connected", "on");
  }
})();

find("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button");
  find("problem").textContent = "";
  button.disabled = true;
  try {
    await send(nc, form.elements);
    form.reset();
  } catch (error) {
    find("problem").textContent = error.message;
  }
  button.disabled = false;
});

for await (const message of subscription) await receive(message.data);
