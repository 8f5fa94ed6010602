/** The package in browsers. */

import { choosePlatform } from "./platform.js";
import { browserPlatform } from "./platform/browser.js";

choosePlatform(browserPlatform);

export * from "./index.js";
