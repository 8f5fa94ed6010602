#!/usr/bin/env bash
# Installs the package clients/python and what its adapter needs into DIR, a virtual environment: install.sh DIR
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: install.sh DIR" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../../.." && pwd)
python3 -m venv "$1" || { echo "python: python3 -m venv failed (on Debian: apt-get install python3-venv)" >&2; exit 1; }
"$1/bin/python" -m pip install --quiet --disable-pip-version-check 'maturin>=1.9,<2' pytest pandas==3.1.1 pyarrow==26.0.1
"$root/clients/python/build.sh" "$1/bin/python" "$1/wheel"
"$1/bin/python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "$1"/wheel/natsbridge-*.whl
