"""Writes `sync.pyi` from `__init__.pyi`: the same API sheet without async."""

import ast
import pathlib
import re
from typing import Iterable, Set

HERE = pathlib.Path(__file__).parent / "python" / "natsbridge"

HEAD = '''"""NATSBridge for Python: the API sheet, with every signature and what it does, without async. Written by stubs.py."""

import builtins
import os
from typing import {typing}

from typing_extensions import Self, TypedDict, Unpack

from . import {shared}

'''

WITHOUT_ASYNC = (
    (r"^class Events:.*?(?=^class )", ""),
    (r" +def __await__\(self\).*?\n +\"\"\".*?\"\"\"\n", "\n"),
    (r"\basync (?=def |for |with )", ""),
    (r"\bawait natsbridge\.", "natsbridge.sync."),
    (r"\b__a(?=(iter|next|enter|exit)__)", "__"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"-> Events:", "-> Iterator[Event]:"),
    (r"\bAwaitable\[Service\]", "Service"),
    (r"\basyncio\.TimeoutError\b", "TimeoutError"),
    (r"``service``, a task", "``service``"),
)


def names(text: str) -> Set[str]:
    """The names that a sheet uses"""
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def listed(found: Iterable[str]) -> str:
    return ", ".join(sorted(found))


def without_async(sheet: str) -> str:
    head, shared, own = re.split(r"^__version__: str\n|(?=^async def smartsend\()", sheet, maxsplit=2, flags=re.MULTILINE)
    for pattern, words in WITHOUT_ASYNC:
        own, count = re.subn(pattern, words, own, flags=re.MULTILINE | re.DOTALL)
        assert count, pattern
    own = head[head.index("Path = ") :] + own
    typing = next(node for node in ast.parse(head).body if isinstance(node, ast.ImportFrom) and node.module == "typing")
    declared = set(re.findall(r"^(?:class |def )?(\w+)(?=[(:]| = )", shared, re.MULTILINE))
    used = names(own)
    return HEAD.format(typing=listed(used & {alias.name for alias in typing.names}), shared=listed(used & declared)) + own


if __name__ == "__main__":
    (HERE / "sync.pyi").write_text(without_async((HERE / "__init__.pyi").read_text(encoding="utf-8")), encoding="utf-8")
