#!/usr/bin/env bash
# Installs what the adapters of Node and the browser need into DIR: install.sh DIR
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: install.sh DIR" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command -v npm >/dev/null || { echo "javascript: npm is not on PATH; install Node 20 or newer" >&2; exit 1; }
mkdir -p "$1"
cp "$here/package.json" "$here/package-lock.json" "$1/"
npm ci --prefix "$1" --silent --ignore-scripts --no-audit --no-fund
