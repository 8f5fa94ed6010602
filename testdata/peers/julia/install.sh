#!/usr/bin/env bash
# Puts Julia into DIR: install.sh DIR
# A julia 1.5 or newer on PATH is used as it is. Else Debian's 1.5.3 is fetched by apt into DIR, unpacked and not installed:
# it needs Debian on x86_64, no rights, and leaves the system's own packages and lists alone.
set -euo pipefail

SUITE=bullseye # the last Debian that has Julia
PACKAGES=(
    julia julia-common libjulia1 libllvm9 libgit2-1.1 libmbedcrypto3 libmbedtls12 libmbedx509-0 libhttp-parser2.9 libffi7
    libgfortran5 libdsfmt-19937-1 libopenlibm3 libutf8proc2 libpcre3 libunwind8 libmpfr6 libgmp10 libssh2-1 libcurl3-gnutls
    libpcre2-8-0 libquadmath0
)
CHECK='using Sockets, SHA, UUIDs, Dates, Base64; VERSION >= v"1.5" && print("runs ", bytes2hex(sha256(""))[1:8])'
RIGHT='runs e3b0c442'

fail() {
    echo "julia: $1" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: install.sh DIR"
mkdir -p "$1"
cd "$1"
[ -e installed ] && exit 0

if command -v julia >/dev/null && [ "$(julia --startup-file=no -e "$CHECK" 2>/dev/null)" = "$RIGHT" ]; then
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$(command -v julia)" >julia
    chmod +x julia
    touch installed
    exit 0
fi

for tool in apt-get apt-config dpkg; do
    command -v $tool >/dev/null || fail "no julia 1.5 or newer on PATH, and no $tool to fetch one with; install Julia"
done
[ "$(dpkg --print-architecture)" = amd64 ] || fail "no julia 1.5 or newer on PATH; what is fetched here is for x86_64; install Julia"
# shellcheck disable=SC1091
codename=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") ||
    fail "no julia 1.5 or newer on PATH, and this is not Debian; install Julia"
site=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $codename" 'Component: main' | head -1)
[ -n "$site" ] || fail "apt knows no source of Debian $codename main to take the site of the packages from"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keys ] || fail "$keys is missing; apt install debian-archive-keyring"

# apt's own configuration (proxies, passwords) with another list of sources, and none of its hooks
rm -rf apt debs root
mkdir -p apt/none apt/preferences.d apt/lists/partial apt/cache/archives/partial debs root
touch apt/status
echo "deb [arch=amd64 signed-by=$keys] $site $SUITE main" >apt/sources.list
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
apt-get -qq update >install.log 2>&1 || fail "apt can't read $SUITE from the site of $codename: $(tail -2 install.log | tr '\n' ' ')"
(cd debs && apt-get -qq download "${PACKAGES[@]}") >install.log 2>&1 || fail "apt can't fetch the packages: $(tail -2 install.log | tr '\n' ' ')"
for package in debs/*.deb; do
    dpkg -x "$package" root >install.log 2>&1 || fail "$package can't be unpacked: $(tail -1 install.log)"
done
rm -rf apt debs root/usr/share/doc root/usr/share/julia/test

# Links into the system's own libraries dangle: they are pointed at the unpacked ones.
libraries=root/usr/lib/x86_64-linux-gnu
find "$libraries/julia" -xtype l | while read -r link; do
    found=$(find "$libraries" -maxdepth 1 -name "$(basename "$(readlink "$link")")" | head -1)
    [ -z "$found" ] || ln -sf "../$(basename "$found")" "$link"
done

cat >julia <<'RUN'
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
libraries=$here/root/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH="$libraries:$libraries/julia" JULIA_DEPOT_PATH="$here/depot"
exec "$here/root/usr/bin/julia" "$@"
RUN
chmod +x julia
found=$(./julia --startup-file=no -e "$CHECK" 2>install.log) || fail "the unpacked Julia does not run: $(tail -1 install.log)"
[ "$found" = "$RIGHT" ] || fail "the unpacked Julia answers otherwise than expected: $found"
rm -f install.log
touch installed
