#!/usr/bin/env bash
# Runs the Python adapter with what install.sh put into DIR: run.sh DIR vectors | run.sh DIR live --nats URL … | run.sh DIR check
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: run.sh DIR vectors|live|check …" >&2; exit 2; }
export PYTHONDONTWRITEBYTECODE=1
dir=$1
shift
here=$(dirname "${BASH_SOURCE[0]}")
[ "$1" != check ] || exec "$dir/bin/python" "$here/check.py"
exec "$dir/bin/python" "$here/adapter.py" "$@"
