"""For your tests: a broker and a store in memory, so that they need no server: the API sheet."""

from typing import Any, Optional

from . import Bridge, Store
from . import sync as _sync

class MemoryBroker:
    """A broker inside the process: subjects, wildcards, queue groups, requests

    Bridges that share it are as programs at one server. It loses, repeats and reorders messages with these probabilities, from
    0 to 1; the same seed repeats the same faults. Draining one of its bridges closes all of them.
    """

    def __init__(
        self, *, seed: int = 0, drop: float = 0.0, duplicate: float = 0.0, reorder: float = 0.0, max_payload: int = 1_048_576
    ) -> None: ...
    @property
    def dropped(self) -> int:
        """Messages that it lost on purpose"""
    @property
    def duplicated(self) -> int:
        """Messages that it repeated on purpose"""

class MemoryStore(Store):
    """A file server inside the process; ``len`` is the number of uploads that can still be downloaded"""

    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...

async def bridge(broker: Optional[MemoryBroker] = None, store: Optional[Store] = None, **options: Any) -> Bridge:
    """A bridge at a broker in memory, whose large payloads go to a store in memory; ``options`` are those of ``connect``"""

def sync_bridge(broker: Optional[MemoryBroker] = None, store: Optional[Store] = None, **options: Any) -> _sync.Bridge:
    """The same without ``async``"""
