"""Names that few use: what is behind them is imported when they are first asked for."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


def late(door: str, names: Collection[str], *homes: str) -> Callable[[str], Any]:
    """Make the `__getattr__` of a module.

    Args:
        door: the module's own name.
        names: all that it hands out.
        homes: the modules, beside it, that have what it has not; the smallest first.
    """

    def find(name: str) -> Any:
        for home in homes if name in names else ():
            module = import_module(home)
            if hasattr(module, name):
                value = getattr(module, name)
                setattr(sys.modules[door], name, value)
                return value
        raise AttributeError(f"module {door!r} has no attribute {name!r}")

    return find
