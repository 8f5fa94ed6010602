/** The package for `require` in Node. */
"use strict";

module.exports = require("./load.cjs")("./src/node.js");
