/** `natsbridge/testing` for `require` in Node. */
"use strict";

module.exports = require("./load.cjs")("./src/testing-node.js");
