/**
 * Bundles a program by esbuild, vite and webpack, for a page and for Node: no warning, and no import is left that a page
 * can't resolve. `bundle.mjs OUT [README-PROGRAM]` prints a line for each.
 */

import assert from "node:assert/strict";
import { mkdir, readFile, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const [out, readme] = process.argv.slice(2);
const page = join(here, "page.mjs");

async function checked(name, folder) {
  const files = (await readdir(folder, { recursive: true })).filter((file) => /\.m?js$/.test(file));
  assert.ok(files.length > 0, `${name} wrote nothing`);
  for (const file of files) {
    const text = await readFile(join(folder, file), "utf8");
    // Strings in comments and messages do not count: an import does.
    const left = /\b(?:import|require)\s*\(\s*["'](?![./])[^"']+["']|\bfrom\s*["'](?![./])[^"']+["']/.exec(text);
    assert.equal(left, null, `${name}: ${left?.[0]}`);
    assert.ok(!/["']node:/.test(text), `${name}: something of Node`);
  }
  console.log(`${name}: bundled for a page without a warning (${files.length} file${files.length > 1 ? "s" : ""})`);
}

async function byEsbuild() {
  const { build } = await import("esbuild");
  const common = { bundle: true, format: "esm", logLevel: "silent", target: "es2022" };
  const made = await build({ ...common, entryPoints: [page], outfile: join(out, "esbuild/page.mjs"), platform: "browser" });
  assert.deepEqual(made.warnings, []);
  await checked("esbuild", join(out, "esbuild"));
  if (readme) {
    const node = await build({ ...common, entryPoints: [readme], outfile: join(out, "node/esbuild.mjs"), platform: "node", external: ["@nats-io/*"] });
    assert.deepEqual(node.warnings, []);
  }
}

async function byVite() {
  const { build } = await import("vite");
  const warnings = [];
  const onwarn = (warning) => warnings.push(warning.message);
  const log = (message) => warnings.push(message);
  const customLogger = { info() {}, warn: log, warnOnce: log, error: log, clearScreen() {}, hasErrorLogged: () => false, hasWarned: false };
  const options = (outDir, more) => ({ root: here, configFile: false, customLogger, build: { outDir, emptyOutDir: true, target: "es2022", minify: false, ...more } });
  await build(options(join(out, "vite"), { lib: { entry: page, formats: ["es"], fileName: "page" }, rollupOptions: { onwarn } }));
  assert.deepEqual(warnings, []);
  await checked("vite", join(out, "vite"));
  if (readme) {
    await build({ ...options(join(out, "node-vite"), { ssr: readme, rollupOptions: { onwarn, output: { entryFileNames: "vite.mjs" } } }), ssr: { noExternal: ["natsbridge"] } });
    assert.deepEqual(warnings, []);
  }
}

async function byWebpack() {
  const { default: webpack } = await import("webpack");
  const run = (options) => new Promise((resolve, reject) => webpack({ mode: "production", context: here, optimization: { minimize: false }, ...options }, (error, stats) => (error ? reject(error) : resolve(stats))));
  const module = { experiments: { outputModule: true, topLevelAwait: true } };
  const made = await run({ ...module, entry: page, target: "web", output: { path: join(out, "webpack"), filename: "page.mjs", module: true } });
  const { warnings, errors } = made.toJson();
  assert.deepEqual([warnings, errors], [[], []]);
  await checked("webpack", join(out, "webpack"));
  if (readme) {
    const node = await run({ ...module, entry: readme, target: "node16", externals: [/^@nats-io\//], externalsType: "module", output: { path: join(out, "node"), filename: "webpack.mjs", module: true } });
    assert.deepEqual([node.toJson().warnings, node.toJson().errors], [[], []]);
  }
}

await mkdir(out, { recursive: true });
for (const bundler of [byEsbuild, byVite, byWebpack]) await bundler();
