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
echo "python: mypy --strict finds nothing"

# README's programs, word for word, where only pandas is installed; the newest Python and, where it can be had, 3.9.
run_readme() {
    "$1" -m pip install --quiet --disable-pip-version-check "$wheel" pandas
    "$1" tests/readme.py README.md
}
python3 -m venv "$WORK/fresh"
run_readme "$WORK/fresh/bin/python"
"$python" examples/notebook.py >"$WORK/notebook.log" || { cat "$WORK/notebook.log"; exit 1; }
# The oldest that can be had beside it: on PATH, or pyenv's.
old=
for candidate in "$(command -v python3.8 || true)" "$(command -v python3.9 || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.[89].*/bin/python; do
    [ -n "$candidate" ] && "$candidate" -c 'import ensurepip, venv' 2>/dev/null && old=$candidate && break
done
if [ -n "$old" ]; then
    "$old" -m venv "$WORK/old"
    run_readme "$WORK/old/bin/python"
    "$WORK/old/bin/python" -m pip install --quiet --disable-pip-version-check pytest pytest-timeout
    MUTATIONS=2000 ENDINGS=4 "$WORK/old/bin/python" -m pytest -q -p no:cacheprovider --timeout 120 tests >"$WORK/old.log" || { tail -60 "$WORK/old.log"; exit 1; }
    echo "python: $("$old" --version): README's programs, $(grep -oE '[0-9]+ passed.*' "$WORK/old.log" | tail -1)"
else
    echo "python: skipped Python 3.8 and 3.9: neither is on PATH nor pyenv's"
fi
echo "python: checked: $passed, types, README's programs and the notebook"
