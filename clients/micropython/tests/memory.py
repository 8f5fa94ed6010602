"""One measure of memory in a heap as small as a device's: `memory.py send|receive|both|held SIZE`; exit code 1 where it has no room."""

import gc
import sys

gc.collect()
empty = gc.mem_alloc()
import natsbridge_mpy as nb  # noqa: E402

gc.threshold(8192)
gc.collect()
imported = gc.mem_alloc()


def message(size):
    return nb.smartsend("lab.sensor", [("frame", bytes(size), "binary")])[1]


def encoded(size):
    """A message that has come in, written without the library's help."""
    head = b'{"payloads":[{"dataname":"frame","payload_type":"binary","transport":"direct","data":"'
    size = (size + 2) // 3 * 4
    out = bytearray(len(head) + size + 4)
    out[: len(head)] = head
    for at in range(len(head), len(head) + size):
        out[at] = 0x41
    out[-4:] = b'"}]}'
    return out


def work(what, size):
    if what == "send":
        message(size)
    elif what == "receive":
        nb.smartreceive(encoded(size))
    else:
        text = message(size)
        nb.smartreceive(text)


what, size = sys.argv[1], int(sys.argv[2])
if what == "held":
    work("both", size)
    gc.collect()
    print("%d %d %d" % (imported - empty, gc.mem_alloc() - empty, gc.mem_free()))
else:
    try:
        work(what, size)
    except nb.NATSBridgeError as error:
        sys.exit(1 if error.code == "too_large" else 2)
    except MemoryError:  # of this file's own buffers
        sys.exit(1)
