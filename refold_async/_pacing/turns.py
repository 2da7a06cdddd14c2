"""Who waits for a slot: the callers of one class, whose accounts take turns."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from enum import IntEnum
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
    patience: float  # seconds for which a gate may hold it up

    def can_outlast(self, now: float, until: float) -> bool:
        """Tell whether it waits for as long as a gate is shut."""
        return until - now <= self.patience and (self.deadline is None or until < self.deadline)


class Turns:
    """A queue for each account; whose turn it is, sends one request and goes to the end."""

    def __init__(self) -> None:
        self._queues: OrderedDict[Hashable, deque[Waiter]] = OrderedDict()

    def __iter__(self) -> Iterator[Waiter]:
        """Go through those who wait."""
        return (w for queue in self._queues.values() for w in queue if not w.granted.done())

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, waiter: Waiter, *, first: bool) -> None:
        """Let a caller wait behind the others of its account, or before them."""
        queue = self._queues.setdefault(waiter.account, deque())
        (queue.appendleft if first else queue.append)(waiter)

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
