#!/usr/bin/env bash
# Checks the package with Julia 1.5 or newer: loaded from an empty project, its tests, README's program, damaged Arrow streams.
# `cargo xtask clients julia` gives the servers.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
: "${NATS_URL:?cargo xtask clients julia names the servers}" "${TOOLS:?}" "${WORK:?}"

home=$TOOLS/peer-julia
if ! "$root/testdata/peers/julia/install.sh" "$home" >"$WORK/install" 2>&1; then
    tail -3 "$WORK/install"
    echo "skipped: Julia can't be had here ($(tail -1 "$WORK/install"))"
    exit 77
fi
# From a copy outside the repository, as someone has it who took the folder.
cp -r "$here" "$WORK/NATSBridge"
export JULIA_LOAD_PATH="$WORK/NATSBridge:@stdlib" JULIA_DEPOT_PATH="$WORK/depot" NATSBRIDGE_TESTDATA="$root/testdata"
julia() { "$home/julia" -O1 --startup-file=no --history-file=no "$@"; }
cd "$WORK"

julia -e 'using NATSBridge; println("julia ", VERSION, ": using NATSBridge ", NATSBridge.VERSION_TEXT)'
julia "$WORK/NATSBridge/test/runtests.jl" >"$WORK/tests" 2>&1 || { tail -60 "$WORK/tests"; exit 1; }
grep -E "Pass +Total|^[A-Za-z ]+\| +[0-9]+" "$WORK/tests" | tail -5 || true

# README's program, word for word.
block() { awk -v open="\`\`\`$1" '$0 == "```" { inside = 0 } inside { print } $0 == open && !done { inside = 1; done = 1 }' "$2"; }
block julia "$here/README.md" >program.jl
awk '/^## Ten lines/ { seen = 1 } seen' "$here/README.md" >tail.md
block text tail.md >expected
julia program.jl >printed
diff expected printed
echo "julia: README's program prints what it says"

julia "$WORK/NATSBridge/test/mutate.jl" 100000 60
echo "julia: checked: tests, README's program, damaged Arrow streams"
