/** Counters and durations under the names of docs/operations; a program reads them when it likes. */

const NAMES = [
  "messages_sent_total", "messages_received_total", "acks_sent_total", "nacks_sent_total", "messages_repeated_total",
  "message_gaps_total", "message_duplicates_total", "messages_reordered_total", "download_retry_exceeded_total",
  'retry_attempts_total{operation="upload"}', 'retry_attempts_total{operation="download"}',
  'deliveries_failed_total{code="unacknowledged"}', 'deliveries_failed_total{code="nacked"}',
];
/** Label values are codes; a handler's own ones must not fill the memory */
const MAX_SERIES = 1_000;

let counters;
let durations;

/** Sets every counter to zero */
export function resetMetrics() {
  counters = new Map(NAMES.map((name) => [name, 0]));
  durations = new Map();
}
resetMetrics();

const series = (name, labels) => {
  const words = Object.entries(labels ?? {}).map(([key, value]) => `${key}="${String(value).slice(0, 60).replace(/[\\"\n]/g, "_")}"`);
  return words.length > 0 ? `${name}{${words.join(",")}}` : name;
};

/** Counts something; `name` is one of the documented ones */
export function count(name, labels = null, by = 1) {
  const key = labels === null ? name : series(name, labels);
  const known = counters.get(key);
  if (known !== undefined) counters.set(key, known + by);
  else if (counters.size < MAX_SERIES) counters.set(key, by);
}

/** Notes how long a transfer took */
function observe(name, outcome, milliseconds) {
  const key = series(name, { outcome });
  const known = durations.get(key) ?? { count: 0, sum: 0 };
  if (durations.size >= MAX_SERIES && !durations.has(key)) return;
  durations.set(key, { count: known.count + 1, sum: known.sum + milliseconds / 1000 });
}

/** All counters and durations (`count`, `sum` in seconds) by name and labels, as Prometheus writes them */
export function metrics() {
  return { ...Object.fromEntries(counters), ...Object.fromEntries(durations) };
}

/** The same as Prometheus' text format */
export function metricsText() {
  const lines = [...counters].map(([name, value]) => `${name} ${value}`);
  for (const [name, { count: times, sum }] of durations) {
    lines.push(`${name.replace("{", "_count{")} ${times}`, `${name.replace("{", "_sum{")} ${sum}`);
  }
  return `${lines.sort().join("\n")}\n`;
}

/** Runs a transfer and notes how long it took and how it ended */
export async function timed(name, work) {
  const start = Date.now();
  try {
    const result = await work();
    observe(name, "ok", Date.now() - start);
    return result;
  } catch (error) {
    observe(name, error?.code ?? "handler", Date.now() - start);
    throw error;
  }
}
