"""The MicroPython peer of the conformance suite: `adapter.py vectors`, or `adapter.py live --nats URL --name NAME`."""

import gc
import sys

from peer import main

gc.threshold(8192)  # collect early: what stays is kept together, and a large message finds its room

try:
    main()
except Exception as error:  # MicroPython would write it to stdout
    sys.print_exception(error, sys.stderr)
    sys.exit(1)
