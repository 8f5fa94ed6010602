"""The MicroPython peer of the conformance suite: `adapter.py vectors`, or `adapter.py live --nats URL --name NAME`."""

import gc
import sys

from peer import main

# Collect early: what stays is kept together, and a large message finds its room. Vectors have a large heap, through
# which each collection takes long.
gc.threshold(8192 if sys.argv[1] == "live" else 1 << 22)

try:
    main()
except Exception as error:  # MicroPython would write it to stdout
    sys.print_exception(error, sys.stderr)
    sys.exit(1)
