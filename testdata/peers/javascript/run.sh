#!/usr/bin/env bash
# Runs the adapter for Node with what install.sh put into DIR: run.sh DIR vectors | run.sh DIR live --nats URL … | run.sh DIR check
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: run.sh DIR vectors|live|check …" >&2; exit 2; }
PEER_MODULES=$(cd "$1" && pwd)
export PEER_MODULES
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$1" = check ]; then
    # The conformance run damages messages itself.
    HOSTILE=${HOSTILE:-1000} exec node --import "$here/modules.mjs" --test "$here"/../../../clients/javascript/test/*.test.js >&2
fi
exec node "$here/adapter.mjs" "$@"
