/** `natsbridge/testing` in Node. */

import "./node.js"; // chooses the platform

export * from "./testing.js";
