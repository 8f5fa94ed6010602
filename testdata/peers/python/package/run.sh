#!/usr/bin/env bash
# Runs the adapter of the package with what install.sh put into DIR: run.sh DIR vectors | run.sh DIR live --nats URL … | run.sh DIR check
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: run.sh DIR vectors|live|check …" >&2; exit 2; }
export PYTHONDONTWRITEBYTECODE=1 MUTATIONS=${MUTATIONS:-5000}
dir=$1
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$1" = check ]; then
    cd "$here/../../../../clients/python"
    exec "$dir/bin/python" -m pytest -q -p no:cacheprovider tests/test_contract.py tests/test_values.py tests/test_tables.py tests/test_vectors.py >&2
fi
exec "$dir/bin/python" "$here/adapter.py" "$@"
