#!/usr/bin/env bash
# Runs the adapter for Node with what install.sh put into DIR: run.sh DIR vectors | run.sh DIR live --nats URL … | run.sh DIR check
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: run.sh DIR vectors|live|check …" >&2; exit 2; }
PEER_MODULES=$(cd "$1" && pwd)
export PEER_MODULES
shift
[ "$1" != check ] || exec node "$(dirname "${BASH_SOURCE[0]}")/check.mjs" >&2
exec node "$(dirname "${BASH_SOURCE[0]}")/adapter.mjs" "$@"
