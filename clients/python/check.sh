#!/usr/bin/env bash
# Checks the package as its users meet it: built, installed into environments of its own, typed, tested; `cargo xtask clients python`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command -v python3 >/dev/null || { echo "skipped: python3 is not on PATH"; exit 77; }
: "${WORK:=$(mktemp -d)}" "${TOOLS:=${XDG_CACHE_HOME:-$HOME/.cache}/natsbridge/tools}"
tools=$TOOLS/client-python
mkdir -p "$tools"
needs="maturin>=1.9,<2 pytest pytest-timeout mypy numpy pandas polars pyarrow pandas-stubs"
if [ "$(cat "$tools/installed" 2>/dev/null)" != "$needs" ]; then
    rm -rf "$tools/venv"
    python3 -m venv "$tools/venv" || { echo "skipped: python3 -m venv fails (on Debian: apt-get install python3-venv)"; exit 77; }
    # shellcheck disable=SC2086
    "$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check $needs
    echo "$needs" >"$tools/installed"
fi
python=$tools/venv/bin/python
pyright=pyright@1.1.414
"$here/build.sh" "$python" "$WORK/wheel"
wheel=$(ls "$WORK"/wheel/natsbridge-*.whl)
echo "python: built $(basename "$wheel") ($(du -k "$wheel" | cut -f1) KB, profile ${PROFILE:-dev})"
"$python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "$wheel"

# From a copy, so that the sources beside the tests are not imported in place of what was installed.
mkdir -p "$WORK/repo/clients/python" "$WORK/repo/testdata"
cp -r "$here/tests" "$here/stubs.py" "$here/pyproject.toml" "$here/README.md" "$here/examples" "$WORK/repo/clients/python"
cp -r "$here/../../testdata/." "$WORK/repo/testdata"
cd "$WORK/repo/clients/python"
export PYTHONDONTWRITEBYTECODE=1
"$python" -m pytest -q -p no:cacheprovider --timeout 120 -rs tests | tee "$WORK/tests.log" | grep -v '^\.' || true
grep -qE '[0-9]+ passed' "$WORK/tests.log" && ! grep -qE '[0-9]+ (failed|error)' "$WORK/tests.log" || { tail -100 "$WORK/tests.log"; exit 1; }
passed=$(grep -oE '[0-9]+ passed' "$WORK/tests.log" | tail -1)
"$python" -m mypy --strict --no-error-summary tests
"$python" -m mypy --strict --no-error-summary "$here/python/natsbridge"
echo "python: mypy --strict finds nothing in the tests and in the package"
if command -v node >/dev/null && command -v npm >/dev/null; then
    if [ "$(cat "$tools/pyright/installed" 2>/dev/null)" != "$pyright" ]; then
        npm install --prefix "$tools/pyright" --ignore-scripts --no-audit --no-fund --silent "$pyright"
        echo "$pyright" >"$tools/pyright/installed"
    fi
    node "$tools/pyright/node_modules/pyright/index.js" --pythonpath "$python" tests "$here/python/natsbridge" >"$WORK/pyright.log" || { cat "$WORK/pyright.log"; exit 1; }
    echo "python: $pyright on the tests and the package: $(tail -1 "$WORK/pyright.log")"
else
    echo "python: skipped pyright: node or npm is not on PATH"
fi

# README's programs, word for word, where only pandas is installed.
python3 -m venv "$WORK/fresh"
"$WORK/fresh/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel" pandas
"$WORK/fresh/bin/python" tests/readme.py README.md
"$python" examples/notebook.py >"$WORK/notebook.log" || { cat "$WORK/notebook.log"; exit 1; }

# The same and the tests with the oldest Python that can be had: Debian bullseye's, unpacked and not installed. 3.8 can't be had.
old=$tools/python3.9
if [ ! -x "$old/usr/bin/python3.9" ]; then
    rm -rf "$old"
    if "$here/../../testdata/peers/debian.sh" bullseye "$old.new" python3.9{,-minimal} libpython3.9-{minimal,stdlib} python3-distutils libssl1.1 libffi7 libmpdec3 2>"$WORK/old.log"; then
        mv "$old.new" "$old"
    fi
fi
if [ -x "$old/usr/bin/python3.9" ]; then
    export LD_LIBRARY_PATH=$old/usr/lib/x86_64-linux-gnu
    old=$old/usr/bin/python3.9
    "$python" -m pip --python "$old" install --quiet --disable-pip-version-check --root-user-action ignore --target "$WORK/old" "$wheel" pandas pytest pytest-timeout
    export PYTHONPATH=$WORK/old
    "$old" tests/readme.py README.md
    MUTATIONS=2000 ENDINGS=4 "$old" -m pytest -q -p no:cacheprovider --timeout 120 tests >"$WORK/old.log" || { tail -60 "$WORK/old.log"; exit 1; }
    echo "python: $("$old" --version): README's programs, $(grep -oE '[0-9]+ passed.*' "$WORK/old.log" | tail -1)"
else
    echo "python: skipped Python 3.9: $(tail -1 "$WORK/old.log")"
fi
echo "python: checked: $passed, types, README's programs and the notebook"
