/** What the package exports, the same on every platform. */

export { NATSBridgeError } from "./errors.js";
export { smartsend, discard } from "./send.js";
export { smartreceive, openMessage } from "./receive.js";
export { fetchWithBackoff } from "./links.js";
export { plikUpload } from "./uploads.js";
export { file } from "./sources.js";
export { parseTimestamp } from "./values.js";
export { setLogger } from "./log.js";
export { metrics, metricsText, resetMetrics } from "./metrics.js";
export { useArrow } from "./arrow/library.js";
export { Bridge } from "./bridge/bridge.js";
export { ack, nack, reply } from "./bridge/answers.js";
