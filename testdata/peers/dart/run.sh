#!/usr/bin/env bash
# Runs the Dart adapter with what install.sh put into DIR: run.sh DIR vectors | run.sh DIR live --nats URL … | run.sh DIR check
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: run.sh DIR vectors|live|check …" >&2; exit 2; }
dir=$(cd "$1" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -e "$dir/installed" ] || { echo "dart: not installed in $dir; run install.sh first" >&2; exit 1; }
shift
export NATSBRIDGE_BLOBS=$here/../../blobs
# There is no `dart pub` here: the configuration that it would write names the package's folder.
packages=--packages=$here/package_config.json
[ "$1" != check ] || exec "$dir/dart" "$packages" "$here/../../../clients/dart/test/all.dart" >&2
exec "$dir/dart" "$packages" "$here/adapter.dart" "$@"
