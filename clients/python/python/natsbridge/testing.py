"""For your tests: a broker and a store in memory, so that they need no server.

>>> import natsbridge.testing
>>> broker = natsbridge.testing.MemoryBroker()
>>> with natsbridge.testing.sync_bridge(broker) as bridge:
...     messages = bridge.subscribe("lab.>")
...     envelope = bridge.send("lab.results", [("note", "run 7", "text")])
...     messages.next()["note"]
'run 7'
"""

from typing import Any, Optional

from . import Bridge, Store, sync
from . import _natsbridge as _native
from . import connect as _connect


class MemoryBroker:
    """A broker inside the process: subjects, wildcards, queue groups, requests

    Bridges that share it are as programs at one server. It loses, repeats and reorders messages with these probabilities, from
    0 to 1; the same seed repeats the same faults. Draining one of its bridges closes all of them.
    """

    def __init__(
        self, *, seed: int = 0, drop: float = 0.0, duplicate: float = 0.0, reorder: float = 0.0, max_payload: int = 1_048_576
    ) -> None:
        self._broker = _native.Broker(seed, drop, duplicate, reorder, max_payload)

    @property
    def dropped(self) -> int:
        """Messages that it lost on purpose"""
        return int(self._broker.faults[0])

    @property
    def duplicated(self) -> int:
        """Messages that it repeated on purpose"""
        return int(self._broker.faults[1])


class MemoryStore(Store):
    """A file server inside the process; ``len`` is the number of uploads that can still be downloaded"""

    def __init__(self) -> None:
        self._store = _native.store("memory", {})

    def __len__(self) -> int:
        return len(self._store)

    def __bool__(self) -> bool:
        return True


async def bridge(broker: Optional[MemoryBroker] = None, store: Optional[Store] = None, **options: Any) -> Bridge:
    """A bridge at a broker in memory, whose large payloads go to a store in memory"""
    return await _connect(broker=broker or MemoryBroker(), store=store or MemoryStore(), **options)


def sync_bridge(broker: Optional[MemoryBroker] = None, store: Optional[Store] = None, **options: Any) -> sync.Bridge:
    """The same without ``async``"""
    return sync.connect(broker=broker or MemoryBroker(), store=store or MemoryStore(), **options)


__all__ = ["MemoryBroker", "MemoryStore", "bridge", "sync_bridge"]
