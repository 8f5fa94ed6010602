/** `natsbridge/testing` in browsers. */

import "./browser.js"; // chooses the platform

export * from "./testing.js";
