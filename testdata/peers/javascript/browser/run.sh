#!/usr/bin/env bash
# Runs the adapter for the browser with what ../install.sh put into DIR: run.sh DIR vectors | run.sh DIR live --ws URL …
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: run.sh DIR vectors|live …" >&2; exit 2; }
PEER_MODULES=$(cd "$1" && pwd)
export PEER_MODULES
shift
exec node "$(dirname "${BASH_SOURCE[0]}")/driver.mjs" "$@"
