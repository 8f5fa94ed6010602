"""The native part; use the package, not this module"""

from typing import Any

__version__: str

def flush() -> None:
    """Gives `logging` what waits, and asks it for its level"""

def __getattr__(name: str) -> Any: ...
