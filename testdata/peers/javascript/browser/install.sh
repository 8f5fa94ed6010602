#!/usr/bin/env bash
# Installs what the adapter for the browser needs into DIR; Chromium has to be there: install.sh DIR
set -euo pipefail

if [ -z "${CHROMIUM:-}" ] && [ ! -x /usr/bin/chromium ] && [ ! -x /usr/bin/chromium-browser ] && [ ! -x /usr/bin/google-chrome ]; then
    echo "browser: no Chromium; install it (apt-get install chromium) or name it in CHROMIUM" >&2
    exit 1
fi
exec "$(dirname "${BASH_SOURCE[0]}")/../install.sh" "$@"
