#!/bin/sh
# rustdoc with its unstable outputs. Only rustdoc: the variable would make build scripts of dependencies look again.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"
