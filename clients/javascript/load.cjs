/**
 * CommonJS: Node loads the package's ES modules by `require` where it can (20.19 and newer); older ones are given the same
 * files with their imports and exports written as `require` and `exports`, so that there is one source and no build.
 */
"use strict";

const { readFileSync } = require("node:fs");
const Module = require("node:module");
const { dirname, resolve } = require("node:path");

const loaded = new Map();

const IMPORT = /^import (?:(\{[^}]*\}|\* as \w+) from )?"([^"]+)";/gm;
const REEXPORT = /^export (\*|\{[^}]*\}) from "([^"]+)";/gm;
const DECLARED = /^export ((?:async )?function\*?|class|const|let) (\w+)/gm;

/** The text of an ES module of this package as CommonJS */
function rewritten(text) {
  const names = [];
  const list = (braces) => braces.slice(1, -1).split(",").map((name) => name.trim()).filter(Boolean);
  const body = text
    .replace(REEXPORT, (_, what, from) => {
      const found = `require(${JSON.stringify(from)})`;
      return what === "*" ? `Object.assign(exports, ${found});` : list(what).map((name) => `exports.${name} = ${found}.${name};`).join(" ");
    })
    .replace(IMPORT, (_, what = "", from) => {
      const found = `require(${JSON.stringify(from)})`;
      if (what.startsWith("*")) return `const ${what.slice(5)} = ${found};`;
      return what === "" ? `${found};` : `const { ${list(what).map((name) => name.replace(" as ", ": ")).join(", ")} } = ${found};`;
    })
    .replace(DECLARED, (_, kind, name) => {
      names.push(name);
      return `${kind} ${name}`;
    });
  // Before anything else, as modules may need each other.
  const exported = names.map((name) => `Object.defineProperty(exports, "${name}", { enumerable: true, get: () => ${name} });`);
  return `"use strict"; ${exported.join(" ")} ${body}`;
}

function load(path) {
  const known = loaded.get(path);
  if (known) return known.exports;
  const module = new Module(path);
  module.filename = path;
  module.paths = Module._nodeModulePaths(dirname(path));
  loaded.set(path, module);
  const plain = module.require.bind(module);
  module.require = (name) => (name.startsWith(".") ? load(resolve(dirname(path), name)) : plain(name));
  module._compile(rewritten(readFileSync(path, "utf8")), path);
  return module.exports;
}

/** The exports of one of the package's modules */
module.exports = (path) => {
  const file = resolve(__dirname, path);
  if (process.features.require_module) return require(file);
  const found = load(file);
  // As its own object, so that named imports of a CommonJS module are found.
  return Object.defineProperties({}, Object.getOwnPropertyDescriptors(found));
};
