"""An event loop whose time jumps to the next timer: minutes pass in as long as their work takes."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Doesn't wait for sockets, of which there are none: it moves the time on instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let so many seconds pass."""
        if timeout is None:
            raise RuntimeError("nothing will ever happen")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop for simulations: no input, no output, no waiting."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Give the simulated seconds since the beginning."""
        return self._jumping.now


class LoopClock:
    """The `refold_async.Clock` of such a loop."""

    def monotonic(self) -> float:
        """Give the simulated seconds."""
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        """Give the simulated epoch seconds."""
        return EPOCH + self.monotonic()

    def call_later(self, delay: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
        """Call back in so many simulated seconds."""
        return asyncio.get_running_loop().call_later(delay, callback)


EPOCH = 1_781_615_700.0
"""Epoch seconds at which simulations begin."""


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in simulated time."""
    with asyncio.Runner(loop_factory=VirtualLoop, debug=False) as runner:
        return runner.run(main)
