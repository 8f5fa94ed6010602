#!/usr/bin/env bash
# Installs what the Python adapter needs into DIR, a virtual environment: install.sh DIR
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: install.sh DIR" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python3 -m venv "$1" || { echo "python: python3 -m venv failed (on Debian: apt-get install python3-venv)" >&2; exit 1; }
"$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
