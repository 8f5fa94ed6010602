#!/usr/bin/env bash
# Builds a wheel for tests into OUT with PYTHON's maturin: build.sh PYTHON OUT. PROFILE is cargo's: `dev` (the default) shares what the
# workspace's tests have compiled; `release` is what people install.
set -euo pipefail

[ $# -eq 2 ] || { echo "usage: build.sh PYTHON OUT" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/../../target}
rm -rf "$2"
"$1" -m maturin build --quiet --profile "${PROFILE:-dev}" --manifest-path "$here/Cargo.toml" --interpreter "$1" --out "$2"
