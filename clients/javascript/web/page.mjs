/** A page that sends and shows messages: the package natsbridge, NATS by its websocket listener, and the browser's own elements. */

import { wsconnect } from "@nats-io/nats-core";
import { Bridge } from "natsbridge";

const find = (id) => document.getElementById(id);

// Where the servers are stands in the page's address: ?ws=…&files=…&subject=…&name=…
const given = new URLSearchParams(location.search);
const settings = {
  ws: given.get("ws") ?? `ws://${location.hostname}:9222`,
  files: given.get("files") ?? `http://${location.hostname}:8080`,
  subject: given.get("subject") ?? "web.room",
  name: given.get("name") ?? "a page",
};

/** Rows of a simple CSV: no quotes; what reads as a number is one */
function rowsOf(csv) {
  const [head, ...lines] = csv.trim().split(/\r?\n/).map((line) => line.split(",").map((cell) => cell.trim()));
  const typed = (cell) => (cell !== "" && Number.isFinite(Number(cell)) ? Number(cell) : cell);
  return lines.map((cells) => Object.fromEntries(head.map((column, index) => [column, typed(cells[index] ?? "")])));
}

/** What the form holds, as (dataname, data, type) triples; files are read as they are sent */
function partsOf(form) {
  const parts = [];
  const [image] = form.image.files;
  const [file] = form.file.files;
  if (form.text.value) parts.push(["text", form.text.value, "text"]);
  if (image) parts.push([image.name, image, "image"]);
  if (form.table.value.trim()) parts.push(["table", rowsOf(form.table.value), "jsontable"]);
  if (file) parts.push([file.name, file, "binary"]);
  if (parts.length === 0) throw new Error("there is nothing to send");
  return parts;
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

const problemOf = (error) => element("p", { className: "problem" }, error.code ? `${error.code}: ${error.message}` : String(error.message ?? error));

/** What is shown of a payload; the file of a link is loaded when it is asked for */
async function shown(payload) {
  const type = payload.payloadType;
  const url = async () => URL.createObjectURL(await payload.blob());
  switch (type) {
    case "text": return element("p", {}, await payload.value());
    case "dictionary": return element("pre", {}, JSON.stringify(await payload.value(), (_, value) => (typeof value === "bigint" ? String(value) : value), 2));
    case "jsontable": return tableOf(await payload.value());
    case "arrowtable": return tableOf(await payload.value()); // says why a page can't
    case "image": return element("img", { src: await url(), alt: payload.dataname });
    case "audio": case "video": return element(type, { src: await url(), controls: true });
    default: return saver(payload);
  }
}

function saver(payload) {
  const link = element("a", { href: "#", download: payload.dataname }, `save ${payload.dataname}`);
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    try {
      await payload.save();
    } catch (error) {
      link.after(problemOf(error));
    }
  });
  return link;
}

const size = (bytes) => (bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

function card({ sender, timestamp, isMine }, children) {
  const time = new Date(timestamp || Date.now()).toLocaleTimeString();
  const heading = element("header", {}, element("strong", {}, sender || "somebody"), time);
  find("none")?.remove();
  find("messages").prepend(element("article", { className: isMine ? "message mine" : "message" }, heading, ...children));
}

/** A message, payload by payload: one that can't be read says so in its place */
async function show(message) {
  const children = message.payloads.map(async (payload) => {
    const how = element("span", { className: payload.transport }, payload.transport);
    const about = element("h3", {}, `${payload.dataname} · ${payload.payloadType} · ${size(payload.size)} · `, how);
    return element("div", { className: "payload" }, about, await shown(payload).catch(problemOf));
  });
  card({ sender: message.senderName, timestamp: message.timestamp, isMine: message.senderId === bridge.senderId }, await Promise.all(children));
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
const bridge = new Bridge(nc, { fileserverUrl: settings.files, brokerUrl: settings.ws, senderName: settings.name });
const messages = bridge.subscribe(settings.subject, {
  onError: (error) => card({ sender: "a message that can't be read" }, [problemOf(error)]),
});
await bridge.flush();
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
  const progress = find("progress");
  find("problem").textContent = "";
  button.disabled = true;
  try {
    const onProgress = ({ done, total }) => Object.assign(progress, { hidden: false, max: total, value: done });
    await bridge.send(settings.subject, partsOf(form.elements), { onProgress });
    form.reset();
  } catch (error) {
    find("problem").textContent = error.message;
  }
  progress.hidden = true;
  button.disabled = false;
});

for await (const message of messages) await show(message);
