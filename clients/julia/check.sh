#!/usr/bin/env bash
# Checks the package with Julia 1.5 or newer: developed into an empty project by Pkg, its tests, README's program, damaged Arrow
# streams, and what 200 MB by link cost in memory.
# `cargo xtask clients julia` gives the servers.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
: "${NATS_URL:?cargo xtask clients julia names the servers}" "${FILESERVER_URL:?}" "${NATS_SERVER:?}" "${TOOLS:?}" "${WORK:?}"

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

# README's `Pkg.develop`. Pkg fetches the General registry where a depot has none, which asks the network: this depot has one
# that is empty.
mkdir -p "$WORK/pkg/registries/Empty" "$WORK/project"
cat >"$WORK/pkg/registries/Empty/Registry.toml" <<'REGISTRY'
name = "Empty"
uuid = "6d1f2b0a-94f3-4a5e-8c59-3b6f0c1c7e42"
repo = ""

[packages]
REGISTRY
if ! (
    unset JULIA_LOAD_PATH
    # Named in the program, as the Julia that install.sh unpacks has a depot of its own.
    export WORK
    julia --project="$WORK/project" -e '
        pushfirst!(empty!(DEPOT_PATH), joinpath(ENV["WORK"], "pkg"))
        using Pkg
        Pkg.develop(path=joinpath(ENV["WORK"], "NATSBridge"))
        using NATSBridge
        pathof(NATSBridge) == joinpath(ENV["WORK"], "NATSBridge", "src", "NATSBridge.jl") || error("another NATSBridge is loaded")
        println("julia ", VERSION, ": Pkg.develop, with a registry that is empty, and using NATSBridge ", NATSBridge.VERSION_TEXT)'
) >"$WORK/developed" 2>&1; then
    tail -30 "$WORK/developed"
    exit 1
fi
tail -1 "$WORK/developed"

julia -e 'using NATSBridge; println("julia ", VERSION, ": from the load path, using NATSBridge ", NATSBridge.VERSION_TEXT)'
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

# Each in a process of its own, whose memory no test before has used.
if [ "$(uname)" = Linux ]; then
    for what in send receive; do
        julia "$WORK/NATSBridge/test/memory.jl" $what "$WORK/film"
    done
    rm -f "$WORK"/film*
else
    echo "julia: NOT CHECKED: memory, which is measured by Linux's /proc"
fi
echo "julia: checked: Pkg.develop, tests, README's program, damaged Arrow streams"
