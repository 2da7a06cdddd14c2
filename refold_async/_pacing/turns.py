"""Who waits for a slot: the callers of one class, whose accounts take turns."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from enum import IntEnum
from itertools import takewhile
from operator import attrgetter
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Priority(IntEnum):
    """What a request is for; the lower the number, the sooner it is sent."""

    START = 0
    STOP = 1
    RESULT = 2
    STATUS = 3


@attrs.frozen(eq=False, repr=False)
class Waiter:
    """A caller who waits for a slot."""

    granted: asyncio.Future[int]  # the phase of the throttle in which its request leaves
    account: Hashable
    deadline: float | None  # monotonic seconds
    patience: float  # seconds for which gates may hold it up, one after the other
    since: float  # monotonic seconds
    again: bool = False  # it was sent before, and refused

    def can_outlast(self, shut_since: float, until: float) -> bool:
        """Tell whether it waits until a gate opens, where nothing was served for some time."""
        held_up = until - max(self.since, shut_since)
        return held_up <= self.patience and (self.deadline is None or until < self.deadline)


_was_refused = attrgetter("again")


class Turns:
    """A queue for each account; whose turn it is, sends one request and goes to the end."""

    def __init__(self) -> None:
        self._queues: OrderedDict[Hashable, deque[Waiter]] = OrderedDict()
        self.turn = 0  # number of the last that one of them had, among all clients' of the class

    def __iter__(self) -> Iterator[Waiter]:
        """Go through those who wait."""
        return (w for queue in self._queues.values() for w in queue if not w.granted.done())

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, waiter: Waiter) -> None:
        """Let a caller wait behind the others of its account; who was refused goes before them."""
        queue = self._queues.setdefault(waiter.account, deque())
        if waiter.again:
            queue.insert(sum(1 for _ in takewhile(_was_refused, queue)), waiter)
        else:
            queue.append(waiter)

    def head(self, may_send: Callable[[Hashable], bool]) -> Waiter | None:
        """Give the next caller of the first account that may send."""
        for _ in range(len(self._queues)):
            account, queue = next(iter(self._queues.items()))
            while queue and queue[0].granted.done():  # gone
                queue.popleft()
            if not queue:
                del self._queues[account]
            elif may_send(account):
                return queue[0]
            else:
                self._queues.move_to_end(account)
        return None

    def pop(self, head: Waiter) -> None:
        """Take out who was served; its account has had its turn."""
        self._queues[head.account].popleft()
        self._queues.move_to_end(head.account)

    def clear(self) -> None:
        """Forget everybody."""
        self._queues.clear()
