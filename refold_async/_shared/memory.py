"""What a process knows of its keys itself: one memory for all clients of an event loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Hashable

_REMEMBERED = 10_000
"""Keys whose runs are remembered: so many outlive a Redis that forgot."""


class Known(NamedTuple):
    """The run of a key."""

    execution_id: str
    fingerprint: str
    at: float  # monotonic seconds


class Doubt(NamedTuple):
    """What was sent here under a key and came to nobody knows what; in monotonic seconds."""

    since: float  # from which on it may have started a run
    over_at: float  # by which it has, or hasn't, and the list shows which


class Memory:
    """Who is starting what, and what became of it; a key here is that of one credential."""

    def __init__(self) -> None:
        self._busy: dict[Hashable, asyncio.Future[None]] = {}
        self._known: OrderedDict[Hashable, Known] = OrderedDict()
        self._doubts: OrderedDict[Hashable, Doubt] = OrderedDict()

    def begin(self, key: Hashable) -> asyncio.Future[None]:
        """Take a key that nobody has; what is given back ends it."""
        busy = self._busy[key] = asyncio.get_running_loop().create_future()
        return busy

    def end(self, key: Hashable, busy: asyncio.Future[None]) -> None:
        """Let the next one have the key: what became of it is known, or in doubt."""
        if self._busy.get(key) is busy:
            del self._busy[key]
        if not busy.done():
            busy.set_result(None)

    def busy(self, key: Hashable) -> asyncio.Future[None] | None:
        """Give what ends when nobody has the key any more; None if nobody has it."""
        return self._busy.get(key)

    def known(self, key: Hashable) -> Known | None:
        """Give the run of a key."""
        return self._known.get(key)

    def doubt(self, key: Hashable) -> Doubt | None:
        """Give what may have started under a key."""
        return self._doubts.get(key)

    def remember(self, key: Hashable, known: Known) -> None:
        """Keep the run of a key."""
        self._doubts.pop(key, None)
        self._known[key] = known
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def suspect(self, key: Hashable, doubt: Doubt) -> None:
        """Keep that a run may have begun."""
        self._doubts[key] = doubt
        if len(self._doubts) > _REMEMBERED:
            self._doubts.popitem(last=False)


_memories: WeakKeyDictionary[asyncio.AbstractEventLoop, Memory] = WeakKeyDictionary()


def memory_here() -> Memory:
    """Give the memory of the running loop; it outlives the clients, and goes with the loop."""
    return _memories.setdefault(asyncio.get_running_loop(), Memory())
