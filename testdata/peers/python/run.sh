#!/usr/bin/env bash
# Runs the Python adapter with what install.sh put into DIR: run.sh DIR vectors | run.sh DIR live --nats URL …
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: run.sh DIR vectors|live …" >&2; exit 2; }
export PYTHONDONTWRITEBYTECODE=1
dir=$1
shift
exec "$dir/bin/python" "$(dirname "${BASH_SOURCE[0]}")/adapter.py" "$@"
