#!/usr/bin/env bash
# Runs the Julia adapter with what install.sh put into DIR: run.sh DIR vectors | run.sh DIR live --nats URL … | run.sh DIR check
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: run.sh DIR vectors|live|check …" >&2; exit 2; }
dir=$(cd "$1" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -e "$dir/installed" ] || { echo "julia: not installed in $dir; run install.sh first" >&2; exit 1; }
shift
export JULIA_LOAD_PATH="$here/../../../clients/julia:@stdlib"
[ "$1" != check ] || exec "$dir/julia" -O1 --startup-file=no --history-file=no "$here/../../../clients/julia/test/runtests.jl" >&2
# Compiling is most of what a short run does, so less is optimised; and the optimiser of 1.5.3 makes code whose collector
# crashes now and then (a value given by try and catch, at -O2).
exec "$dir/julia" -O1 --startup-file=no --history-file=no "$here/adapter.jl" "$@"
