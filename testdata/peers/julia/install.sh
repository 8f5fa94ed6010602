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
peers=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$1"
cd "$1"
[ -e installed ] && exit 0

if command -v julia >/dev/null && [ "$(julia --startup-file=no -e "$CHECK" 2>/dev/null)" = "$RIGHT" ]; then
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$(command -v julia)" >julia
    chmod +x julia
    touch installed
    exit 0
fi

reason=$("$peers/debian.sh" $SUITE root "${PACKAGES[@]}" 2>&1) || fail "no julia 1.5 or newer on PATH, and none can be fetched: $reason; install Julia"
rm -rf root/usr/share/julia/test

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
